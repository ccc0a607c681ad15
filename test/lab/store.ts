/** The store of a lab: etcd with one or three members, each at a place of its own, or the embedded store. */
import { existsSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { signal } from '../support/cluster-processes.ts'
import type { LabFiles } from './files.ts'
import type { Network, Place } from './network.ts'
import { type Program, startProgram } from './program.ts'

export type StoreKind = 'etcd' | 'etcd1' | 'embedded'

export const ETCD = '/usr/bin/etcd'
export const hasEtcd = existsSync(ETCD)

/** The places of its members, in the order of their addresses. */
export function membersOf(kind: StoreKind): readonly Place[] {
  return { etcd: ['etcd1', 'etcd2', 'etcd3'], etcd1: ['etcd1'], embedded: ['store'] }[kind]
}

export interface LabStoreOptions {
  readonly kind: StoreKind
  readonly files: LabFiles
  readonly network: Network
  readonly port: number
  /** Between the members. */
  readonly peerPort: number
  readonly node: string
  readonly program: string
}

const READY_PATIENCE_MS = 20_000

export class LabStore {
  readonly kind: StoreKind
  readonly members: readonly Place[]
  readonly #options: LabStoreOptions
  readonly #running = new Map<Place, Program>()

  constructor(options: LabStoreOptions) {
    this.#options = options
    this.kind = options.kind
    this.members = membersOf(options.kind)
  }

  /** Starts those that do not run; on the data that they have. */
  start(...members: readonly Place[]): void {
    for (const member of members.length === 0 ? this.members : members) {
      if (this.runs(member)) continue
      const { files, network } = this.#options
      const command = this.kind === 'embedded' ? this.#embedded() : this.#etcd(member)
      const started = startProgram({
        command: network.at(member, command),
        directory: files.directory,
        logFile: path.join(files.directory, 'logs', `${member}.log`),
        env: { HOME: files.directory },
      })
      this.#running.set(member, started)
    }
  }

  runs(member: Place): boolean {
    const program = this.#running.get(member)
    return program !== undefined && program.outcome() === null
  }

  async waitUntilReady(url: string): Promise<void> {
    const deadline = performance.now() + READY_PATIENCE_MS
    for (;;) {
      const answer = await fetch(`${url}/health`, { signal: AbortSignal.timeout(500) }).catch(() => null)
      const text = await answer?.text().catch(() => '')
      if (answer !== null && (this.kind === 'embedded' || text?.includes('true') === true)) return
      if (performance.now() > deadline) throw new Error(`the store at ${url} does not become ready`)
      await sleep(20)
    }
  }

  #embedded(): readonly string[] {
    const { files, node, program, port } = this.#options
    const directory = path.join(files.directory, 'store')
    const flags = [
      '--directory',
      directory,
      '--port',
      String(port),
      '--token-file',
      files.secretFile('store-token'),
    ]
    return [node, program, 'store', ...flags]
  }

  #etcd(member: Place): readonly string[] {
    const { files, network, port, peerPort } = this.#options
    const directory = path.join(files.directory, 'store', member)
    const host = network.addressOf(member, member)
    // Members reach each other directly in any kind of network: they know each other by one address.
    const peerOf = (each: Place): string => `http://${network.addressOf(each, each)}:${peerPort}`
    return [
      ETCD,
      ...['--name', member, '--data-dir', directory],
      ...[
        '--listen-client-urls',
        `http://${host}:${port}`,
        '--advertise-client-urls',
        `http://${host}:${port}`,
      ],
      ...['--listen-peer-urls', peerOf(member), '--initial-advertise-peer-urls', peerOf(member)],
      ...['--initial-cluster', this.members.map((each) => `${each}=${peerOf(each)}`).join(',')],
      ...['--initial-cluster-state', 'new', '--logger', 'zap', '--log-level', 'warn'],
    ]
  }

  /** SIGKILL, and waits until it is gone. */
  async kill(member: Place): Promise<void> {
    const program = this.#running.get(member)
    if (program === undefined) return
    signal(program.pid, 'SIGKILL')
    await program.ended
  }

  freeze(member: Place): void {
    const program = this.#running.get(member)
    if (program !== undefined) signal(program.pid, 'SIGSTOP')
  }

  thaw(member: Place): void {
    const program = this.#running.get(member)
    if (program !== undefined) signal(program.pid, 'SIGCONT')
  }
}
