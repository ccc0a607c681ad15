/** What all proxies of a benchmark stand in front of: one node as `understudy up` makes it, pgbench’s tables, room for direct clients. */
import { chownSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { BenchCluster } from '../cluster-local.ts'
import type { Pgbench, Target } from './pgbench.ts'

/** Server connections of every pooler. */
export const POOL_SIZE = 10
/** Those that have no pool take one server connection for each client. */
export const MOST_DIRECT_CLIENTS = 100

/** Pgpool-II keeps its connections while the others have theirs, and some are still ending. */
const MAX_CONNECTIONS = 3 * MOST_DIRECT_CLIENTS + 50
const PARAMETERS = `{ max_connections: ${MAX_CONNECTIONS}, shared_buffers: 256MB }`

export class BenchServer {
  readonly cluster: BenchCluster

  /** The primary first. */
  readonly nodes: readonly ServerNode[]

  private constructor(cluster: BenchCluster, nodes: readonly ServerNode[]) {
    this.cluster = cluster
    this.nodes = nodes
  }

  /** `nodes`: one, or three of which two are standbys. */
  static async start(
    pgbench: Pgbench,
    options: { readonly pg: string; readonly scale: number; readonly nodes: 1 | 3 },
  ): Promise<BenchServer> {
    const cluster = await BenchCluster.make(options.pg, ['--nodes', String(options.nodes)])
    try {
      await cluster.up({ first: true })
      await cluster.down()
      const file = configFileOf(cluster)
      writeFileSync(file, readFileSync(file, 'utf8').replace('parameters: {}', `parameters: ${PARAMETERS}`))
      await cluster.up({ first: false })
      const server = new BenchServer(cluster, await nodesOf(cluster, options.nodes))
      await pgbench.initialise(server.target, options.scale)
      return server
    } catch (error) {
      await cluster.remove()
      throw error
    }
  }

  get primary(): ServerNode {
    const [primary] = this.nodes
    if (primary === undefined) throw new Error('there is no primary')
    return primary
  }

  get password(): string {
    return this.cluster.secret('application')
  }

  /** Without anything in between, through the server's socket: as every proxy reaches it. */
  get target(): Target {
    return this.targetAt(this.primary.socketDirectory, this.primary.port)
  }

  /** TCP without TLS, and SCRAM: for everybody the same. */
  targetAt(host: string, port: number): Target {
    return {
      ...{ PGHOST: host, PGPORT: String(port), PGUSER: 'app', PGDATABASE: 'app', PGPASSWORD: this.password },
      PGSSLMODE: 'disable',
    }
  }

  /** The cluster's configuration with another proxy in it, as a file beside it. */
  writeProxyConfiguration(name: string, kind: 'auto' | 'readWrite', port: number): string {
    const file = path.join(this.cluster.data, `${name}.yaml`)
    const configFile = configFileOf(this.cluster)
    const text = readFileSync(configFile, 'utf8').replace(
      /^proxy: .*$/m,
      `proxy: { host: 127.0.0.1, ports: { ${kind}: ${port} }, defaultPoolSize: ${POOL_SIZE} }`,
    )
    writeFileSync(file, text, { mode: 0o600 })
    const { uid, gid } = statSync(configFile)
    chownSync(file, uid, gid)
    return file
  }

  remove(): Promise<void> {
    return this.cluster.remove()
  }
}

export interface ServerNode {
  readonly socketDirectory: string
  readonly port: number
}

function configFileOf(cluster: BenchCluster): string {
  return path.join(cluster.data, 'understudy.yaml')
}

async function nodesOf(cluster: BenchCluster, count: number): Promise<readonly ServerNode[]> {
  const status = await cluster.status()
  const isFirst = (name: string): number => (name === status?.primary ? 0 : 1)
  return cluster.nodes
    .slice(0, count)
    .sort((a, b) => isFirst(a.name) - isFirst(b.name))
    .map(({ name, port }) => ({ socketDirectory: path.join(cluster.data, 'nodes', name, 'run'), port }))
}
