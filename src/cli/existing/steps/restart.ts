/** The one restart: the server is given to the agent, which stops it and starts PostgreSQL in its place. */
import { rm } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { UnderstudyError } from '../../../errors/codes.ts'
import { give, takeBack } from '../../../postgres/given.ts'
import { readPostmasterPid } from '../../../postgres/postmaster-pid.ts'
import { hasMarker, isPostgres, startTicksOf, worksIn } from '../../../postgres/processes.ts'
import { askNode } from '../../api-client.ts'
import { connectTo } from '../connect.ts'
import { holdUnit, letGoOfUnit } from '../old-unit.ts'
import type { Step, StepContext } from './step.ts'

/** A stop writes what is dirty; a checkpoint right before it leaves little of that. */
const RESTART_DEADLINE_MS = 600_000
const LOOK_AGAIN_MS = 50

export const restartStep: Step = {
  id: 'restart',
  title: () => 'stop and start, by the agent',
  async carryOut(context) {
    const { journal } = context
    const old = await oldPostmaster(context)
    if (old !== null) {
      await checkpoint(context)
      if (journal.server.unit) await holdUnit(journal.server.unit)
      await give(journal.nodeDirectory, old)
    }
    await waitUntilInOffice(context)
    await takeBack(journal.nodeDirectory)
    if (journal.server.unit) await letGoOfUnit(journal.server.unit, true)
    // Debian's postmaster leaves it behind, and systemd would take its number for the server's.
    const { externalPidFile } = journal.server
    if (externalPidFile !== null) await rm(externalPidFile, { force: true })
  },
  async undo({ journal }) {
    await takeBack(journal.nodeDirectory)
    const hasEnded = (await oldPostmaster({ journal })) === null
    if (journal.server.unit) await letGoOfUnit(journal.server.unit, hasEnded)
  },
}

/** The server of before, exactly this process; null: it runs no more. */
export async function oldPostmaster({
  journal,
}: Pick<StepContext, 'journal'>): Promise<{ readonly pid: number; readonly startTicks: string } | null> {
  const { dataDirectory } = journal.server
  const file = await readPostmasterPid(dataDirectory)
  if (file === null || !(await worksIn(file.pid, dataDirectory)) || !(await isPostgres(file.pid))) return null
  const startTicks = await startTicksOf(file.pid)
  return startTicks === null || hasMarker(file.pid, journal.nodeDirectory)
    ? null
    : { pid: file.pid, startTicks }
}

async function checkpoint({ target, say }: StepContext): Promise<void> {
  say('a checkpoint first, so that the stop has little to write')
  const client = await connectTo(target, { readOnly: false })
  try {
    await client.query('CHECKPOINT')
  } catch (error) {
    throw new UnderstudyError('sql-failed', `CHECKPOINT: ${(error as Error).message}`, { cause: error })
  } finally {
    await client.end().catch(() => {})
  }
}

/** Errors: timeout. */
async function waitUntilInOffice({ node, journal }: StepContext): Promise<void> {
  const deadline = performance.now() + RESTART_DEADLINE_MS
  for (;;) {
    const answer = await askNode(node)
    if (answer.kind === 'ok') {
      const { role, state } = answer.value.status
      const streams = journal.role === 'standby' && role === 'standby' && state === 'streaming'
      if (streams || (role === 'primary' && state === 'running')) return
    }
    if (performance.now() > deadline) {
      const why = answer.kind === 'ok' ? answer.value.decision.reason : answer.reason
      throw new UnderstudyError('timeout', `${journal.node} is not in office yet: ${why}`, {
        hint: 'The agent goes on by itself. Run the same command again to wait longer, or `understudy init --undo` to go back.',
      })
    }
    await sleep(LOOK_AGAIN_MS)
  }
}
