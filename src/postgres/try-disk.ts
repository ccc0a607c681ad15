/** Whether the disk on which commits end takes a write: asked of the disk itself, because everything else can answer from memory. */
import { open } from 'node:fs/promises'
import { join } from 'node:path'

/**
 * In pg_wal, which may be a disk of its own, and of which base backups take nothing along (manual: 55.4, BASE_BACKUP). PostgreSQL looks
 * there for files that are named as WAL only.
 */
export const TRIED_FILE = join('pg_wal', 'understudy.tried')

/** The same bytes over and over, so that nothing but them has to be written. Errors: of the file system, as node gives them. */
export async function tryDisk(dataDir: string): Promise<void> {
  const handle = await openTried(join(dataDir, TRIED_FILE))
  try {
    await handle.write(Buffer.alloc(8, 1), 0, 8, 0)
    await handle.datasync()
  } finally {
    await handle.close()
  }
}

async function openTried(file: string): ReturnType<typeof open> {
  try {
    return await open(file, 'r+')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return open(file, 'w', 0o600)
  }
}
