/** What an agent that was killed left running: its PostgreSQL, which the next agent adopts, or which is stopped when there is none. */
import { nodeOf } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { binariesOf, composePostgres } from '../compose.ts'
import type { OpenCluster } from './open.ts'

const STOP_DEADLINE_MS = 60_000

/** The nodes whose PostgreSQL runs. */
export async function clusterRunsPostgres(cluster: OpenCluster): Promise<readonly string[]> {
  const binaries = await binariesOf(cluster.config)
  const states = await Promise.all(
    cluster.config.nodes.map(async (node) => {
      const postgres = composePostgres(cluster.config, node, binaries, () => {})
      const state = await postgres.inspectPostmaster()
      await postgres.close()
      return state.kind === 'running' ? node.name : null
    }),
  )
  return states.filter((name) => name !== null)
}

/** true when there was something to stop: a postmaster, or an interrupted initdb or clone. */
export async function stopLeftPostmaster(cluster: OpenCluster, name: string): Promise<boolean> {
  const node = nodeOf(cluster.config, name)
  const postgres = composePostgres(cluster.config, node, await binariesOf(cluster.config), () => {})
  try {
    await postgres.removeLeftovers()
    const state = await postgres.inspectPostmaster()
    if (state.kind !== 'running') return false
    const stopped = await postgres.stop('fast', STOP_DEADLINE_MS)
    if (stopped.kind === 'ok') return true
    throw new UnderstudyError(stopped.code, `${name}: ${stopped.reason}`)
  } finally {
    await postgres.close()
  }
}

/** A PostgreSQL that runs shows a new certificate only after a reload (manual: 19.9). One that does not run reads it when it starts. */
export async function reloadPostgres(cluster: OpenCluster, names: readonly string[]): Promise<void> {
  if (names.length === 0) return
  const binaries = await binariesOf(cluster.config)
  for (const name of names) {
    const postgres = composePostgres(cluster.config, nodeOf(cluster.config, name), binaries, () => {})
    if ((await postgres.inspectPostmaster()).kind === 'running') await postgres.reload()
    await postgres.close()
  }
}
