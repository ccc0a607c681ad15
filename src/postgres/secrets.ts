/** Passwords: made once from randomness, kept in files that only their owner can read, and handed to libpq in passfiles. */
import { randomBytes } from 'node:crypto'
import { link, open, readFile, stat, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Outcome } from '../ports/postgres.ts'
import { fsyncDirectory, writeFileAtomic } from './durable.ts'
import { failed, fileFailure, ok, systemErrorCode } from './outcome.ts'

/** 256 bits: nobody guesses it, so SCRAM's iterations are not what protects it. */
const SECRET_BYTES = 32

/** Returns the secret in `path`, making it first if there is none. Safe when two processes do it at once. */
export async function ensureSecret(path: string): Promise<Outcome<string>> {
  const present = await readSecretIfPresent(path)
  if (present !== null) return present
  const temporary = `${path}.${randomBytes(6).toString('hex')}`
  try {
    const handle = await open(temporary, 'wx', 0o600)
    try {
      await handle.writeFile(`${randomBytes(SECRET_BYTES).toString('base64url')}\n`)
      await handle.sync()
    } finally {
      await handle.close()
    }
    // link, not rename: it fails when somebody else was first, and the file appears with its whole content.
    await link(temporary, path).catch((error: unknown) => {
      if (systemErrorCode(error) !== 'EEXIST') throw error
    })
    await unlink(temporary)
    await fsyncDirectory(dirname(path))
  } catch (error) {
    await unlink(temporary).catch(() => undefined)
    return fileFailure(error, path)
  }
  return readSecret(path)
}

/** Reads a secret and refuses one that others could have read: then it is none. */
export async function readSecret(path: string): Promise<Outcome<string>> {
  return (await readSecretIfPresent(path)) ?? failed('no-permission', `the password file ${path} is missing`)
}

/** null: there is none. */
export async function readSecretIfPresent(path: string): Promise<Outcome<string> | null> {
  try {
    const { mode } = await stat(path)
    if ((mode & 0o077) !== 0) {
      const shown = (mode & 0o777).toString(8)
      return failed(
        'no-permission',
        `the password file ${path} can be read by others (mode ${shown})`,
        `chmod 600 ${path}`,
      )
    }
    const secret = (await readFile(path, 'utf8')).replace(/\r?\n$/, '')
    if (secret === '') return failed('config-invalid', `the password file ${path} is empty`)
    return ok(secret)
  } catch (error) {
    return systemErrorCode(error) === 'ENOENT' ? null : fileFailure(error, path)
  }
}

export interface PassfileEntry {
  /** Each field may be '*', which matches anything. `database` is 'replication' for a walreceiver. */
  readonly host: string
  readonly port: number | '*'
  readonly database: string
  readonly user: string
  readonly password: string
}

/** One line per entry as libpq reads it (manual: 34.16): ':' and '\' are escaped by '\'. */
export function renderPassfile(entries: readonly PassfileEntry[]): string {
  return entries
    .map((entry) =>
      [entry.host, String(entry.port), entry.database, entry.user, entry.password]
        .map((field) => field.replace(/[\\:]/g, '\\$&'))
        .join(':'),
    )
    .map((line) => `${line}\n`)
    .join('')
}

/** 0600, atomic and durable: a walreceiver that finds half of a line would fail to log in and look like a lost primary. */
export async function writePassfile(path: string, entries: readonly PassfileEntry[]): Promise<Outcome> {
  for (const entry of entries) {
    if ([entry.host, entry.user, entry.password].some((field) => /[\r\n\0]/.test(field))) {
      return failed('config-invalid', 'a password, user or host with a line break cannot stand in a passfile')
    }
  }
  try {
    await writeFileAtomic(path, renderPassfile(entries), { durable: true })
    return { kind: 'ok', value: null }
  } catch (error) {
    return fileFailure(error, path)
  }
}

/**
 * The entry of that user with another password; true when it had another one. An entry of somebody else stays as it is. Into the very file,
 * and never a new one: a fence removes the file as its first step (I3), and what is written into a removed file is read by nobody.
 */
export async function renewPassfile(path: string, user: string, password: string): Promise<boolean> {
  const handle = await open(path, 'r+').catch(() => null)
  if (handle === null) return false
  try {
    const [line = ''] = (await handle.readFile('utf8')).split('\n')
    const [before, whose] = /^(?:(?:[^:\\]|\\.)*:){3}((?:[^:\\]|\\.)*):/.exec(line) ?? []
    const renewed =
      before === undefined || whose !== user ? line : `${before}${password.replace(/[\\:]/g, '\\$&')}`
    if (renewed === line) return false
    const content = `${renewed}\n`
    await handle.write(content, 0)
    await handle.truncate(Buffer.byteLength(content))
    await handle.sync()
    return true
  } finally {
    await handle.close()
  }
}
