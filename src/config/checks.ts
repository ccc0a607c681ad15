/** What no single key shows: whether the nodes fit together, and whether what is asked for can hold. Pure. */
import { hostInUri, isLoopback } from './fields.ts'
import type { ClusterConfig, NodeConfig } from './schema.ts'

export interface CrossFinding {
  readonly severity: 'error' | 'warning'
  readonly path: readonly string[]
  readonly message: string
}

export function crossChecks(config: ClusterConfig): readonly CrossFinding[] {
  const nodes = Object.entries(config.nodes)
  return [
    ...sharedPlaces(nodes, config.proxy),
    ...slotClashes(nodes.map(([name]) => name)),
    ...loopbackAmongOthers(nodes),
    ...nobodyElectable(nodes),
    ...promises(config, nodes.length),
    ...inTheClear(config, nodes),
  ]
}

type Nodes = readonly (readonly [string, NodeConfig])[]

function error(path: readonly string[], message: string): CrossFinding {
  return { severity: 'error', path, message }
}

function warning(path: readonly string[], message: string): CrossFinding {
  return { severity: 'warning', path, message }
}

/** Two programs cannot listen on one port, nor two nodes share a directory of one machine. */
function sharedPlaces(nodes: Nodes, proxy: ClusterConfig['proxy']): CrossFinding[] {
  const taken = new Map<string, string>()
  const findings: CrossFinding[] = []
  const take = (place: string, path: readonly string[], who: string, what: string): void => {
    const other = taken.get(place)
    if (other === undefined) taken.set(place, who)
    else findings.push(error(path, `${what} is that of ${other} already`))
  }
  for (const [name, { host, port, apiPort, directory }] of nodes) {
    const machine = host.toLowerCase()
    take(`${machine} ${port}`, ['nodes', name, 'port'], name, `${hostInUri(host)}:${port}`)
    take(`${machine} ${apiPort}`, ['nodes', name, 'apiPort'], name, `${hostInUri(host)}:${apiPort}`)
    if (directory !== undefined)
      take(
        `${machine} ${directory}`,
        ['nodes', name, 'directory'],
        name,
        `the directory ${directory} on ${host}`,
      )
  }
  const machines = new Set(
    proxy.host === undefined ? nodes.map(([, { host }]) => host.toLowerCase()) : [proxy.host.toLowerCase()],
  )
  for (const { port, path } of proxyPorts(proxy))
    for (const host of machines)
      take(`${host} ${port}`, ['proxy', ...path], 'the proxy', `${hostInUri(host)}:${port}`)
  return findings
}

function proxyPorts({ ports, metricsPort }: ClusterConfig['proxy']): readonly ProxyPort[] {
  const served = Object.entries(ports).flatMap(([name, port]) =>
    port === undefined ? [] : [{ port, path: ['ports', name] }],
  )
  if (served.length === 0) return []
  return [...served, ...(metricsPort === undefined ? [] : [{ port: metricsPort, path: ['metricsPort'] }])]
}

interface ProxyPort {
  readonly port: number
  /** Below `proxy`. */
  readonly path: readonly string[]
}

/** Slots know no hyphen: both names would become the same slot. */
function slotClashes(names: readonly string[]): CrossFinding[] {
  const slots = new Map<string, string>()
  return names.flatMap((name) => {
    const slot = name.replaceAll('-', '_')
    const other = slots.get(slot)
    slots.set(slot, name)
    return other === undefined
      ? []
      : [
          error(
            ['nodes', name],
            `${name} and ${other} would have one replication slot (understudy_${slot}): rename one`,
          ),
        ]
  })
}

function loopbackAmongOthers(nodes: Nodes): CrossFinding[] {
  const loopback = nodes.filter(([, { host }]) => isLoopback(host))
  if (loopback.length === nodes.length) return []
  return loopback.map(([name, { host }]) =>
    error(
      ['nodes', name, 'host'],
      `${host} means its own machine on every machine: the other nodes cannot reach it there`,
    ),
  )
}

function nobodyElectable(nodes: Nodes): CrossFinding[] {
  const electable = nodes.some(([, { candidatePriority }]) => candidatePriority > 0)
  return electable
    ? []
    : [error(['nodes'], 'every node has candidatePriority 0: nobody could become primary')]
}

function promises({ durability }: ClusterConfig, nodes: number): CrossFinding[] {
  if (durability !== 'quorum' || nodes >= 3) return []
  const why =
    nodes === 1
      ? 'one node has nobody to acknowledge its commits'
      : 'with one standby, its loss would stop every write, so commits wait for nobody'
  return [warning(['durability'], `quorum needs three nodes: ${why}`)]
}

/** Passwords and tokens that cross a network as they are. */
function inTheClear({ api, store }: ClusterConfig, nodes: Nodes): CrossFinding[] {
  const findings: CrossFinding[] = []
  if (api.tls === 'off' && nodes.some(([, { host }]) => !isLoopback(host)))
    findings.push(
      warning(
        ['api', 'tls'],
        'the token of the agents’ API crosses the network unencrypted: who reads it can command the cluster',
      ),
    )
  store.endpoints.forEach((endpoint, index) => {
    const { protocol, hostname } = new URL(endpoint)
    if (protocol !== 'http:' || isLoopback(hostname.replace(/[[\]]/g, ''))) return
    findings.push(
      warning(
        ['store', 'endpoints', String(index)],
        `${endpoint} is unencrypted: who reads or changes what crosses the network decides who is primary`,
      ),
    )
  })
  return findings
}
