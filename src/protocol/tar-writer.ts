/** A small tar archive in memory (POSIX.1-2001 "ustar Interchange Format"): bundles of a few small files. */
import { TAR_BLOCK_BYTES } from './tar-header.ts'

export interface TarFile {
  /** Relative, with slashes, at most 100 bytes; a directory's ends in a slash and has no content. */
  readonly path: string
  readonly content: Buffer
  /** Permission bits. */
  readonly mode: number
}

export interface TarOwner {
  /** Whoever unpacks as root gives the files to the user of this name, where there is one; else they stay root's. */
  readonly user: string
  readonly group: string
}

/** `modifiedAtS`: seconds since 1970. Throws RangeError for a path that is too long. */
export function tarArchive(files: readonly TarFile[], owner: TarOwner, modifiedAtS: number): Buffer {
  const entries = files.flatMap((file) => [
    headerOf(file, owner, modifiedAtS),
    file.content,
    Buffer.alloc(-file.content.length & (TAR_BLOCK_BYTES - 1)),
  ])
  // Two blocks of zeros end it.
  return Buffer.concat([...entries, Buffer.alloc(2 * TAR_BLOCK_BYTES)])
}

function headerOf({ path, content, mode }: TarFile, owner: TarOwner, modifiedAtS: number): Buffer {
  if (Buffer.byteLength(path) > 100) throw new RangeError(`${path} is too long for a tar archive`)
  const header = Buffer.alloc(TAR_BLOCK_BYTES)
  header.write(path, 0)
  header.write(octal(mode, 7), 100)
  header.write(octal(0, 7), 108)
  header.write(octal(0, 7), 116)
  header.write(octal(content.length, 11), 124)
  header.write(octal(modifiedAtS, 11), 136)
  header.write(' '.repeat(8), 148)
  header.write(path.endsWith('/') ? '5' : '0', 156)
  header.write('ustar\u000000', 257)
  header.write(owner.user, 265, 31)
  header.write(owner.group, 297, 31)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${octal(sum, 6)}\0 `, 148)
  return header
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, '0')
}
