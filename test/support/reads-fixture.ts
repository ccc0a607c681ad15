/** A primary, its standbys, and a proxy before them with all three ports, in this process; who is primary says the test. */
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { createSecureContext } from 'node:tls'
import type { Line } from '../../src/core/read-bound.ts'
import type {
  PositionReading,
  Positions,
  PrimaryPositions,
  Route,
  RoutedNode,
} from '../../src/ports/proxy.ts'
import { PositionWatch } from '../../src/postgres/position-watch.ts'
import { PostgresPrimaryPositions } from '../../src/postgres/primary-positions.ts'
import type { Classifier } from '../../src/proxy/classify/verdict.ts'
import { ProxyWorker } from '../../src/proxy/proxy-worker.ts'
import type { ProxySettings, ReadDefaults } from '../../src/proxy/settings.ts'
import { openSocket } from '../../src/replication/socket.ts'
import { issueCertificate, makeCa, type TestCa } from './certificates.ts'
import { installOf } from './postgres-installs.ts'
import {
  freePort,
  giveToServerUser,
  makeWorkspace,
  startPrimary,
  startStandby,
  type TestServer,
} from './postgres-server.ts'
import { PROXY_DEFAULTS, TestRouting } from './proxy-fixture.ts'

const PRIMARY = 'alpha'
const STANDBYS = ['bravo', 'charlie'] as const

export interface ReadsProxy {
  readonly proxy: ProxyWorker
  readonly auto: number
  readonly readWrite: number
  readonly readOnly: number
  readonly routing: TestRouting
  readonly positions: TestPositions
  readonly learned: string[]
  readonly logged: string[]
  stop(): Promise<void>
}

/** Straight from the watches, without the agents' API between; a test can put its own reading in the place of a node's. */
export class TestPositions implements Positions {
  readonly hurried: string[] = []
  readonly #watches: ReadonlyMap<string, PositionWatch>
  readonly #listeners = new Set<(node: string, reading: PositionReading | null) => void>()
  readonly #ends = new Map<string, () => void>()
  readonly #changed = new Map<string, (reading: PositionReading) => PositionReading | null>()

  constructor(watches: ReadonlyMap<string, PositionWatch>) {
    this.#watches = watches
  }

  follow(nodes: readonly string[]): void {
    for (const [name, end] of this.#ends) {
      if (nodes.includes(name)) continue
      end()
      this.#ends.delete(name)
    }
    for (const name of nodes) {
      const watch = this.#watches.get(name)
      if (this.#ends.has(name) || watch === undefined) continue
      this.#ends.set(
        name,
        watch.subscribe((reading) => this.#tell(name, reading)),
      )
    }
  }

  subscribe(listener: (node: string, reading: PositionReading | null) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  hurry(node: string): void {
    this.hurried.push(node)
    this.#watches.get(node)?.hurry()
  }

  /** From now on readings of this node come changed; null: none comes. */
  change(node: string, how: (reading: PositionReading) => PositionReading | null): void {
    this.#changed.set(node, how)
  }

  close(): void {
    this.follow([])
    this.#listeners.clear()
  }

  #tell(name: string, reading: PositionReading): void {
    const changed = this.#changed.get(name)?.(reading)
    for (const listener of this.#listeners) listener(name, changed === undefined ? reading : changed)
  }
}

export class ReadsFixture {
  readonly primary: TestServer
  readonly standbys: ReadonlyMap<string, TestServer>
  readonly line: Line
  readonly ca: TestCa
  readonly #watches: ReadonlyMap<string, PositionWatch>
  readonly #primaryPositions: PostgresPrimaryPositions
  readonly #remove: () => void
  readonly #running: ReadsProxy[] = []

  private constructor(parts: {
    readonly primary: TestServer
    readonly standbys: ReadonlyMap<string, TestServer>
    readonly systemIdentifier: string
    readonly ca: TestCa
    readonly workspace: string
    readonly remove: () => void
  }) {
    const { primary, standbys, systemIdentifier, ca, workspace } = parts
    this.primary = primary
    this.standbys = standbys
    this.ca = ca
    this.line = { systemIdentifier, history: { timelineId: 1, ancestors: [] } }
    const passwordFile = path.join(workspace, 'password')
    writeFileSync(passwordFile, 'unused\n', { mode: 0o600 })
    this.#watches = new Map(
      [[PRIMARY, primary] as const, ...standbys].map(([node, server]) => [
        node,
        new PositionWatch({
          node,
          session: {
            ...{ socketDirectory: workspace, port: server.port, passwordFile, role: 'postgres' },
            applicationName: 'positions',
          },
          nowMs: () => performance.now(),
        }),
      ]),
    )
    this.#primaryPositions = new PostgresPrimaryPositions({
      socketDirectory: () => workspace,
      password: () => Promise.resolve('unused'),
      caPem: ca.caPem,
    })
    this.#remove = parts.remove
  }

  /** With a role and a database `app`; the standbys stream. */
  static async start(major: number): Promise<ReadsFixture> {
    const workspace = makeWorkspace('reads')
    const ca = makeCa(`${workspace.path}/tls`)
    const certificate = issueCertificate(ca, 'server', { names: ['IP:127.0.0.1'] })
    const options = { install: installOf(major), workspace: workspace.path, certificate }
    const primary = await startPrimary({
      ...{ ...options, name: PRIMARY },
      configuration: ['max_connections = 60', 'wal_writer_delay = 10ms', 'wal_keep_size = 256MB'],
    })
    await primary.sql("CREATE ROLE app LOGIN PASSWORD 'secret'")
    await primary.sql('CREATE ROLE understudy_proxy LOGIN')
    await primary.sql('CREATE DATABASE app OWNER app')
    const [row] = await primary.sql('SELECT system_identifier::text AS id FROM pg_control_system()')
    await primary.stop()
    for (const name of STANDBYS) {
      const directory = path.join(workspace.path, name)
      cpSync(primary.dataDirectory, directory, { recursive: true, verbatimSymlinks: true })
      giveToServerUser(directory, { recursive: true })
    }
    await primary.start()
    const standbys = new Map<string, TestServer>()
    for (const name of STANDBYS)
      standbys.set(
        name,
        await startStandby({
          ...{ ...options, name },
          primaryConninfo: `host=${workspace.path} port=${primary.port} user=postgres application_name=${name}`,
        }),
      )
    return new ReadsFixture({
      ...{ primary, standbys, ca, workspace: workspace.path, remove: workspace.remove },
      systemIdentifier: String(row?.['id']),
    })
  }

  standby(name: string): TestServer {
    const server = this.standbys.get(name)
    if (server === undefined) throw new Error(`no standby ${name}`)
    return server
  }

  get members(): readonly RoutedNode[] {
    return [[PRIMARY, this.primary] as const, ...this.standbys].map(([name, { port }]) => ({
      ...{ name, host: '127.0.0.1', port },
    }))
  }

  get route(): Extract<Route, { kind: 'open' }> {
    const { members, line } = this
    const primary = members.find(({ name }) => name === PRIMARY)
    if (primary === undefined) throw new Error('no primary')
    return { kind: 'open', epoch: 1, primary, cluster: { line, members } }
  }

  async proxy(
    settings: Partial<ProxySettings> & { readonly readDefaults?: Partial<ReadDefaults> } = {},
    changes: { readonly primaryPositions?: PrimaryPositions } = {},
  ): Promise<ReadsProxy> {
    const [auto, readWrite, readOnly] = [await freePort(), await freePort(), await freePort()]
    const routing = new TestRouting(this.route)
    const positions = new TestPositions(this.#watches)
    const learned: string[] = []
    const logged: string[] = []
    const log = (message: string): unknown => logged.push(message)
    const certificate = issueCertificate(this.ca, 'proxy', { names: ['IP:127.0.0.1'] })
    const secureContext = createSecureContext({
      cert: readFileSync(certificate.certificateFile),
      key: readFileSync(certificate.keyFile),
    })
    const { readDefaults, ...others } = settings
    const reads = { ...PROXY_DEFAULTS.reads, ...readDefaults }
    const proxy = new ProxyWorker(
      { ...PROXY_DEFAULTS, ports: { auto, readWrite, readOnly }, ...others, reads },
      {
        ...{ routing, worker: 0, secureContext: () => secureContext },
        logins: {
          lookUp: async (role) => {
            const rows = await this.primary
              .sql('SELECT rolpassword FROM pg_authid WHERE rolname = $1', [role])
              .catch(() =>
                this.standby('bravo').sql('SELECT rolpassword FROM pg_authid WHERE rolname = $1', [role]),
              )
            return { kind: 'found', verifier: String(rows[0]?.['rolpassword']) }
          },
        },
        openTarget: ({ host, port }, signal) =>
          openSocket({
            address: { host, port },
            tls: { mode: 'verify-full', caPem: this.ca.caPem },
            keepaliveIdleMs: 10_000,
            signal,
          }),
        log: { info: log, warn: log, error: log },
        reads: {
          positions,
          primaryPositions: changes.primaryPositions ?? this.#primaryPositions,
          classifier: standInClassifier(learned),
        },
      },
    )
    await proxy.start()
    const stop = async (): Promise<void> => {
      await proxy.stop(0)
      positions.close()
    }
    const running = { proxy, auto, readWrite, readOnly, routing, positions, learned, logged, stop }
    this.#running.push(running)
    await until(() => logged.some((line) => line.includes('bravo, charlie')), 'both standbys in rotation')
    return running
  }

  async sql(text: string): Promise<readonly Record<string, unknown>[]> {
    const { Client } = (await import('pg')).default
    const client = new Client({
      ...{ host: this.primary.options.workspace, port: this.primary.port, user: 'postgres', database: 'app' },
    })
    await client.connect()
    try {
      return (await client.query<Record<string, unknown>>(text)).rows
    } finally {
      await client.end()
    }
  }

  async stop(): Promise<void> {
    await Promise.all(this.#running.map((each) => each.stop()))
    for (const watch of this.#watches.values()) watch.close()
    this.#primaryPositions.close()
    await Promise.all([...this.standbys.values()].map((each) => each.stop('SIGQUIT')))
    await this.primary.stop('SIGQUIT')
    this.#remove()
    rmSync(this.primary.options.workspace, { recursive: true, force: true })
  }
}

export async function until(look: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const late = performance.now() + 20_000
  while (!(await look())) {
    if (performance.now() > late) throw new Error(`waited in vain for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** Enough of one for texts that a test sends. */
function standInClassifier(learned: string[]): Classifier {
  return {
    classify: (text) => {
      const own = /^\s*(SET|RESET|SHOW)\s+(understudy\.\w+)(?:\s*(?:=|TO)\s*'?([^';]*)'?)?/i.exec(text)
      if (own !== null) {
        const name = own[2] as 'understudy.token'
        if (own[1]?.toUpperCase() === 'SHOW') return { kind: 'showOwn', name }
        return { kind: 'setOwn', name, value: own[3] ?? null, local: false }
      }
      if (learned.includes(text)) return { kind: 'primary', reason: 'learned', hint: null }
      if (/^\s*BEGIN/i.test(text)) return { kind: 'begin', readOnly: /READ ONLY/i.test(text), hint: null }
      if (/^\s*SELECT/i.test(text) && !/;\s*\S/.test(text)) return { kind: 'read', hint: null }
      return { kind: 'primary', reason: 'not a read', hint: null }
    },
    learnWrite: (text) => {
      learned.push(text)
    },
  }
}
