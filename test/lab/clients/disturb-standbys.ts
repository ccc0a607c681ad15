/** Makes standbys late at random: replay stands still for a while, or applies everything later, as after a long query or by decision. */
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import type { Random } from '../../../sim/random.ts'

export interface DisturbedCluster {
  readonly nodes: readonly string[]
  /** As superuser, past the proxy. Throws when it is not there. */
  superuser(node: string): Promise<pg.Client>
}

/** Until `signal` is aborted; then every standby replays as it should. */
export async function disturbStandbys(
  cluster: DisturbedCluster,
  random: Random,
  signal: AbortSignal,
): Promise<void> {
  const pause = (ms: number): Promise<unknown> => sleep(ms, null, { signal }).catch(() => null)
  while (!signal.aborted) {
    await pause(random.between(50, 500))
    const node = random.pick(cluster.nodes)
    const stopsReplay = random.chance(0.75)
    const [begin, end] = stopsReplay ? PAUSED : DELAYED
    // A primary has no replay to pause, and one that is down is late enough.
    if (await run(cluster, node, begin)) {
      await pause(stopsReplay ? random.between(30, 900) : random.between(500, 2000))
      await run(cluster, node, end)
    }
  }
  for (const node of cluster.nodes) for (const [, end] of [PAUSED, DELAYED]) await run(cluster, node, end)
}

const PAUSED = [['SELECT pg_wal_replay_pause()'], ['SELECT pg_wal_replay_resume()']] as const
const DELAYED = [
  ["ALTER SYSTEM SET recovery_min_apply_delay = '400ms'", 'SELECT pg_reload_conf()'],
  ['ALTER SYSTEM RESET recovery_min_apply_delay', 'SELECT pg_reload_conf()'],
] as const

async function run(cluster: DisturbedCluster, node: string, statements: readonly string[]): Promise<boolean> {
  let client: pg.Client | null = null
  try {
    client = await cluster.superuser(node)
    for (const statement of statements) await client.query(statement)
    return true
  } catch {
    return false
  } finally {
    await client?.end().catch(() => {})
  }
}
