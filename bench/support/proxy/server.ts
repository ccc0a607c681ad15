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
const NODE = 'alpha'

export class BenchServer {
  readonly cluster: BenchCluster

  private constructor(cluster: BenchCluster) {
    this.cluster = cluster
  }

  static async start(
    pgbench: Pgbench,
    options: { readonly pg: string; readonly scale: number },
  ): Promise<BenchServer> {
    const cluster = await BenchCluster.make(options.pg, ['--nodes', '1'])
    try {
      await cluster.up({ first: true })
      await cluster.down()
      const server = new BenchServer(cluster)
      writeFileSync(
        server.#configFile,
        server.#configuration().replace('parameters: {}', `parameters: ${PARAMETERS}`),
      )
      await cluster.up({ first: false })
      await pgbench.initialise(server.target, options.scale)
      return server
    } catch (error) {
      await cluster.remove()
      throw error
    }
  }

  get socketDirectory(): string {
    return path.join(this.cluster.data, 'nodes', NODE, 'run')
  }

  get port(): number {
    return this.cluster.nodes[0]?.port ?? 0
  }

  get password(): string {
    return this.cluster.secret('application')
  }

  /** Without anything in between, through the server's socket: as every proxy reaches it. */
  get target(): Target {
    return this.targetAt(this.socketDirectory, this.port)
  }

  /** TCP without TLS, and SCRAM: for everybody the same. */
  targetAt(host: string, port: number): Target {
    return {
      ...{ PGHOST: host, PGPORT: String(port), PGUSER: 'app', PGDATABASE: 'app', PGPASSWORD: this.password },
      PGSSLMODE: 'disable',
    }
  }

  /** The cluster's configuration with another proxy in it, as a file beside it. */
  writeProxyConfiguration(name: string, port: number): string {
    const file = path.join(this.cluster.data, `${name}.yaml`)
    const text = this.#configuration().replace(
      /^proxy: .*$/m,
      `proxy: { host: 127.0.0.1, ports: { readWrite: ${port} }, defaultPoolSize: ${POOL_SIZE} }`,
    )
    writeFileSync(file, text, { mode: 0o600 })
    const { uid, gid } = statSync(this.#configFile)
    chownSync(file, uid, gid)
    return file
  }

  remove(): Promise<void> {
    return this.cluster.remove()
  }

  get #configFile(): string {
    return path.join(this.cluster.data, 'understudy.yaml')
  }

  #configuration(): string {
    return readFileSync(this.#configFile, 'utf8')
  }
}
