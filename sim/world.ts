/** Everything of one run: the seed, the nodes, the store, the network, the clients, the checks; and the trace of what happened. */
import type { ClusterView, Spec } from '../src/core/cluster-view.ts'
import { decide as realDecide } from '../src/core/decide.ts'
import type { Decision, Memory } from '../src/core/decision.ts'
import { acksFor, type Primacy } from '../src/core/primacy.ts'
import { timersOf } from '../src/core/timers.ts'
import { SimAgent } from './agent.ts'
import { makeDirectory } from './bootstrap.ts'
import { Checks } from './checks.ts'
import { Clients } from './clients.ts'
import { Clock } from './clock.ts'
import { Faults } from './faults.ts'
import { Loop } from './loop.ts'
import { Network } from './network.ts'
import { type Connection, Disk, emptyState, type SimNode } from './node.ts'
import { Random } from './random.ts'
import { refreshContacts } from './replication.ts'
import { Store } from './store.ts'
import { resetRecords } from './wal.ts'

export type Decide = (view: ClusterView, memory: Memory) => Decision

export interface WorldOptions {
  readonly seed: number
  readonly nodes: 3 | 5
  readonly durability: 'quorum' | 'async'
  readonly decide?: Decide
  /** Broken variants of the shell: see mutants.ts. */
  readonly shell?: BrokenShell
  readonly settings?: Settings
  readonly onTrace?: (line: string) => void
  /** How many of the last lines are kept. */
  readonly keep?: number
}

/** What is drawn from the seed otherwise. */
export interface Settings {
  readonly rtoMs?: number
  readonly whenStandbyLost?: 'relax' | 'block'
  readonly canRewind?: boolean
  /** Whether `b` has priority 0. */
  readonly unequal?: boolean
}

/** What the shell leaves out. */
export interface BrokenShell {
  /** The files of a fenced node still name its upstream, and only what the state directory has promised keeps it from there. */
  readonly fencesByPromise?: boolean
  /** Passfiles stay when a node is fenced (I3b). */
  readonly keepsPassfiles?: boolean
  /** Gaps in the timelines are left before a standby starts (M: posNaive). */
  readonly keepsGaps?: boolean
  /** A task that ended under a look is not in its view, and what it made may not be either. */
  readonly forgetsEndedTasks?: boolean
  /** What was drained once counts for ever (I3c). */
  readonly keepsDrained?: boolean
  /** Of the documents of who is primary only the first is written down. */
  readonly keepsOldDocument?: boolean
  /** What is the own, of all that is on the disk, is written down when it is there, and not before. */
  readonly remembersWhatItMadeAfterwards?: boolean
  /** The operator raises the epoch of what the store still knows. */
  readonly recoversOnlyTheEpoch?: boolean
}

const NAMES = ['a', 'b', 'c', 'd', 'e']
const CLUSTER = 'the cluster'

export class World {
  readonly random: Random
  readonly loop = new Loop()
  readonly network: Network
  readonly store: Store
  readonly checks: Checks
  readonly clients: Clients
  readonly faults: Faults
  readonly nodes: readonly SimNode[]
  readonly members: Spec['members']
  readonly connections = new Set<Connection>()
  readonly durability: 'quorum' | 'async'
  readonly rtoMs: number
  readonly canRewind: boolean
  readonly whenStandbyLost: 'relax' | 'block'
  readonly decide: Decide
  readonly shell: BrokenShell
  /** How often things happened, to show that they do. */
  readonly counts = new Map<string, number>()
  /** Who lost data, or a state directory, since everything was well last. */
  readonly disksLost = new Set<string>()
  readonly statesLost = new Set<string>()
  /** Does not come back for now. */
  dead: SimNode | null = null
  crashesBetween = false
  crashesBetweenP = 0
  decisions = 0
  readonly lines: string[] = []
  readonly #specs = new Map<string, Spec>()
  readonly #byName = new Map<string, SimNode>()
  readonly #options: WorldOptions
  #ids = 0

  constructor(options: WorldOptions) {
    resetRecords()
    this.#options = options
    this.random = new Random(options.seed)
    this.durability = options.durability
    this.decide = options.decide ?? realDecide
    this.shell = options.shell ?? {}
    const { settings = {} } = options
    const rtoMs = this.random.pick([1_000, 3_000, 3_000, 6_000])
    this.rtoMs = settings.rtoMs ?? rtoMs
    const whenStandbyLost = this.random.chance(0.2) ? 'block' : 'relax'
    this.whenStandbyLost = settings.whenStandbyLost ?? whenStandbyLost
    this.network = new Network(this.random)
    this.store = new Store(this)
    this.checks = new Checks(this)
    this.clients = new Clients(this)
    this.faults = new Faults(this)
    const canRewind = this.random.chance(0.7)
    this.canRewind = settings.canRewind ?? canRewind
    const names = NAMES.slice(0, options.nodes)
    this.members = names.map((name) => ({ name, host: name, port: 5432 }))
    this.nodes = names.map((name, index) => this.#makeNode(name, index))
    for (const node of this.nodes) this.#byName.set(node.name, node)
    const mayBeUnequal = this.random.chance(0.3)
    const unequal = settings.unequal ?? mayBeUnequal
    for (const node of this.nodes)
      this.#specs.set(node.name, this.#makeSpec(unequal && node.index === 1 ? 0 : 100))
    this.network.onChange = () => refreshContacts(this)
  }

  #makeSpec(priority: number): Spec {
    return {
      members: this.members,
      durability: this.durability,
      rtoMs: this.rtoMs,
      whenStandbyLost: this.whenStandbyLost,
      priority,
      major: 18,
    }
  }

  #makeNode(name: string, index: number): SimNode {
    const node: SimNode = {
      name,
      index,
      agent: new SimAgent(this, () => node),
      clock: new Clock(this.random.between(-1e7, 0), this.random.between(0.9995, 1.0005)),
      disk: new Disk(),
      state: emptyState(),
      machineUp: true,
      run: null,
      postgresFrozen: false,
      postmasterFrozen: false,
      diskFull: false,
      deferred: [],
      votedIn: 0,
      lostData: false,
    }
    return node
  }

  node(name: string): SimNode {
    const node = this.#byName.get(name)
    if (node === undefined) throw new Error(`no node ${name}`)
    return node
  }

  specOf(name: string): Spec {
    return this.#specs.get(name) ?? this.#makeSpec(100)
  }

  nextId(): number {
    return ++this.#ids
  }

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1)
  }

  /** wal_sender_timeout and wal_receiver_timeout. */
  get timeoutMs(): number {
    return this.rtoMs
  }

  get reportTtlMs(): number {
    return Math.max(6_000, 3 * this.rtoMs)
  }

  /** Whether a commit may be acknowledged that waits for nobody. */
  unprotected(primacy: Primacy): boolean {
    return primacy.rules.some((rule) => rule.acks === 0) || primacy.nextRule?.acks === 0
  }

  trace(who: string, what: string, text: string): void {
    const line = `${this.loop.now.toFixed(1).padStart(10)}  ${who.padEnd(8)} ${what.padEnd(18)} ${text}`
    this.#options.onTrace?.(line)
    this.lines.push(line)
    const keep = this.#options.keep ?? 400
    if (this.lines.length > 2 * keep) this.lines.splice(0, this.lines.length - keep)
  }

  /** An empty store and empty disks: the cluster makes itself. */
  startEmpty(): void {
    for (const node of this.nodes) this.loop.after(this.random.between(0, 3_000), () => node.agent.boot())
  }

  /** A cluster as bootstrap leaves it, steady in epoch 1, everything about to start. */
  startSteady(): void {
    const [first, ...others] = this.nodes
    if (first === undefined) return
    makeDirectory(first.disk, CLUSTER)
    for (const node of others) {
      makeDirectory(node.disk, CLUSTER)
      node.disk.wal = first.disk.wal.slice()
      node.disk.state = 'shutDownInRecovery'
      node.disk.standbySignal = true
    }
    for (const node of this.nodes) {
      node.state.promised = 1
      if (node !== first) node.state.followed = 1
    }
    const standbys = others.map((each) => each.name)
    const acks = this.durability === 'quorum' ? acksFor(standbys.length) : 0
    const primacy: Primacy = {
      epoch: 1,
      phase: 'steady',
      primary: first.name,
      timelineId: 1,
      highestTimelineId: 1,
      rules: [{ epoch: 1, primary: first.name, acks, standbys: acks === 0 ? [] : standbys }],
      nextRule: null,
      nextXid: null,
      startedBy: first.name,
      reason: 'bootstrap',
      planned: false,
      candidate: null,
      override: null,
      writtenOff: {},
      history: { timelineId: 1, ancestors: [] },
      lineage: { number: 1, id: 'first', before: [] },
    }
    this.store.primacy = { value: primacy, revision: this.store.nextRevision() }
    this.store.identity = { systemIdentifier: CLUSTER, major: 18, createdBy: first.name }
    this.checks.begun(primacy)
    for (const node of this.nodes) this.loop.after(this.random.between(0, 500), () => node.agent.boot())
  }

  get leaseMs(): number {
    return timersOf(this.rtoMs).primaryLeaseMs
  }
}
