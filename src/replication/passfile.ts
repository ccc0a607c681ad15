/**
 * Passwords from a file in libpq's format (manual: "The Password File"), so that the same file serves us and the
 * walreceiver's primary_conninfo: host:port:database:user:password, '*' matches anything, '\' escapes ':' and '\'.
 */
import { readFile, stat } from 'node:fs/promises'
import { UnderstudyError } from '../errors/codes.ts'

/** A passfile's path, or a function that gives the password; the latter never leaves this process. */
export type PasswordSource = string | (() => string | Promise<string>)

export interface PassfileKey {
  /** The host as given for connecting; 'localhost' and the socket's directory for a Unix socket. One of them must match. */
  readonly hosts: readonly string[]
  readonly port: number
  /** 'replication' for a physical replication connection. */
  readonly database: string
  readonly user: string
}

/** Null when there is no source or no line that matches. Throws 'auth-failed' for a file that others may read. */
export async function findPassword(
  source: PasswordSource | undefined,
  key: PassfileKey,
): Promise<string | null> {
  if (source === undefined) return null
  if (typeof source === 'function') return await source()
  let text: string
  try {
    const { mode } = await stat(source)
    if ((mode & 0o077) !== 0) {
      throw new UnderstudyError('auth-failed', `The passfile ${source} can be read by others`, {
        hint: `Make it private: chmod 600 ${source}`,
      })
    }
    text = await readFile(source, 'utf8')
  } catch (error) {
    if (error instanceof UnderstudyError) throw error
    const message = error instanceof Error ? error.message : String(error)
    throw new UnderstudyError('auth-failed', `The passfile cannot be read: ${message}`, { cause: error })
  }
  return passwordIn(text, key)
}

/** The password of the first line that matches, as libpq takes it. */
export function passwordIn(text: string, key: PassfileKey): string | null {
  const wanted = [key.hosts, [String(key.port)], [key.database], [key.user]]
  for (const line of text.split(/\r?\n/)) {
    if (line === '' || line.startsWith('#')) continue
    const fields = splitLine(line)
    const password = fields[4]
    if (password === undefined) continue
    const matches = (values: readonly string[], field: string): boolean =>
      field === '*' || values.includes(field)
    if (wanted.every((values, i) => matches(values, fields[i] ?? ''))) return password
  }
  return null
}

/** Five fields; a colon in the password needs no escape, because nothing comes after it. */
function splitLine(line: string): readonly string[] {
  const fields: string[] = ['']
  for (let i = 0; i < line.length; i++) {
    const char = line[i] ?? ''
    const last = fields.length - 1
    if (char === '\\' && i + 1 < line.length) {
      i++
      fields[last] += line[i] ?? ''
    } else if (char === ':' && fields.length < 5) {
      fields.push('')
    } else {
      fields[last] += char
    }
  }
  return fields
}
