/**
 * The cluster that failovers are measured on: the local one, as `understudy up` starts it, or one in a laboratory, whose nodes are in
 * network namespaces and can be cut off.
 */
import { readFileSync } from 'node:fs'
import type { ClusterStatus } from '../../src/api/contract.ts'
import { Lab } from '../../test/lab/lab.ts'
import { namespacesMissing } from '../../test/lab/namespaces.ts'
import { CLIENTS, cutBetween } from '../../test/lab/network.ts'
import { hasEtcd } from '../../test/lab/store.ts'
import { BenchCluster, type BenchNode, type RecordedEvent } from './cluster-local.ts'

export interface Subject {
  /** In the command line, environment or working directory of each of its processes. */
  readonly directory: string
  readonly nodes: readonly BenchNode[]
  readonly caPem: string
  /** Of the application's role. */
  readonly password: string
  status(): Promise<ClusterStatus | null>
  events(): readonly RecordedEvent[]
  switchover(): Promise<void>
  /** From the other nodes, the store and the clients, without a word; returns what mends it. null: not here. */
  readonly cutOff: ((node: string) => Promise<() => Promise<void>>) | null
  /** For a run that went wrong. */
  explain(): Promise<string>
  remove(): Promise<void>
}

export interface SubjectOptions {
  readonly pg: string
  readonly rtoMs: number
}

export async function localSubject({ pg, rtoMs }: SubjectOptions): Promise<Subject> {
  const cluster = await BenchCluster.make(pg, ['--rto', `${rtoMs}ms`])
  try {
    await cluster.up({ first: true })
  } catch (error) {
    await cluster.remove()
    throw error
  }
  return {
    directory: cluster.directory,
    nodes: cluster.nodes,
    caPem: cluster.caPem,
    password: cluster.secret('application'),
    status: () => cluster.status(),
    events: () => cluster.events(),
    switchover: async () => {
      await cluster.command(['switchover', '--yes'])
    },
    cutOff: null,
    explain: async () => {
      const events = cluster.events().slice(-60)
      return [
        JSON.stringify(await cluster.status(), null, 2),
        (await cluster.command(['why'])).output,
        ...events.map(({ atMs, node, kind, message }) => `${atMs} ${node} ${kind} ${message}`),
        ...cluster.postgresLogs(40).map(({ node, tail }) => `--- ${node}\n${tail}`),
      ].join('\n')
    },
    remove: () => cluster.remove(),
  }
}

/** Why there can be none; null: there can. */
export function labMissing(): Promise<string | null> {
  return namespacesMissing()
}

export async function labSubject({ pg, rtoMs }: SubjectOptions): Promise<Subject> {
  const store = hasEtcd ? 'etcd' : 'embedded'
  const lab = await Lab.start({ pg, rtoMs, store, network: 'namespaces' })
  const interrupted = (): void => void lab.close().finally(() => process.exit(130))
  process.once('SIGINT', interrupted)
  try {
    await lab.healthy()
  } catch (error) {
    await lab.close()
    throw error
  }
  return {
    directory: lab.directory,
    nodes: lab.config.nodes.map(({ name, host, port, apiPort }) => ({ name, host, port, apiPort })),
    caPem: readFileSync(lab.files.caFile, 'utf8'),
    password: lab.secret('application'),
    status: () => lab.status(),
    events: () =>
      lab
        .events()
        .map(({ at, node, kind, message }) => ({ atMs: Date.parse(at), node, kind, message }))
        .sort((a, b) => a.atMs - b.atMs),
    switchover: () => lab.switchover(),
    cutOff: (node) => {
      const others = lab.nodes.map(({ name }) => name).filter((name) => name !== node)
      return lab.part(cutBetween([node], [...others, ...lab.store.members, CLIENTS]))
    },
    explain: () => lab.explain('the cluster does not come back'),
    remove: async () => {
      process.removeListener('SIGINT', interrupted)
      await lab.close()
    },
  }
}
