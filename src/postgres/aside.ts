/** Moves a data directory out of the way instead of deleting it: it may be the only copy (failover.md, I11). */
import { mkdir, readdir, rename, rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type Outcome, REPLACED } from '../ports/postgres.ts'
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

/**
 * Removes what earlier clones have replaced, all but the newest: without this every clone would leave another copy of the database, until the
 * disk is full. Called before the next clone begins, so what is in use by then has long taken the place of what is removed. Whatever was
 * moved aside for another reason stays (I11). Gives the paths that are gone.
 */
export async function removeReplaced(layout: NodeLayout): Promise<Outcome<readonly string[]>> {
  const asideDir = join(layout.nodeDir, 'aside')
  try {
    const names = await readdir(asideDir)
    const replaced = names.filter((name) => REPLACED_NAME.test(name)).sort(byAge)
    const gone = replaced.slice(0, -1).map((name) => join(asideDir, name))
    for (const path of gone) await rm(path, { recursive: true, force: true })
    return ok(gone)
  } catch (error) {
    return systemErrorCode(error) === 'ENOENT' ? ok([]) : fileFailure(error, asideDir)
  }
}

const REPLACED_NAME = new RegExp(`^(\\d{8}T\\d{6}Z)-${REPLACED}(?:-(\\d+))?$`)

function byAge(a: string, b: string): number {
  const [, stampA = '', countA = '1'] = REPLACED_NAME.exec(a) ?? []
  const [, stampB = '', countB = '1'] = REPLACED_NAME.exec(b) ?? []
  return stampA === stampB ? Number(countA) - Number(countB) : stampA < stampB ? -1 : 1
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
