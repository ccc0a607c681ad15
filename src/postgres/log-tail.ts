/** What a log directory gained since a moment, so that a failure shows its own words and not those of last week. */
import { open, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'

/** Enough for the last words; a crash loop can write megabytes. */
const KEPT_BYTES = 64 * 1024

/** Path → size of each file now. */
export async function markLogs(logDir: string): Promise<ReadonlyMap<string, number>> {
  const sizes = new Map<string, number>()
  for (const name of await readdir(logDir).catch(() => [])) {
    const path = join(logDir, name)
    const found = await stat(path).catch(() => null)
    if (found?.isFile() === true) sizes.set(path, found.size)
  }
  return sizes
}

/** Path → what was written behind `mark`; files without anything new are left out. */
export async function readLogsSince(
  logDir: string,
  mark: ReadonlyMap<string, number>,
): Promise<ReadonlyMap<string, string>> {
  const gained = new Map<string, string>()
  for (const [path, size] of await markLogs(logDir)) {
    // A file that shrank was begun anew by the weekly rotation.
    const before = mark.get(path) ?? 0
    const from = Math.max(size < before ? 0 : before, size - KEPT_BYTES)
    if (size > from) gained.set(path, await readFrom(path, from, size - from))
  }
  return gained
}

async function readFrom(path: string, position: number, length: number): Promise<string> {
  try {
    const handle = await open(path, 'r')
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, position)
      return buffer.toString('utf8', 0, bytesRead)
    } finally {
      await handle.close()
    }
  } catch {
    return ''
  }
}
