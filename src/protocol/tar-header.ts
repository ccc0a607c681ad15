/** The fields of a tar header (POSIX.1-2001 "ustar Interchange Format", "pax Extended Header") and what may not be in them. */
import { ProtocolViolation } from './violation.ts'

export const TAR_BLOCK_BYTES = 512

export type EntryType = 'file' | 'directory' | 'symlink' | 'hardlink'

export const ENTRY_TYPES: Readonly<Record<string, EntryType>> = {
  '0': 'file',
  '\0': 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '5': 'directory',
}

/** A number in octal digits, or in base-256 when its first bit is set (sizes from 8 GiB on). */
export function tarNumber(header: Buffer, offset: number, length: number): number {
  const first = header[offset] ?? 0
  if ((first & 0x80) === 0) {
    const text = tarText(header, offset, length).trim()
    if (!/^[0-7]*$/.test(text)) throw new ProtocolViolation(`a tar header has the number "${text}"`)
    return text === '' ? 0 : Number.parseInt(text, 8)
  }
  let value = BigInt(first & 0x7f)
  for (let i = 1; i < length; i++) value = (value << 8n) | BigInt(header[offset + i] ?? 0)
  if (value > BigInt(Number.MAX_SAFE_INTEGER))
    throw new ProtocolViolation('a tar header has an impossible number')
  return Number(value)
}

/** Text up to the first zero byte, or the whole field. */
export function tarText(header: Buffer, offset: number, length: number): string {
  const zero = header.indexOf(0, offset)
  const end = zero < 0 || zero > offset + length ? offset + length : zero
  return header.toString('utf8', offset, end)
}

/** The sum of all header bytes, with the sum's own field taken as spaces. */
export function checkHeaderSum(header: Buffer): void {
  let sum = 0
  for (let i = 0; i < TAR_BLOCK_BYTES; i++) sum += i >= 148 && i < 156 ? 0x20 : (header[i] ?? 0)
  if (sum !== tarNumber(header, 148, 8))
    throw new ProtocolViolation('a tar header does not match its own sum')
}

/** "LENGTH KEY=VALUE\n" records; the length counts itself. */
export function parsePax(body: Buffer): ReadonlyMap<string, string> {
  const records = new Map<string, string>()
  let offset = 0
  while (offset < body.length) {
    const space = body.indexOf(0x20, offset)
    const length = Number(body.toString('latin1', offset, Math.max(space, offset)))
    const record = body.toString('utf8', space + 1, offset + length - 1)
    const equals = record.indexOf('=')
    if (space < 0 || !Number.isInteger(length) || offset + length > body.length || equals < 0 || length < 5) {
      throw new ProtocolViolation('a pax header is malformed')
    }
    records.set(record.slice(0, equals), record.slice(equals + 1))
    offset += length
  }
  return records
}

/** The path without '.' and trailing '/'. Throws when it is absolute, empty, or leads upwards. */
export function safePath(path: string): string {
  if (path.startsWith('/')) throw new ProtocolViolation(`the tar stream names the absolute path ${path}`)
  if (path.includes('\0')) throw new ProtocolViolation('a path in the tar stream contains a zero byte')
  const names = path.split('/').filter((name) => name !== '' && name !== '.')
  if (names.includes('..')) throw new ProtocolViolation(`the path ${path} leads out of the tree`)
  // "." is the root itself, and there is nothing to make of it.
  if (names.length === 0 && !path.startsWith('.'))
    throw new ProtocolViolation('the tar stream has an empty path')
  return names.join('/')
}

/** Whether a link at `path` stays in the tree. A symlink's target counts from its directory, a hard link's from the root. */
export function isInside(path: string, target: string, type: EntryType): boolean {
  if (target === '' || target.startsWith('/') || target.includes('\0')) return false
  let depth = type === 'symlink' ? path.split('/').length - 1 : 0
  for (const name of target.split('/')) {
    if (name === '' || name === '.') continue
    depth += name === '..' ? -1 : 1
    if (depth < 0) return false
  }
  return true
}
