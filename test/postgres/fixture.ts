/** Real nodes for the tests of src/postgres: a workspace with certificates, secrets and any number of nodes, and its end. */
import { execFileSync } from 'node:child_process'
import { chownSync, cpSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { Client } from 'pg'
import { afterAll } from 'vitest'
import type { Member, Outcome, Postgres, ReplicationConfiguration } from '../../src/ports/postgres.ts'
import type { AdapterEvent } from '../../src/postgres/adapter-log.ts'
import { type Binaries, findBinaries } from '../../src/postgres/binaries.ts'
import { ensureAuthority, issueCertificate } from '../../src/postgres/certificates.ts'
import { createPostgres, type PostgresOptions } from '../../src/postgres/create-postgres.ts'
import { REPLICATION_ROLE } from '../../src/postgres/layout.ts'
import { listPostgresIn } from '../../src/postgres/processes.ts'
import { ensureSecret, writePassfile } from '../../src/postgres/secrets.ts'
import { becomeOrdinaryUser, makeWorkspace, ordinaryUser } from '../support/as-user.ts'

/** The two that every test runs on: the system's oldest supported, and the embedded newest. */
export const MAJORS = [15, 18] as const

/** Throws when one of them is missing: nothing is skipped in silence. */
const binaries = new Map<number, Binaries>()
/** Used only where the checkout cannot be reached; a new name each time, since root runs what lies there. */
const cache = makeWorkspace('pg')
const user = await ordinaryUser()
if (user !== null) chownSync(cache.path, user.uid, user.gid)
for (const major of MAJORS) {
  binaries.set(
    major,
    value(await findBinaries({ request: String(major), cacheDir: cache.path, runAs: user })),
  )
}
if (user !== null) execFileSync('chown', ['-R', `${user.uid}:${user.gid}`, cache.path])
await becomeOrdinaryUser()
afterAll(cache.remove)

export function binariesOf(major: number): Binaries {
  const found = binaries.get(major)
  if (found === undefined) throw new Error(`PostgreSQL ${major} was not looked for`)
  return found
}

/** What an outcome must hold; fails the test with its reason otherwise. */
export function value<T>(outcome: Outcome<T>): T {
  if (outcome.kind === 'ok') return outcome.value
  throw new Error(`${outcome.code}: ${outcome.reason}`)
}

export const PRIMARY: ReplicationConfiguration = {
  role: 'primary',
  upstream: null,
  synchronousStandbyNames: '',
}

export interface TestNode {
  readonly name: string
  readonly options: PostgresOptions
  readonly postgres: Postgres
  readonly events: readonly AdapterEvent[]
  readonly dataDir: string
  readonly member: Member
  /** One statement as superuser over the socket. */
  sql(text: string, database?: string): Promise<readonly Record<string, unknown>[]>
  log(): Promise<string>
}

const HOST = '127.0.0.1'

export class Workspace {
  readonly path: string
  readonly #remove: () => void
  readonly #nodes: TestNode[] = []

  private constructor(path: string, remove: () => void) {
    this.path = path
    this.#remove = remove
  }

  static async make(label: string): Promise<Workspace> {
    const { path, remove } = makeWorkspace(label)
    const workspace = new Workspace(path, remove)
    value(await ensureAuthority(workspace.authority, 'test'))
    mkdirSync(join(path, 'run'))
    mkdirSync(join(path, 's'))
    for (const secret of Object.values(workspace.secrets)) value(await ensureSecret(secret))
    return workspace
  }

  get authority(): { readonly certificate: string; readonly key: string } {
    return { certificate: join(this.path, 'tls', 'ca.crt'), key: join(this.path, 'tls', 'ca.key') }
  }

  get secrets(): PostgresOptions['secrets'] {
    const file = (name: string): string => join(this.path, 's', name)
    return {
      superuser: file('superuser'),
      replication: file('replication'),
      agent: file('agent'),
      proxy: file('proxy'),
      application: file('application'),
    }
  }

  get nodes(): readonly TestNode[] {
    return this.#nodes
  }

  /** A node without data. Every node of the workspace is a member of one cluster. */
  async node(name: string, major: number, more: Partial<PostgresOptions> = {}): Promise<TestNode> {
    const port = more.port ?? (await freePort())
    const target = {
      certificate: join(this.path, 'tls', `${name}.crt`),
      key: join(this.path, 'tls', `${name}.key`),
    }
    value(await issueCertificate({ authority: this.authority, target, node: name, hosts: [HOST] }))
    const nodeDir = join(this.path, name)
    mkdirSync(nodeDir, { mode: 0o700, recursive: true })
    const events: AdapterEvent[] = []
    const options: PostgresOptions = {
      nodeDir,
      node: name,
      binaries: binariesOf(major),
      port,
      listenAddresses: [HOST],
      socketDirectory: join(this.path, 'run'),
      members: () => this.#nodes.map(({ member }) => member),
      secrets: this.secrets,
      tls: { ...target, ca: this.authority.certificate },
      rtoMs: 3_000,
      applicationRole: 'app',
      database: 'app',
      log: (event) => events.push(event),
      ...more,
    }
    const node: TestNode = {
      name,
      options,
      postgres: createPostgres(options),
      events,
      dataDir: join(nodeDir, 'data'),
      member: { name, host: HOST, port },
      sql: (text, database = 'postgres') => runSql(options, text, database),
      log: () => readLogs(join(nodeDir, 'log')),
    }
    this.#nodes.push(node)
    return node
  }

  /** A node with an initialized data directory: made once per major version, then copied. */
  async initialized(name: string, major: number, more: Partial<PostgresOptions> = {}): Promise<TestNode> {
    const node = await this.node(name, major, more)
    const template = join(this.path, `template-${major}`)
    if (!(await exists(template))) {
      value(await node.postgres.initialize(new AbortController().signal, async () => {}))
      cpSync(node.dataDir, template, { recursive: true })
    } else {
      cpSync(template, node.dataDir, { recursive: true })
    }
    return node
  }

  async primary(name: string, major: number, more: Partial<PostgresOptions> = {}): Promise<TestNode> {
    const node = await this.initialized(name, major, more)
    value(await node.postgres.configure(PRIMARY))
    value(await node.postgres.start(30_000))
    return node
  }

  /** A standby of `upstream`, from a cold copy of its data directory; `upstream` runs before and after. */
  async standby(name: string, upstream: TestNode, names = ''): Promise<TestNode> {
    const node = await this.node(name, upstream.options.binaries.major)
    value(await upstream.postgres.stop('fast', 10_000))
    cpSync(upstream.dataDir, node.dataDir, { recursive: true })
    value(await upstream.postgres.configure({ ...PRIMARY, synchronousStandbyNames: names }))
    value(await upstream.postgres.start(30_000))
    value(await upstream.postgres.createSlot(`understudy_${name}`))
    value(await node.postgres.configure(await this.following(upstream, names)))
    value(await node.postgres.start(30_000))
    return node
  }

  async following(upstream: TestNode, synchronousStandbyNames = ''): Promise<ReplicationConfiguration> {
    const passfile = join(this.path, 's', `to-${upstream.name}`)
    const password = readFileSync(this.secrets.replication, 'utf8').trim()
    const { host, port } = upstream.member
    value(
      await writePassfile(passfile, [
        { host, port, database: 'replication', user: REPLICATION_ROLE, password },
      ]),
    )
    return {
      role: 'standby',
      upstream: { name: upstream.name, host, port, passfile, rejoining: false },
      synchronousStandbyNames,
    }
  }

  /** Ends every server of the workspace, then removes it. */
  async end(): Promise<void> {
    for (const node of this.#nodes) {
      await node.postgres.stop('immediate', 5_000)
      await node.postgres.close()
      // Whatever a failed test left: nothing goes on running without its directory.
      for (const { pid } of await listPostgresIn(node.dataDir)) process.kill(pid, 'SIGKILL')
    }
    this.#remove()
  }
}

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}

export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('no free port')
  return address.port
}

export async function eventually(
  what: string,
  condition: () => Promise<boolean>,
  patienceMs = 10_000,
): Promise<void> {
  const deadlineAt = performance.now() + patienceMs
  while (!(await condition())) {
    if (performance.now() > deadlineAt)
      throw new Error(`within ${patienceMs} ms it did not come true that ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

async function runSql(
  options: PostgresOptions,
  text: string,
  database: string,
): Promise<readonly Record<string, unknown>[]> {
  const client = new Client({
    host: options.socketDirectory,
    port: options.port,
    user: 'postgres',
    database,
    password: readFileSync(options.secrets.superuser, 'utf8').trim(),
  })
  client.on('error', () => undefined)
  await client.connect()
  try {
    return (await client.query<Record<string, unknown>>(text)).rows
  } finally {
    await client.end()
  }
}

async function readLogs(logDir: string): Promise<string> {
  const names = await readdir(logDir).catch(() => [])
  const texts = await Promise.all(names.map((name) => readFile(join(logDir, name), 'utf8')))
  return texts.join('\n')
}

/** For a test that breaks a node on purpose and starts over. */
export function wipe(path: string): void {
  rmSync(path, { recursive: true, force: true })
}
