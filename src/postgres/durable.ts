/** Files that are whole or absent, and that survive a loss of power where that matters. */
import { randomBytes } from 'node:crypto'
import { open, readdir, readFile, rename, rm, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { systemErrorCode } from './outcome.ts'

/** Without this a rename or a new file may be gone after a loss of power, although the file itself was synced. */
export async function fsyncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

export interface WriteOptions {
  /** Default 0600. */
  readonly mode?: number
  /** true: file and directory are synced before this returns. */
  readonly durable: boolean
}

/** Writes beside and renames over: a reader, or PostgreSQL reloading, never sees half of it. */
export async function writeFileAtomic(path: string, content: string, options: WriteOptions): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}`)
  try {
    const handle = await open(temporary, 'wx', options.mode ?? 0o600)
    try {
      await handle.writeFile(content)
      if (options.durable) await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
  if (options.durable) await fsyncDirectory(dirname(path))
}

/** As writeFileAtomic, but leaves an equal file alone. True when it wrote. */
export async function writeFileIfDifferent(
  path: string,
  content: string,
  options: WriteOptions,
): Promise<boolean> {
  if ((await readTextIfPresent(path)) === content) return false
  await writeFileAtomic(path, content, options)
  return true
}

export async function readTextIfPresent(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return null
    throw error
  }
}

/** Removes a file durably. True when there was one. */
export async function removeFileDurably(path: string): Promise<boolean> {
  try {
    await unlink(path)
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return false
    throw error
  }
  await fsyncDirectory(dirname(path))
  return true
}

/** fsyncs under way at once: they share a journal commit, and Node runs four file operations at a time anyway. */
const CONCURRENT_SYNCS = 8

/**
 * Syncs every file and directory below `root`, and `root` itself: what initdb does at its end. Directories come last, so that a
 * name is never durable before its content.
 */
export async function fsyncTree(root: string): Promise<void> {
  const files: string[] = []
  const directories: string[] = [root]
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    if (entry.isDirectory()) directories.push(path)
    else if (entry.isFile()) files.push(path)
  }
  await syncAll(files)
  await syncAll(directories)
}

async function syncAll(paths: readonly string[]): Promise<void> {
  let next = 0
  const worker = async (): Promise<void> => {
    for (let path = paths[next++]; path !== undefined; path = paths[next++]) await fsyncDirectory(path)
  }
  await Promise.all(Array.from({ length: CONCURRENT_SYNCS }, worker))
}
