/** One run of the proof of causality on a whole cluster: sessions through the proxy, standbys that are late, primaries that die; then the check. */
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { Random } from '../../../sim/random.ts'
import { processesOf, signal } from '../../support/cluster-processes.ts'
import { CAUSAL_SCHEMA, CausalClients } from './causal-clients.ts'
import { type CausalCheck, checkCausality } from './causality.ts'
import { type DisturbedCluster, disturbStandbys } from './disturb-standbys.ts'

export interface CausalCluster extends DisturbedCluster {
  /** Directories by which the cluster's processes are known. */
  readonly places: readonly string[]
  /** Through the proxy's port `auto`, with start-up parameters. */
  connect(options: string): Promise<pg.Client>
  /** The primary's name, when everything is well. Throws when it does not become so. */
  healthy(): Promise<string>
}

export interface CausalRunOptions {
  readonly seed: number
  readonly forMs: number
  readonly sessions: number
  /** About how long from one death of a primary to the next; 0: nobody dies. */
  readonly failoverMs: number
  /** Read at level eventual and say otherwise: the checker must find it. */
  readonly lie: boolean
}

export interface CausalRun {
  readonly check: CausalCheck
  readonly deaths: number
  /** Scans of the sessions' tables that the standbys' statistics still know of. */
  readonly standbyReads: number
  readonly errors: ReadonlyMap<string, number>
}

/** Before a death: long enough that something is acknowledged which nobody else has. */
const SILENT_MS = 300
/** What is left of a run after the last death, at least. */
const CALM_MS = 4000

export async function runCausality(cluster: CausalCluster, options: CausalRunOptions): Promise<CausalRun> {
  const { seed, sessions, lie } = options
  const random = new Random(seed)
  const first = await cluster.connect('')
  await first.query(CAUSAL_SCHEMA)
  await first.end()
  const ended = new AbortController()
  const disturbed = disturbStandbys(cluster, random, ended.signal)
  const clients = new CausalClients({
    seed,
    sessions,
    lie,
    connect: (parameters) => cluster.connect(parameters),
  })
  let deaths = 0
  try {
    deaths = await live(cluster, random, options)
  } finally {
    await clients.stop()
    ended.abort()
    await disturbed
  }
  const primary = await cluster.healthy()
  const client = await cluster.superuser(primary)
  try {
    const check = checkCausality(await clients.history(client))
    return { check, deaths, standbyReads: await readsAtStandbys(cluster, primary), errors: clients.errors }
  } finally {
    await client.end().catch(() => {})
  }
}

async function live(
  cluster: CausalCluster,
  random: Random,
  { forMs, failoverMs }: CausalRunOptions,
): Promise<number> {
  const until = performance.now() + forMs
  let deaths = 0
  while (performance.now() < until) {
    const left = until - performance.now()
    const nextMs = failoverMs * random.between(0.7, 1.3)
    if (failoverMs === 0 || nextMs + CALM_MS > left) {
      await sleep(left)
    } else {
      await sleep(nextMs)
      await killPrimary(cluster)
      deaths += 1
      await cluster.healthy()
    }
  }
  return deaths
}

/**
 * The postmaster and all its children at once, as when its machine dies; a little earlier it sends no more WAL, so that it has what
 * no other node has, at positions that its successor uses again.
 */
async function killPrimary(cluster: CausalCluster): Promise<void> {
  const primary = await cluster.healthy()
  const all = processesOf(cluster.places)
  const postmaster = all.find(({ kind, node }) => kind === 'postmaster' && node === primary)
  if (postmaster === undefined) throw new Error(`${primary} has no postmaster`)
  const children = all.filter(({ parent }) => parent === postmaster.pid)
  for (const { pid } of children.filter(({ command }) => command.includes('walsender')))
    signal(pid, 'SIGSTOP')
  await sleep(SILENT_MS)
  signal(postmaster.pid, 'SIGKILL')
  for (const { pid } of processesOf(cluster.places).filter(({ parent }) => parent === postmaster.pid))
    signal(pid, 'SIGKILL')
  for (const { pid } of children) signal(pid, 'SIGKILL')
}

async function readsAtStandbys(cluster: CausalCluster, primary: string): Promise<number> {
  let reads = 0
  for (const node of cluster.nodes.filter((name) => name !== primary)) {
    const client = await cluster.superuser(node)
    const { rows } = await client.query<{ reads: string }>(
      "SELECT coalesce(sum(idx_scan), 0) + coalesce(sum(seq_scan), 0) AS reads FROM pg_stat_user_tables WHERE relname LIKE 'causal%'",
    )
    reads += Number(rows[0]?.reads ?? 0)
    await client.end()
  }
  return reads
}
