/**
 * Writing past the page cache. A clone's bytes are fsynced and then not read for a while; through the page cache every one of
 * them is copied once more and evicts something that is in use. Measured: 0.2 against 1.2 to 3.9 seconds of CPU for 2 GB.
 */
import { closeSync, constants, openSync, unlinkSync, writeSync } from 'node:fs'
import { join } from 'node:path'

/** Addresses, lengths and positions of direct writes are multiples of this. */
export const DIRECT_ALIGNMENT = 4096

/**
 * The flag to open files below `directory` with, 0 where the file system (tmpfs, ZFS) or the platform cannot do it: found
 * out by writing a file, because open() alone succeeds on some that then refuse every write. `block` is aligned memory.
 */
export function directFlag(directory: string, block: Buffer): number {
  const flag = (constants as { readonly O_DIRECT?: number }).O_DIRECT ?? 0
  if (flag === 0) return 0
  const path = join(directory, `.direct-${process.pid}`)
  try {
    const fd = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | flag, 0o600)
    try {
      return writeSync(fd, block, 0, DIRECT_ALIGNMENT, 0) === DIRECT_ALIGNMENT ? flag : 0
    } finally {
      closeSync(fd)
      unlinkSync(path)
    }
  } catch {
    // Whatever else is wrong (rights, space) the real files will meet too, and say so.
    return 0
  }
}
