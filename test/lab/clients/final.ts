/** The end of a round: what every node has when nobody writes any more, and whether that is right. */
import type { Lab } from '../lab.ts'
import { type Checked, checkHistory } from './checker.ts'
import type { FinalState } from './history.ts'
import type { Workload } from './workload.ts'

/** The workload has ended, and the cluster is healthy. */
export async function checkRound(lab: Lab, workload: Workload): Promise<Checked> {
  const finals = await finalStates(lab, workload, workload.round)
  const { operations, readings } = workload
  return checkHistory({ durability: lab.durability, operations, readings, finals })
}

const REPLAYED_MS = 30_000

/** When every standby has replayed all that the primary has; nobody writes any more. */
export async function finalStates(
  lab: Lab,
  workload: Workload,
  round?: number,
): Promise<readonly FinalState[]> {
  const primary = await lab.waitFor('a primary', () => lab.primary())
  const [row] = await lab.sql<{ lsn: string }>(primary, 'SELECT pg_current_wal_flush_lsn()::text AS lsn')
  const standbys = lab.nodes.map(({ name }) => name).filter((name) => name !== primary)
  for (const standby of standbys) {
    await lab.waitFor(
      `${standby} to replay ${row?.lsn}`,
      async () => {
        const text = 'SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn AS done'
        const [answer] = await lab.sql<{ done: boolean }>(standby, text, { values: [row?.lsn] })
        return answer?.done === true
      },
      { deadlineMs: REPLAYED_MS },
    )
  }
  return Promise.all([primary, ...standbys].map((node) => workload.finalState(node, round)))
}
