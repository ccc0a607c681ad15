/** What a data directory is, from its files alone. */
import { access, constants, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { DirectoryState } from '../ports/postgres.ts'
import { readControlFile } from './control-file.ts'
import { type Failure, failed, fileFailure, systemErrorCode } from './outcome.ts'

/** A fresh file system has it; initdb would refuse the directory all the same. */
const LOST_AND_FOUND = 'lost+found'

/** `major`: of the binaries that would run it; a cluster of another one is `wrong-major`. */
export async function inspectDirectory(dataDir: string, major: number): Promise<DirectoryState> {
  let names: readonly string[]
  try {
    names = await readdir(dataDir)
  } catch (error) {
    const code = systemErrorCode(error)
    if (code === 'ENOENT') return { kind: 'absent' }
    if (code === 'ENOTDIR') return unusable(failed('foreign-data', `${dataDir} is not a directory`))
    return unusable(fileFailure(error, dataDir))
  }
  if (names.length === 0) return { kind: 'absent' }
  if (names.includes(LOST_AND_FOUND) && names.length === 1) {
    return unusable(
      failed(
        'foreign-data',
        `${dataDir} is the root of a file system (lost+found)`,
        'Name a directory below it.',
      ),
    )
  }
  if (!names.includes('PG_VERSION')) {
    return unusable(
      failed('foreign-data', `${dataDir} is not empty and holds no PostgreSQL cluster (no PG_VERSION)`),
    )
  }
  return inspectCluster(dataDir, major, new Set(names))
}

async function inspectCluster(
  dataDir: string,
  major: number,
  names: ReadonlySet<string>,
): Promise<DirectoryState> {
  const found = await readMajor(dataDir)
  if (typeof found !== 'number') return unusable(found)
  if (found !== major) {
    return unusable(
      failed(
        'wrong-major',
        `${dataDir} was made by PostgreSQL ${found}, and the binaries are PostgreSQL ${major}`,
      ),
    )
  }
  try {
    await access(dataDir, constants.R_OK | constants.W_OK | constants.X_OK)
  } catch (error) {
    return unusable(fileFailure(error, dataDir))
  }
  const control = await readControlFile(dataDir)
  if (control.kind === 'failed') return unusable(control)
  return {
    kind: 'cluster',
    major: found,
    control: control.value,
    standbySignal: names.has('standby.signal'),
    recoverySignal: names.has('recovery.signal'),
    backupLabel: names.has('backup_label'),
  }
}

async function readMajor(dataDir: string): Promise<number | Failure> {
  const path = join(dataDir, 'PG_VERSION')
  try {
    const text = (await readFile(path, 'utf8')).trim()
    const major = Number(text)
    if (Number.isInteger(major) && major > 0) return major
    // Before version 10 it was "9.6".
    if (/^\d+\.\d+$/.test(text)) return Math.trunc(Number(text))
    return failed('data-damaged', `${path} does not hold a version`)
  } catch (error) {
    return fileFailure(error, path)
  }
}

function unusable(failure: Failure): DirectoryState {
  return { kind: 'unusable', code: failure.code, reason: failure.reason }
}
