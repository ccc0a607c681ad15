/** A PostgreSQL and a proxy before it, in this process, for tests of the proxy alone; who is primary says the test. */
import { readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import pg from 'pg'
import type { LoginLookup, Route, Routing } from '../../src/ports/proxy.ts'
import { type ProxyDependencies, ProxyWorker } from '../../src/proxy/proxy-worker.ts'
import type { ProxySettings } from '../../src/proxy/settings.ts'
import { openSocket } from '../../src/replication/socket.ts'
import { issueCertificate, makeCa, type TestCa } from './certificates.ts'
import { installOf } from './postgres-installs.ts'
import { freePort, makeWorkspace, startPrimary, type TestServer } from './postgres-server.ts'

export class TestRouting implements Routing {
  readonly #listeners = new Set<(route: Route) => void>()
  current: Route

  constructor(route: Route) {
    this.current = route
  }

  subscribe(listener: (route: Route) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  set(route: Route): void {
    this.current = route
    for (const listener of this.#listeners) listener(route)
  }
}

export interface RunningProxy {
  readonly proxy: ProxyWorker
  readonly port: number
  readonly routing: TestRouting
  /** What it logged. */
  readonly logged: readonly string[]
  stop(): Promise<void>
}

export class ProxyFixture {
  readonly server: TestServer
  readonly ca: TestCa
  readonly #remove: () => void
  readonly #running: RunningProxy[] = []

  private constructor(server: TestServer, ca: TestCa, remove: () => void) {
    this.server = server
    this.ca = ca
    this.#remove = remove
  }

  /** With a role and a database `app`; TLS and SCRAM as in production. */
  static async start(major: number): Promise<ProxyFixture> {
    const workspace = makeWorkspace('proxy')
    const ca = makeCa(`${workspace.path}/tls`)
    const certificate = issueCertificate(ca, 'server', { names: ['IP:127.0.0.1'] })
    const server = await startPrimary({
      install: installOf(major),
      workspace: workspace.path,
      name: `pg${major}`,
      certificate,
      configuration: ['max_prepared_transactions = 5', 'max_connections = 60', 'log_statement = none'],
    })
    await server.sql("CREATE ROLE app LOGIN PASSWORD 'secret'")
    await server.sql("CREATE ROLE other LOGIN PASSWORD 'secret2'")
    await server.sql('GRANT app TO other')
    await server.sql('CREATE DATABASE app OWNER app')
    return new ProxyFixture(server, ca, workspace.remove)
  }

  get route(): Route {
    return { kind: 'open', epoch: 1, primary: { name: 'alpha', host: '127.0.0.1', port: this.server.port } }
  }

  async proxy(
    settings: Partial<ProxySettings> = {},
    more: Partial<ProxyDependencies> = {},
  ): Promise<RunningProxy> {
    const port = await freePort()
    const routing = new TestRouting(this.route)
    const logged: string[] = []
    const log = (message: string): unknown => logged.push(message)
    const certificate = issueCertificate(this.ca, 'proxy', { names: ['IP:127.0.0.1'] })
    const secureContext = createSecureContext({
      cert: readFileSync(certificate.certificateFile),
      key: readFileSync(certificate.keyFile),
    })
    const proxy = new ProxyWorker(
      { ...PROXY_DEFAULTS, ports: { ...PROXY_DEFAULTS.ports, readWrite: port }, ...settings },
      {
        routing,
        logins: { lookUp: (role) => this.#lookUp(role) },
        openTarget: ({ host, port: targetPort }, signal) =>
          openSocket({
            address: { host, port: targetPort },
            tls: { mode: 'verify-full', caPem: this.ca.caPem },
            keepaliveIdleMs: 10_000,
            signal,
          }),
        secureContext: () => secureContext,
        log: { info: log, warn: log, error: log },
        worker: 0,
        ...more,
      },
    )
    await proxy.start()
    const running = { proxy, port, routing, logged, stop: () => proxy.stop(0) }
    this.#running.push(running)
    return running
  }

  /** As superuser, in the database that the clients use. */
  async sql(text: string): Promise<readonly Record<string, unknown>[]> {
    const client = new pg.Client({
      host: this.server.options.workspace,
      port: this.server.port,
      user: 'postgres',
      database: 'app',
    })
    // A server that is killed meanwhile: the statement fails, and nothing else.
    client.on('error', () => {})
    await client.connect()
    try {
      const result = await client.query<Record<string, unknown>>(text)
      return result.rows
    } finally {
      await client.end()
    }
  }

  /** How many sessions of the role app the server has. */
  async serverSessions(): Promise<number> {
    const rows = await this.server.sql(
      "SELECT count(*)::int AS n FROM pg_stat_activity WHERE usename = 'app' AND backend_type = 'client backend'",
    )
    return Number(rows[0]?.['n'])
  }

  async stop(): Promise<void> {
    await Promise.all(this.#running.map((each) => each.stop()))
    await this.server.stop()
    this.#remove()
  }

  async #lookUp(role: string): Promise<LoginLookup> {
    const rows = await this.server.sql(
      'SELECT rolpassword FROM pg_authid WHERE rolname = $1 AND rolcanlogin',
      [role],
    )
    const row = rows[0]
    return row === undefined
      ? { kind: 'unknown' }
      : { kind: 'found', verifier: (row['rolpassword'] as string | null) ?? null }
  }
}

export const PROXY_DEFAULTS: ProxySettings = {
  listen: ['127.0.0.1'],
  ports: { auto: null, readWrite: null, readOnly: null },
  reads: { level: 'session', maxLagMs: 10_000, waitMs: 2_000, readOnlyFallback: true },
  poolMode: 'transaction',
  defaultPoolSize: 2,
  pools: [],
  maxClients: 100,
  maxLogins: 50,
  maxWaiting: 50,
  maxWaitingBytes: 64 * 1024 * 1024,
  holdTimeoutMs: 10_000,
  loginTimeoutMs: 10_000,
  idleTransactionTimeoutMs: 0,
  serverIdleTimeoutMs: 600_000,
  serverLifetimeMs: 3_600_000,
  serverConnectTimeoutMs: 3_000,
  maxPreparedStatements: 200,
  maxClientStatements: 8 * 1024 * 1024,
  resolveCommits: false,
  clientTls: 'allow',
  consoleRoles: ['postgres'],
}
