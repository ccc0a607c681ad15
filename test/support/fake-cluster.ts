/** The directory of a local cluster whose agents are fakes: settings, configuration and secrets as `up` would leave them. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { ClusterEvent, ClusterStatus, Why } from '../../src/api/contract.ts'
import { clusterStatus, nodeStatus } from './cluster-status.ts'
import { FakeAgent } from './fake-agent.ts'

const NAMES = ['alpha', 'bravo', 'charlie'] as const

/** Every character that a URI, a passfile or a shell could trip over. */
export const AWKWARD_PASSWORD = 'p@ss:w/o?r#d %41\\&=+\'"é'

export interface FakeCluster {
  readonly directory: string
  readonly agents: readonly [FakeAgent, FakeAgent, FakeAgent]
  readonly status: ClusterStatus
  stop(): Promise<void>
}

/** The directory's name has a space in it: everything must work there. */
export async function startFakeCluster(
  over: { readonly postgresPorts?: readonly number[] } = {},
): Promise<FakeCluster> {
  const agents = [await FakeAgent.start(), await FakeAgent.start(), await FakeAgent.start()] as const
  const parent = await mkdtemp(path.join(tmpdir(), 'understudy-cli-'))
  const directory = path.join(parent, 'a cluster')
  const ports = NAMES.map((_, index) => over.postgresPorts?.[index] ?? 1 + index)
  const status = clusterStatus({
    nodes: NAMES.map((name, index) =>
      nodeStatus(name, { port: ports[index] ?? 1, apiPort: agents[index]?.port ?? 1 }),
    ),
  })
  agents.forEach((agent, index) => {
    agent.cluster = status
    agent.why = whyOf(NAMES[index] ?? '')
  })
  await writeCluster(directory, status)
  return {
    directory,
    agents,
    status,
    stop: async () => {
      await Promise.all(agents.map((agent) => agent.stop()))
      await rm(parent, { recursive: true, force: true })
    },
  }
}

async function writeCluster(directory: string, status: ClusterStatus): Promise<void> {
  await mkdir(path.join(directory, 'secrets'), { recursive: true, mode: 0o700 })
  await mkdir(path.join(directory, 'tls'), { recursive: true })
  for (const secret of ['superuser', 'application', 'api-token'])
    await writeFile(path.join(directory, 'secrets', secret), AWKWARD_PASSWORD, { mode: 0o600 })
  const nodes = status.nodes.map(
    ({ name, port, apiPort }) =>
      `  ${name}: { host: 127.0.0.1, port: ${port}, apiPort: ${apiPort}, directory: nodes/${name} }`,
  )
  const lines = ['store: { endpoints: ["http://127.0.0.1:1"] }', 'nodes:', ...nodes, '']
  await writeFile(path.join(directory, 'understudy.yaml'), lines.join('\n'))
  await writeFile(path.join(directory, 'local.json'), JSON.stringify({ version: 1, nodes: 3, portBase: 1 }))
}

function whyOf(node: string): Why {
  const since = '2026-11-22T12:00:00.000Z'
  return { node, rule: 'follow', reason: `${node} does what it should`, since }
}

export function event(node: string, id: number, second: number): ClusterEvent {
  const at = new Date(Date.UTC(2026, 10, 22, 12, 0, second)).toISOString()
  return { id, at, node, kind: 'joined', message: `${node} number ${id}` }
}
