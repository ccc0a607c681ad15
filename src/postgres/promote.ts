/**
 * Promotion onto an allocated timeline (I6). PostgreSQL takes the highest timeline that it finds a history file for, looking
 * contiguously, plus one (findNewestTimeLine): every gap below the wanted one is filled with an empty file right before.
 *
 * On a node that is promoted the fillers stay: a standby that follows it fetches every history file from its own timeline up to the
 * newest (WalRcvFetchTimeLineHistoryFiles) and gives up when one is missing. So the gaps below its own timeline are filled too: a clone
 * has the history of its own timeline only, and a standby that was away for two failovers could never follow it. Where the promotion is
 * given up they go away again, for a fenced standby that restarts beside one as its newest never becomes consistent.
 */
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Outcome } from '../ports/postgres.ts'
import { DONE, failed, fileFailure } from './outcome.ts'
import { fillGaps, removeLastFillers } from './timelines.ts'

export interface PromoteOptions {
  readonly dataDir: string
  readonly from: number
  readonly to: number
  /** SIGUSR1: the postmaster looks for the promote file. */
  readonly signal: () => Promise<boolean>
  /** ended: that postmaster runs no more, so it never will be. */
  readonly outcome: (patienceMs: number) => Promise<'promoted' | 'ended' | 'late'>
  readonly deadlineMs: number
}

const SIGNAL_FILE = 'promote'

export async function promote(options: PromoteOptions): Promise<Outcome> {
  const { dataDir, from, to } = options
  if (to <= from) return failed('internal', `timeline ${to} is not after ${from}`)
  try {
    await fillGaps(dataDir, 1, to)
    await writeFile(join(dataDir, SIGNAL_FILE), '', { mode: 0o600 })
  } catch (error) {
    await giveUp(dataDir)
    return fileFailure(error, dataDir)
  }
  if (!(await options.signal())) {
    await giveUp(dataDir)
    return failed('postgres-failed', 'the postmaster to be promoted is gone, or it is too late for it')
  }
  const outcome = await options.outcome(options.deadlineMs)
  if (outcome === 'promoted') {
    // Asked for a second time, when it had been promoted already, nobody takes the file away.
    await rm(join(dataDir, SIGNAL_FILE), { force: true }).catch(() => undefined)
    return DONE
  }
  await giveUp(dataDir)
  if (outcome === 'ended') return failed('postgres-failed', 'PostgreSQL ended before it was promoted')
  return failed('timeout', `PostgreSQL was not promoted within ${options.deadlineMs} ms`)
}

async function giveUp(dataDir: string): Promise<void> {
  await rm(join(dataDir, SIGNAL_FILE), { force: true }).catch(() => undefined)
  await removeLastFillers(dataDir).catch(() => undefined)
}
