/**
 * Agents whose wall clock can be stepped: libfaketime before the program, with the step in a file that it reads once a second. The
 * monotonic clock stays real, as it does on a machine whose time is set. PostgreSQL does not inherit it: the agent makes its environment
 * anew.
 */
import { existsSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'

/** Where Debian puts it; one directory for each architecture. */
const LIBRARIES = '/usr/lib'
const LIBRARY = 'faketime/libfaketime.so.1'

/** null: it is not installed (Debian: apt install faketime). */
export function findFaketime(): string | null {
  const directories = existsSync(LIBRARIES) ? readdirSync(LIBRARIES) : []
  const found = directories
    .map((each) => path.join(LIBRARIES, each, LIBRARY))
    .find((each) => existsSync(each))
  return found ?? null
}

/** Goes before the agent's command, behind whatever changes the user: the library makes files that belong to who loads it first. */
export function withSteppedClock(library: string, file: string): readonly string[] {
  return [
    'env',
    `LD_PRELOAD=${library}`,
    `FAKETIME_TIMESTAMP_FILE=${file}`,
    'FAKETIME_CACHE_DURATION=1',
    'DONT_FAKE_MONOTONIC=1',
  ]
}

/** What a killed process has left of the library: another user's process that gets the same number could not start with it. */
export function removeClockRemains(pid: number): void {
  for (const name of [`sem.faketime_sem_${pid}`, `faketime_shm_${pid}`])
    rmSync(path.join('/dev/shm', name), { force: true })
}

/** From at most a second on, the agent's wall clock is this much ahead of the real one. */
export function stepClock(file: string, seconds: number): void {
  writeFileSync(`${file}.new`, `${seconds < 0 ? '' : '+'}${seconds}\n`)
  renameSync(`${file}.new`, file)
}
