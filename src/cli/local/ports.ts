/** Before anything is started: every port is free, or used by a part of this very cluster that still runs. */
import { createServer } from 'node:net'
import { UnderstudyError } from '../../errors/codes.ts'
import { PROXY_PORTS, proxiesAt } from '../connection.ts'
import { NODE_NAMES, partsOf, portsFrom } from './layout.ts'
import { clusterRunsPostgres } from './leftovers.ts'
import type { LocalSettings, OpenCluster } from './open.ts'
import { findPart } from './processes.ts'

interface NeededPort {
  readonly host: string
  readonly port: number
  readonly use: string
  readonly part: string
}

/** Errors: port-taken, with the port and what it is needed for. */
export async function refuseTakenPorts(cluster: OpenCluster): Promise<void> {
  const parts = partsOf(cluster.directory, cluster.configFile, cluster.config)
  const running = new Set(parts.filter((part) => findPart(part) !== null).map((part) => part.name))
  const left = new Set(await clusterRunsPostgres(cluster))
  const own = (needed: NeededPort): boolean =>
    running.has(needed.part) || (needed.use === 'PostgreSQL' && left.has(needed.part))
  await refuseTaken(neededPorts(cluster).filter((needed) => !own(needed)))
}

/** The same for a cluster that is not made yet: refused now, nothing has to be made that remembers these ports. */
export async function refuseTakenPortsOf(
  settings: Pick<LocalSettings, 'nodes' | 'portBase'>,
  host: string,
): Promise<void> {
  const ports = portsFrom(settings.portBase)
  await refuseTaken([
    { host, port: ports.store, use: 'the API', part: 'store' },
    ...PROXY_PORTS.map(([name, use]) => ({ host, port: ports.proxy[name], use, part: 'proxy' })),
    ...NODE_NAMES.slice(0, settings.nodes).flatMap((name, index) => [
      { host, port: ports.postgres(index), use: 'PostgreSQL', part: name },
      { host, port: ports.agent(index), use: 'the agent', part: name },
    ]),
  ])
}

async function refuseTaken(ports: readonly NeededPort[]): Promise<void> {
  for (const { host, port, use, part } of ports) {
    if (await isFree(host, port)) continue
    throw new UnderstudyError('port-taken', `port ${port} (${use} of ${part}) is in use by another program`)
  }
}

function neededPorts({ config }: OpenCluster): readonly NeededPort[] {
  const store = new URL(config.store.endpoints[0] ?? '')
  return [
    { host: store.hostname, port: Number(store.port), use: 'the API', part: 'store' },
    ...config.nodes.flatMap((node) => [
      { host: node.host, port: node.port, use: 'PostgreSQL', part: node.name },
      { host: node.host, port: node.apiPort, use: 'the agent', part: node.name },
    ]),
    ...PROXY_PORTS.flatMap(([name, use]) =>
      (proxiesAt(config, name) ?? []).map((each) => ({ ...each, use, part: 'proxy' })),
    ),
  ]
}

function isFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'EADDRINUSE'))
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(true)))
  })
}
