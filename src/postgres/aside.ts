/** Moves a data directory out of the way instead of deleting it: it may be the only copy (failover.md, I11). */
import { mkdir, rename, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Outcome } from '../ports/postgres.ts'
import { fsyncDirectory } from './durable.ts'
import type { NodeLayout } from './layout.ts'
import { failed, fileFailure, ok, systemErrorCode } from './outcome.ts'

const NAME_ATTEMPTS = 100

/** The caller made sure that nothing runs in it. A rename within one file system: it costs nothing, however large the data is. */
export async function moveAside(
  layout: NodeLayout,
  reason: string,
  now: Date,
): Promise<Outcome<{ readonly path: string }>> {
  const asideDir = join(layout.nodeDir, 'aside')
  const stamp = now
    .toISOString()
    .replace(/\.\d+Z$/, 'Z')
    .replace(/[-:]/g, '')
  const words = reason.replace(/[^A-Za-z0-9.]+/g, '-').replace(/^[-.]+|-+$/g, '')
  try {
    await mkdir(asideDir, { recursive: true, mode: 0o700 })
    for (let attempt = 1; attempt <= NAME_ATTEMPTS; attempt++) {
      const path = join(asideDir, `${stamp}-${words}${attempt === 1 ? '' : `-${attempt}`}`)
      if (!(await renameUnlessTaken(layout.dataDir, path))) continue
      // The new name first: a loss of power in between must not lose both.
      await fsyncDirectory(asideDir)
      await fsyncDirectory(layout.nodeDir)
      return ok({ path })
    }
    return failed('internal', `every name for ${layout.dataDir} in ${asideDir} is taken`)
  } catch (error) {
    return systemErrorCode(error) === 'ENOENT'
      ? failed('postgres-failed', `there is no ${layout.dataDir} to move aside`)
      : fileFailure(error, layout.nodeDir)
  }
}

async function renameUnlessTaken(from: string, to: string): Promise<boolean> {
  try {
    // Makes the name ours: rename replaces our empty directory, and would as silently have replaced another's.
    await mkdir(to, { mode: 0o700 })
  } catch (error) {
    if (systemErrorCode(error) === 'EEXIST') return false
    throw error
  }
  try {
    await rename(from, to)
    return true
  } catch (error) {
    await rmdir(to).catch(() => undefined)
    throw error
  }
}
