/**
 * Machines that a person has set up with bundles: `understudy init`, each node's bundle unpacked at its own place of the network, etcd with
 * TLS and a password beside every agent. A machine that is cut off is cut off with its member of the store, as in a rack. Where this process
 * may make no namespaces, every machine is a loopback address, and what is cut off there is frozen.
 */
import { execFileSync, spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { connect as connectTcp } from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import pg from 'pg'
import { type Document, parseDocument } from 'yaml'
import type { ClusterStatus } from '../../src/api/contract.ts'
import { askCluster } from '../../src/cli/api-client.ts'
import { demand } from '../../src/cli/local/prepare.ts'
import { reachableProgram } from '../../src/cli/local/privileges.ts'
import { hostInUri } from '../../src/config/fields.ts'
import { loadConfig, nodeOf, type ResolvedConfig } from '../../src/config/load.ts'
import { ensureAuthority, ensureCertificate } from '../../src/postgres/certificates.ts'
import { chooseRunAs } from '../../src/postgres/run-as.ts'
import { type Claim, claimLab } from '../lab/claim.ts'
import { findFaketime } from '../lab/clock.ts'
import { giveTo, type LabFiles } from '../lab/files.ts'
import { isWhole } from '../lab/lab.ts'
import { namespacesMissing, openNamespaces } from '../lab/namespaces.ts'
import { CLIENTS, cutBetween, type Network } from '../lab/network.ts'
import { type AgentEnd, LabNode } from '../lab/node.ts'
import { MAIN, type Program, ROOT, startProgram } from '../lab/program.ts'
import { attempt, run } from '../lab/shell.ts'
import { ETCD } from '../lab/store.ts'
import { type CliResult, cliEnvironment, collect } from './cli.ts'
import { endAll } from './cluster-processes.ts'

export const PORT = 15_432
export const API_PORT = 18_008
export const PROXY_PORT = 16_433
const ETCD_PORT = 12_379
const ETCD_PEER_PORT = 12_380
const PASSWORD = 'not a secret: $%"\' '
const DEADLINE_MS = 60_000

export interface MachinesOptions {
  readonly nodes: readonly string[]
  /** Machines that are there, and part of no cluster yet. */
  readonly spare?: readonly string[]
  readonly rto?: string
  readonly canStepClock?: boolean
  /** Where namespaces can be made. */
  readonly withIPv6?: boolean
}

export class Machines {
  readonly directory: string
  /** The operator's directory. */
  readonly home: string
  readonly names: readonly string[]
  readonly network: Network
  readonly canCut: boolean
  readonly unexpectedEnds: AgentEnd[] = []
  readonly #claim: Claim
  readonly #withIPv6: boolean
  readonly #user: User | null
  readonly #program: { readonly node: string; readonly program: string }
  readonly #nodes = new Map<string, LabNode>()
  readonly #etcd = new Map<string, Program>()
  readonly #options: MachinesOptions

  private constructor(parts: {
    readonly claim: Claim
    readonly network: Network
    readonly canCut: boolean
    readonly withIPv6: boolean
    readonly options: MachinesOptions
    readonly user: User | null
    readonly program: { readonly node: string; readonly program: string }
  }) {
    this.directory = parts.claim.directory
    this.home = path.join(this.directory, 'home')
    this.names = [...parts.options.nodes, ...(parts.options.spare ?? [])]
    this.network = parts.network
    this.canCut = parts.canCut
    this.#claim = parts.claim
    this.#withIPv6 = parts.withIPv6
    this.#user = parts.user
    this.#program = parts.program
    this.#options = parts.options
  }

  /** Machines with a store, and nothing of a cluster yet. What fails leaves nothing behind. */
  static async start(options: MachinesOptions): Promise<Machines> {
    const claim = await claimLab()
    let machines: Machines | null = null
    try {
      chmodSync(claim.directory, 0o755)
      const user = demand(await chooseRunAs({ checkout: ROOT }))
      const canCut = (await namespacesMissing()) === null
      const places = [...options.nodes, ...(options.spare ?? [])]
      const network = canCut
        ? await openNamespaces({
            ...{ number: claim.number, name: claim.name, places, services: [], local: [], canDelay: false },
            runAs: user,
          })
        : plainLoopback(claim.number, places, user)
      const program =
        user === null ? { node: process.execPath, program: MAIN } : await reachableProgram(user, ROOT)
      const withIPv6 = canCut && options.withIPv6 === true && (await addIPv6(claim, places))
      machines = new Machines({ withIPv6, claim, network, canCut, options, user, program })
      await machines.#startStore()
      return machines
    } catch (error) {
      await machines?.close()
      await claim.release()
      throw error
    }
  }

  addressOf(name: string): string {
    if (this.#withIPv6) return addressIn6(this.#claim, this.names.indexOf(name))
    return this.network.addressOf(CLIENTS, name)
  }

  // --- the store

  get storeFlags(): readonly string[] {
    const endpoints = this.#options.nodes.map(
      (name) => `https://${hostInUri(this.addressOf(name))}:${ETCD_PORT}`,
    )
    return [
      ...['--store', endpoints.join(','), '--store-ca', this.#etcdFile('ca.crt')],
      ...['--store-user', 'understudy', '--store-password-file', this.#etcdFile('password')],
    ]
  }

  #etcdFile(name: string): string {
    return path.join(this.directory, 'etcd', name)
  }

  async #startStore(): Promise<void> {
    const directory = path.join(this.directory, 'etcd')
    mkdirSync(directory, { mode: 0o700 })
    writeFileSync(this.#etcdFile('password'), `${PASSWORD}\n`, { mode: 0o600 })
    const authority = { certificate: this.#etcdFile('ca.crt'), key: this.#etcdFile('ca.key') }
    demand(await ensureAuthority(authority, 'etcd'))
    for (const name of this.#options.nodes)
      demand(
        await ensureCertificate({
          ...{ authority, node: name, hosts: [this.addressOf(name)] },
          target: { certificate: this.#etcdFile(`${name}.crt`), key: this.#etcdFile(`${name}.key`) },
        }),
      )
    if (this.#user !== null) giveTo(this.#user, this.directory)
    for (const name of this.#options.nodes) this.startEtcd(name)
    await this.#secureStore()
  }

  startEtcd(name: string): void {
    const url = (port: number, of = name): string => `https://${hostInUri(this.addressOf(of))}:${port}`
    const tls = (prefix: string): readonly string[] => [
      ...[
        `--${prefix}cert-file`,
        this.#etcdFile(`${name}.crt`),
        `--${prefix}key-file`,
        this.#etcdFile(`${name}.key`),
      ],
    ]
    const command = [
      ...[ETCD, '--name', name, '--data-dir', this.#etcdFile(name), '--logger', 'zap', '--log-level', 'warn'],
      ...['--listen-client-urls', url(ETCD_PORT), '--advertise-client-urls', url(ETCD_PORT)],
      ...['--listen-peer-urls', url(ETCD_PEER_PORT), '--initial-advertise-peer-urls', url(ETCD_PEER_PORT)],
      '--initial-cluster',
      this.#options.nodes.map((each) => `${each}=${url(ETCD_PEER_PORT, each)}`).join(','),
      ...[
        ...tls(''),
        ...tls('peer-'),
        '--peer-client-cert-auth',
        '--peer-trusted-ca-file',
        this.#etcdFile('ca.crt'),
      ],
    ]
    const started = startProgram({
      command: this.network.at(name, command),
      directory: this.directory,
      logFile: this.#etcdFile(`${name}.log`),
      env: { HOME: this.directory },
    })
    this.#etcd.set(name, started)
  }

  /** etcd's own users (etcd 3.4: "Role-based access control"): ours may read and write below /understudy/ and nowhere else. */
  async #secureStore(): Promise<void> {
    const base64 = (text: string): string => Buffer.from(text).toString('base64')
    const steps: readonly (readonly [string, object])[] = [
      ['user/add', { name: 'root', password: 'root' }],
      ['role/add', { name: 'root' }],
      ['user/grant', { user: 'root', role: 'root' }],
      ['role/add', { name: 'understudy' }],
      [
        'role/grant',
        {
          name: 'understudy',
          perm: { permType: 2, key: base64('/understudy/'), range_end: base64('/understudy0') },
        },
      ],
      ['user/add', { name: 'understudy', password: PASSWORD }],
      ['user/grant', { user: 'understudy', role: 'understudy' }],
      ['enable', {}],
    ]
    for (const [name, body] of steps) await this.#askEtcd(`/v3/auth/${name}`, body)
  }

  async #askEtcd(where: string, body: object): Promise<void> {
    const deadline = performance.now() + DEADLINE_MS
    const [first = ''] = this.#options.nodes
    for (;;) {
      const answer = await post(
        this.addressOf(first),
        ETCD_PORT,
        where,
        body,
        readFileSync(this.#etcdFile('ca.crt')),
      )
      if (answer?.status === 200) return
      if (performance.now() > deadline) throw new Error(`etcd: ${where}: ${JSON.stringify(answer)}`)
      await sleep(100)
    }
  }

  // --- the operator

  /** As the user that runs PostgreSQL, in the operator's directory's parent. */
  understudy(...args: readonly string[]): Promise<CliResult> {
    return this.run(CLIENTS, ...args)
  }

  /** At a machine. */
  run(place: string, ...args: readonly string[]): Promise<CliResult> {
    const { node, program } = this.#program
    const [command = '', ...rest] = this.network.at(place, [node, program, ...args])
    const child = spawn(command, rest, {
      cwd: this.directory,
      env: cliEnvironment({ HOME: this.directory }),
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    return collect(child)
  }

  /** `understudy init` with the machines' addresses, then what a person edits, then the bundles unpacked at their machines. */
  async setUp(...more: readonly string[]): Promise<CliResult> {
    const nodes = this.#options.nodes.map((name) => this.nodeWord(name)).join(',')
    const result = await this.understudy(
      ...['init', '--dir', this.home, '--nodes', nodes, '--api-port', String(API_PORT), ...this.storeFlags],
      ...['--rto', this.#options.rto ?? '1s', '--pg', '15', ...more],
    )
    if (result.code !== 0) throw new Error(`init failed: ${result.stderr}`)
    this.edit((document) => {
      for (const name of this.#options.nodes) this.describeMachine(document, name)
      if (!this.canCut) document.setIn(['api'], { tls: 'on' })
      document.setIn(['postgres', 'parameters'], { shared_buffers: '32MB', min_wal_size: '32MB' })
    })
    const again = await this.understudy('init', '--dir', this.home)
    if (again.code !== 0) throw new Error(`init failed: ${again.stderr}`)
    for (const name of this.#options.nodes) this.unpack(name)
    return again
  }

  /** As `init` and `add` take it. */
  nodeWord(name: string): string {
    return `${name}=${hostInUri(this.addressOf(name))}:${PORT}`
  }

  /** What the test's machines need and a person's do not: every one of them is this machine. */
  describeMachine(document: Document, name: string): void {
    document.setIn(['nodes', name, 'directory'], this.nodeDirectory(name))
    // Connections between loopback addresses come from 127.0.0.1.
    if (!this.canCut) document.setIn(['nodes', name, 'sourceAddresses'], ['127.0.0.1'])
  }

  edit(change: (document: Document) => void): void {
    const file = path.join(this.home, 'understudy.yaml')
    const document = parseDocument(readFileSync(file, 'utf8'))
    change(document)
    writeFileSync(file, document.toString())
  }

  /** At the machine of `at`; left out: its own. */
  unpack(name: string, at = name): void {
    const target = this.bundle(at)
    rmSync(target, { recursive: true, force: true })
    mkdirSync(path.dirname(target), { recursive: true, mode: 0o755 })
    mkdirSync(target, { recursive: true, mode: 0o700 })
    execFileSync('tar', ['-xzf', path.join(this.home, 'bundles', `${name}.tar.gz`), '-C', target])
    if (this.#user !== null) giveTo(this.#user, target)
  }

  /** What a test wrote as root belongs to the user that runs PostgreSQL again. */
  ownAll(name: string): void {
    if (this.#user === null) return
    for (const place of [this.bundle(name), this.nodeDirectory(name)])
      if (existsSync(place)) giveTo(this.#user, place)
  }

  /** Where the bundle of a machine lies. */
  bundle(name: string): string {
    return path.join(this.directory, 'machines', name)
  }

  configFile(name: string): string {
    return path.join(this.bundle(name), 'understudy.yaml')
  }

  nodeDirectory(name: string): string {
    return path.join(this.directory, 'nodes', name)
  }

  // --- the nodes

  node(name: string): LabNode {
    const known = this.#nodes.get(name)
    if (known !== undefined) return known
    const files: LabFiles = {
      directory: this.directory,
      configFile: (of) => this.configFile(of),
      nodeDirectory: (of) => this.nodeDirectory(of),
      secretFile: (of) => path.join(this.home, 'secrets', of),
      caFile: path.join(this.home, 'tls', 'ca.crt'),
    }
    for (const each of ['logs', 'clocks', path.join('nodes', name)])
      mkdirSync(path.join(this.directory, each), { recursive: true, mode: 0o755 })
    if (this.#user !== null) giveTo(this.#user, path.join(this.directory, 'nodes'))
    const node = new LabNode({
      ...{ name, files, network: this.network, ...this.#program, canFill: false },
      faketime: this.#options.canStepClock === true ? findFaketime() : null,
      onUnexpectedEnd: (end) => this.unexpectedEnds.push(end),
    })
    this.#nodes.set(name, node)
    return node
  }

  startAgents(): void {
    for (const name of this.#options.nodes) this.node(name).startAgent()
  }

  /** As its unit would, from the bundle. It ends with the machines. */
  startProxy(name: string): Program {
    const { node, program } = this.#program
    return startProgram({
      command: this.network.at(name, [node, program, 'proxy', '--config', this.configFile(name)]),
      directory: this.bundle(name),
      logFile: path.join(this.directory, 'logs', `${name}-proxy.log`),
      env: { HOME: this.directory },
    })
  }

  /** As an operator sees it. */
  config(): Promise<ResolvedConfig> {
    return loadConfig(path.join(this.home, 'understudy.yaml'))
  }

  async status(): Promise<ClusterStatus | null> {
    return askCluster((await this.config()).nodes)
  }

  async healthy(): Promise<ClusterStatus> {
    return this.waitFor('a healthy cluster', async () => {
      const status = await this.status()
      return status !== null && isWhole(status) ? status : null
    })
  }

  async primary(): Promise<string> {
    return this.waitFor('a primary', async () => (await this.status())?.primary ?? null)
  }

  /** Looks until it is true, and returns what it is. A look that throws counts as "not yet". */
  async waitFor<T>(
    what: string,
    look: () => T | Promise<T>,
    deadlineMs = DEADLINE_MS,
  ): Promise<NonNullable<Exclude<T, false>>> {
    const deadline = performance.now() + deadlineMs
    let failure = ''
    for (;;) {
      try {
        const value = await look()
        if (value !== null && value !== undefined && value !== false)
          return value as NonNullable<Exclude<T, false>>
      } catch (error) {
        failure = `\nlast failure: ${String(error)}`
      }
      if (performance.now() > deadline)
        throw new Error(`waited ${deadlineMs} ms in vain for ${what}${failure}\n${await this.explain()}`)
      await sleep(50)
    }
  }

  async explain(): Promise<string> {
    const status = JSON.stringify(await this.status().catch(String))
    const tails = this.names.map((name) => {
      const file = path.join(this.directory, 'logs', `${name}.log`)
      return `--- ${name}\n${readIfPresent(file).trimEnd().split('\n').slice(-15).join('\n')}`
    })
    return [status, ...tails].join('\n')
  }

  // --- SQL

  async sql<T extends pg.QueryResultRow>(
    name: string,
    text: string,
    values: readonly unknown[] = [],
    password?: string,
  ): Promise<readonly T[]> {
    const config = await this.config()
    const { host, port } = nodeOf(config, name)
    const file = config.secrets.superuserPassword
    const place = { host, port, user: 'postgres', database: 'postgres' }
    return ask<T>({ ...place, ...credentials(config, file, password) }, text, values)
  }

  /** One statement as the application, through the proxy at that machine. */
  async askProxy<T extends pg.QueryResultRow>(
    name: string,
    text: string,
    password?: string,
  ): Promise<readonly T[]> {
    const config = await this.config()
    const file = config.secrets.applicationPassword
    const place = { host: this.addressOf(name), port: PROXY_PORT, user: 'app', database: 'app' }
    return ask<T>({ ...place, ...credentials(config, file, password) }, text)
  }

  /** Fingerprints of what its API and its PostgreSQL show right now. */
  async certificateOf(name: string): Promise<{ readonly api: string; readonly postgres: string }> {
    const { tls } = await this.config()
    const ca = readFileSync(tls.caFile, 'utf8')
    const host = this.addressOf(name)
    const api = await peerOf(connectTls({ host, port: API_PORT, ca }))
    return { api, postgres: await this.certificateAt(name, PORT) }
  }

  /** Of what speaks PostgreSQL's protocol there. */
  async certificateAt(name: string, port: number): Promise<string> {
    const ca = readFileSync((await this.config()).tls.caFile, 'utf8')
    const host = this.addressOf(name)
    const plain = connectTcp({ host, port })
    // SSLRequest (manual: 55.2.11), answered with S.
    await new Promise<void>((resolve, reject) => {
      plain.once('error', reject).once('data', () => resolve())
      plain.write(Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]))
    })
    return peerOf(connectTls({ socket: plain, ca, host }))
  }

  // --- faults

  /** The whole machine, its member of the store too; returns what mends it. */
  async cutOff(name: string): Promise<() => Promise<void>> {
    if (this.canCut) {
      await this.network.cut(cutBetween([name], [...this.names.filter((each) => each !== name), CLIENTS]))
      return () => this.network.cut([])
    }
    const etcd = this.#etcd.get(name)
    this.node(name).freeze('node')
    if (etcd !== undefined) process.kill(etcd.pid, 'SIGSTOP')
    return async () => {
      if (etcd !== undefined) process.kill(etcd.pid, 'SIGCONT')
      this.node(name).thaw()
    }
  }

  /** Ends everything and removes it. Can be called twice. */
  async close(): Promise<void> {
    for (const node of this.#nodes.values()) await node.kill('node').catch(() => {})
    await endAll([this.directory])
    await this.network.close()
    await this.#claim.release()
  }
}

function peerOf(socket: TLSSocket): Promise<string> {
  return new Promise((resolve, reject) => {
    socket.once('error', reject).once('secureConnect', () => {
      resolve(socket.getPeerCertificate().fingerprint256)
      socket.destroy()
    })
  })
}

interface User {
  readonly uid: number
  readonly gid: number
}

function asUser(user: User | null): readonly string[] {
  return user === null ? [] : ['setpriv', `--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups']
}

function addressIn6({ number }: Claim, index: number): string {
  return `fd00:198:18:${number}::${index + 1}`
}

/** Beside the addresses of the old family; false where the kernel has none of this one. */
async function addIPv6(claim: Claim, places: readonly string[]): Promise<boolean> {
  const add = (address: string): readonly string[] => ['addr', 'add', `${address}/64`, 'nodad', 'dev']
  if (!(await attempt('ip', [...add(addressIn6(claim, 253)), claim.name]))) return false
  for (const [index, place] of places.entries())
    await run('ip', ['-n', `${claim.name}-${place}`, ...add(addressIn6(claim, index)), 'eth0'])
  return true
}

/** Addresses of this machine, without anything between them. */
function plainLoopback(number: number, places: readonly string[], user: User | null): Network {
  const addressOf = (_: string, to: string): string => `127.${100 + number}.${places.indexOf(to) + 1}.1`
  return {
    ...{ kind: 'proxies', canDelay: false, addressOf, at: (_, command) => [...asUser(user), ...command] },
    cut: () => Promise.reject(new Error('nothing can be cut here')),
    delay: () => {},
    close: () => Promise.resolve(),
  }
}

function post(
  host: string,
  port: number,
  where: string,
  body: object,
  ca: Buffer,
): Promise<{ readonly status: number; readonly text: string } | null> {
  return new Promise((resolve) => {
    const sent = request({ host, port, path: where, method: 'POST', ca, timeout: 2_000 }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (more: string) => {
        text += more
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
    })
    sent.on('error', () => resolve(null))
    sent.on('timeout', () => sent.destroy())
    sent.end(JSON.stringify(body))
  })
}

function readIfPresent(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

function credentials(
  config: ResolvedConfig,
  passwordFile: string,
  password = readFileSync(passwordFile, 'utf8').trim(),
): Pick<pg.ClientConfig, 'password' | 'ssl'> {
  return { password, ssl: { ca: readFileSync(config.tls.caFile, 'utf8') } }
}

async function ask<T extends pg.QueryResultRow>(
  connection: pg.ClientConfig,
  text: string,
  values: readonly unknown[] = [],
): Promise<readonly T[]> {
  const client = new pg.Client({ ...connection, connectionTimeoutMillis: 5_000, query_timeout: 20_000 })
  client.on('error', () => {})
  try {
    await client.connect()
    return (await client.query<T>(text, [...values])).rows
  } finally {
    await client.end().catch(() => {})
  }
}
