/**
 * Promotion onto an allocated timeline (I6). PostgreSQL takes the highest timeline that it finds a history file for, looking
 * contiguously, plus one (findNewestTimeLine): every gap below the wanted one is filled with an empty file right before.
 *
 * On a node that is promoted the fillers stay: a standby that follows it fetches every history file up to the newest timeline
 * (WalRcvFetchTimeLineHistoryFiles) and gives up when one is missing. Everywhere else they go away again, for a fenced standby that
 * restarts beside one as its newest never becomes consistent.
 */
import { readdir, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Outcome } from '../ports/postgres.ts'
import { historyFileName, parseHistoryFileName } from '../protocol/wal-names.ts'
import { fsyncDirectory } from './durable.ts'
import { DONE, failed, fileFailure } from './outcome.ts'

export interface PromoteOptions {
  readonly dataDir: string
  readonly from: number
  readonly to: number
  /** SIGUSR1: the postmaster looks for the promote file. */
  readonly signal: () => Promise<boolean>
  readonly isPromoted: (patienceMs: number) => Promise<boolean>
  readonly deadlineMs: number
}

const SIGNAL_FILE = 'promote'

export async function promote(options: PromoteOptions): Promise<Outcome> {
  const { dataDir, from, to } = options
  if (to <= from) return failed('internal', `timeline ${to} is not after ${from}`)
  try {
    await fillGaps(dataDir, from, to)
    await writeFile(join(dataDir, SIGNAL_FILE), '', { mode: 0o600 })
  } catch (error) {
    await giveUp(dataDir)
    return fileFailure(error, dataDir)
  }
  if (!(await options.signal())) {
    await giveUp(dataDir)
    return failed('postgres-failed', 'the postmaster to be promoted is gone, or it is too late for it')
  }
  if (await options.isPromoted(options.deadlineMs)) {
    // Asked for a second time, when it had been promoted already, nobody takes the file away.
    await rm(join(dataDir, SIGNAL_FILE), { force: true }).catch(() => undefined)
    return DONE
  }
  await giveUp(dataDir)
  return failed('timeout', `PostgreSQL was not promoted within ${options.deadlineMs} ms`)
}

async function fillGaps(dataDir: string, from: number, to: number): Promise<void> {
  for (let timelineId = from + 1; timelineId < to; timelineId++) {
    await writeFile(join(dataDir, 'pg_wal', historyFileName(timelineId)), '', {
      flag: 'wx',
      mode: 0o600,
    }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
  }
}

async function giveUp(dataDir: string): Promise<void> {
  await rm(join(dataDir, SIGNAL_FILE), { force: true }).catch(() => undefined)
  await removeFillers(dataDir).catch(() => undefined)
}

/** Empty history files are ours: PostgreSQL writes none. Also called before every start of a node that is not promoted. */
export async function removeFillers(dataDir: string): Promise<void> {
  const directory = join(dataDir, 'pg_wal')
  const names = await readdir(directory).catch(() => [])
  let removed = 0
  for (const name of names) {
    if (parseHistoryFileName(name) === null) continue
    const { size } = await stat(join(directory, name))
    if (size > 0) continue
    await rm(join(directory, name), { force: true })
    removed++
  }
  if (removed > 0) await fsyncDirectory(directory)
}
