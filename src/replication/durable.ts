/** Files that survive a crash: contents fsynced, and the directory that names them too (manual: "WAL Reliability"). */
import { open, rename } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Makes the names in a directory durable. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Writes a whole file and fsyncs it; replaces one that exists. The directory is the caller's to sync. */
export async function writeSynced(path: string, content: string | Buffer, mode: number): Promise<void> {
  const handle = await open(path, 'w', mode)
  try {
    await handle.writeFile(content)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Renames a file that is fsynced already, and makes the new name durable. */
export async function renameDurably(from: string, to: string): Promise<void> {
  await rename(from, to)
  await syncDirectory(dirname(to))
}
