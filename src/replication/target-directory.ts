/** The directory that a base backup is copied into, and the order in which it becomes one that PostgreSQL can start on. */
import { chmod, mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { UnderstudyError } from '../errors/codes.ts'
import { safePath } from '../protocol/tar-header.ts'
import { syncDirectory, writeSynced } from './durable.ts'
import { errnoOf, fileFailure } from './failures.ts'

export const CONTROL_FILE = 'global/pg_control'
/**
 * pg_control's name until everything else is verified and durable. PostgreSQL refuses to start without pg_control, so
 * its renaming is the one step that turns a half copy into a data directory.
 */
export const CONTROL_FILE_UNVERIFIED = 'global/pg_control.unverified'

export interface FinalFile {
  /** Relative to the data directory. */
  readonly name: string
  readonly content: string
}

/** Makes the directory, or takes an empty one. Throws 'foreign-data' when something is in it: nothing is overwritten. */
export async function prepareTarget(directory: string, mode: number): Promise<void> {
  try {
    await mkdir(directory, { recursive: true, mode })
    const found = await readdir(directory)
    if (found.length > 0) {
      throw new UnderstudyError(
        'foreign-data',
        `${directory} is not empty (${found.slice(0, 3).join(', ')} ...)`,
      )
    }
    // An empty directory may have been made with other rights, and PostgreSQL starts on no other than these.
    await chmod(directory, mode)
    const wal = join(directory, 'pg_wal')
    await mkdir(wal, { mode })
    await mkdir(join(wal, 'archive_status'), { mode })
  } catch (error) {
    throw fileFailure(error, directory, 'clone-failed')
  }
}

/**
 * The last steps, each durable before the next begins: final files (a standby.signal must be there before the directory
 * can start, else it would start as a primary), backup_manifest, and last of all pg_control under its own name.
 */
export async function publishCopy(options: {
  readonly directory: string
  readonly finalFiles: readonly FinalFile[]
  readonly manifest: readonly Buffer[]
  readonly fileMode: number
  readonly fsync: boolean
  /** An abort counts until the last step, and not after it. */
  readonly signal: AbortSignal
}): Promise<void> {
  const { directory, fileMode } = options
  const sync = options.fsync ? syncDirectory : async (): Promise<void> => undefined
  try {
    for (const file of options.finalFiles) {
      const path = join(directory, safePath(file.name))
      await mkdir(dirname(path), { recursive: true })
      await writeSynced(path, file.content, fileMode)
      await sync(dirname(path))
    }
    await writeSynced(join(directory, 'backup_manifest'), Buffer.concat(options.manifest), fileMode)
    await sync(directory)
    await sync(dirname(directory))
    options.signal.throwIfAborted()
    await rename(join(directory, CONTROL_FILE_UNVERIFIED), join(directory, CONTROL_FILE))
    await sync(join(directory, 'global'))
  } catch (error) {
    throw fileFailure(error, directory, 'clone-failed')
  }
}

/**
 * Deletes what a failed copy left. Refuses (returns false) when the directory has a pg_control: then it is a data
 * directory that could start, and not ours to throw away (P5).
 */
export async function removeUnfinishedCopy(directory: string): Promise<boolean> {
  try {
    await stat(join(directory, CONTROL_FILE))
    return false
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw fileFailure(error, directory, 'clone-failed')
  }
  await rm(directory, { recursive: true, force: true })
  return true
}
