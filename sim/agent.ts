/**
 * One agent's process, around the real `decide`: it can be killed between any two steps and frozen at any moment; what it must not forget
 * is in the node's state directory. What it does in a cycle is in cycle.ts, the lease of I10 in agent-lease.ts.
 */
import type {
  ClusterView,
  Failure,
  PrimaryProbes,
  StoreFacts,
  TaskKind,
  WantedConfiguration,
} from '../src/core/cluster-view.ts'
import { EMPTY_MEMORY, type Memory } from '../src/core/decision.ts'
import type { Lsn } from '../src/core/lsn.ts'
import type { Identity, Knowledge, Primacy, Rule } from '../src/core/primacy.ts'
import type { TimelinePosition } from '../src/core/timeline.ts'
import { timersOf } from '../src/core/timers.ts'
import type { ErrorCode } from '../src/errors/codes.ts'
import { AgentLease } from './agent-lease.ts'
import { Cycle } from './cycle.ts'
import type { SimNode } from './node.ts'
import type { Look } from './observe.ts'
import type { World } from './world.ts'

export interface Task {
  readonly kind: TaskKind
  aborted: boolean
  /** Looks whether it has ended; called when PostgreSQL has changed. */
  check: (() => void) | null
  /** Of `stop`: what an immediate one does to one in order that is under way. */
  hasten: (() => void) | null
}

/** null: it has done what it should. */
export type End = (problem: string | null, code?: ErrorCode) => void

/** What a process knows until it ends. */
class Known {
  memory: Memory = EMPTY_MEMORY
  applied: WantedConfiguration | null = null
  proven: { readonly rule: Rule; readonly atMs: number } | null = null
  ranAsPrimaryIn: number | null = null
  namesInEffect: string | null = null
  reinitAsked = false
  stopping: 'fast' | 'immediate' | null = null
  probes: PrimaryProbes | null = null
  /** What was read from the store last. */
  last: StoreFacts | null = null
  lastLook: Look | null = null
  /** The last whole look, for a node that has voted and only counts. */
  lastView: ClusterView | null = null
  /** The newest document: what was written down of it, and what was read or written since. */
  known: Knowledge | null = null
  unreachableSinceMs: number | null = null
  /** How often PostgreSQL was started or given an upstream: what was drained before says nothing after it. */
  moves = 0
  drained: { readonly moves: number; readonly position: TimelinePosition } | null = null
  drainedAt: Lsn | null = null
  lastRule = ''
  lastReason = ''
}

export class SimAgent {
  readonly #world: World
  readonly #node: () => SimNode
  readonly lease: AgentLease
  readonly #cycle: Cycle
  alive = false
  frozen = false
  #frozenAtMs = 0
  #deferred: (() => void)[] = []
  incarnation = 0
  session = ''
  awakeSinceMs = 0
  knows = new Known()
  readonly tasks = new Map<TaskKind, Task>()
  readonly failures = new Map<TaskKind, Failure>()

  constructor(world: World, node: () => SimNode) {
    this.#world = world
    this.#node = node
    this.lease = new AgentLease(world, node, this)
    this.#cycle = new Cycle(world, node, this)
  }

  get name(): string {
    return this.#node().name
  }

  /** CLOCK_MONOTONIC of its machine. */
  now(): number {
    return this.#node().clock.now(this.#world.loop.now)
  }

  boot(): void {
    const node = this.#node()
    if (this.alive || !node.machineUp) return
    this.alive = true
    this.frozen = false
    this.#deferred = []
    this.incarnation++
    this.session = `${node.name}-${this.incarnation}`
    this.knows = new Known()
    this.knows.known = node.state.known
    this.awakeSinceMs = this.now()
    this.#world.trace(node.name, 'agent-start', this.session)
    this.#world.checks.unwatched(node)
    this.lease.boot()
    this.#cycle.boot()
  }

  learn(primacy: Primacy, identity: Identity | null): void {
    const { known } = this.knows
    if (identity !== null && known?.primacy.lineage.id !== primacy.lineage.id)
      this.knows.known = { primacy, identity }
  }

  /** Goes with every write of the state directory. */
  keep(): void {
    const { state } = this.#node()
    state.owed = this.knows.known
    if (state.known === null || !this.#world.shell.keepsOldDocument) state.known = this.knows.known
  }

  crash(why: string): void {
    if (!this.alive) return
    this.alive = false
    this.incarnation++
    for (const task of this.tasks.values()) task.aborted = true
    this.tasks.clear()
    this.failures.clear()
    this.#world.trace(this.name, 'agent-crash', why)
  }

  freeze(): void {
    this.frozen = true
    this.#frozenAtMs = this.now()
  }

  thaw(): void {
    if (!this.frozen) return
    this.frozen = false
    const { loop, rtoMs } = this.#world
    if (this.now() - this.#frozenAtMs > timersOf(rtoMs).pauseMs) this.awakeSinceMs = this.now()
    const work = this.#deferred
    this.#deferred = []
    for (const each of work) loop.after(this.#world.random.between(0, 2), each)
  }

  /** Later in this process: never after it was killed, and only after it woke up. It may be killed right before. */
  later(ms: number, work: () => void): void {
    const world = this.#world
    const guarded = this.guard(() => {
      if (world.crashesBetween && this.tasks.size > 0 && world.random.chance(world.crashesBetweenP / 10)) {
        world.count('agent killed between two steps of a task')
        world.faults.crashAgent(this.#node(), 'between two steps')
      } else work()
    })
    world.loop.after(ms, guarded)
  }

  guard(work: () => void): () => void {
    const { incarnation } = this
    const guarded = (): void => {
      if (this.incarnation !== incarnation) return
      if (this.frozen) this.#deferred.push(guarded)
      else work()
    }
    return guarded
  }

  request<T>(effect: () => T, answer: (value: T | null) => void): void {
    const { incarnation } = this
    this.#world.store.request(this.name, effect, (value) => {
      if (this.incarnation === incarnation) this.guard(() => answer(value))()
    })
  }

  storeChanged(what: string): void {
    if (!this.alive) return
    if (what.startsWith('nodes') && this.knows.lastRule === 'keep-running') return
    this.#cycle.wake()
  }

  postgresChanged(): void {
    if (!this.alive) return
    this.later(this.#world.random.between(0.2, 3), () => {
      for (const task of [...this.tasks.values()]) if (!task.aborted) task.check?.()
      this.#cycle.wake()
    })
  }

  failed(kind: TaskKind, reason: string, code: ErrorCode = 'internal'): void {
    const count = (this.failures.get(kind)?.count ?? 0) + 1
    this.failures.set(kind, { code, reason, hint: '', atMs: this.now(), count })
    this.#world.trace(this.name, `${kind}-failed`, reason)
  }

  /** At most one of a kind; its end wakes the loop. */
  startTask(kind: TaskKind, body: (task: Task, end: End) => void): void {
    if (this.tasks.has(kind)) return
    const task: Task = { kind, aborted: false, check: null, hasten: null }
    this.tasks.set(kind, task)
    body(task, (problem, code) => {
      if (task.aborted || this.tasks.get(kind) !== task) return
      this.endTask(kind)
      if (problem === null) this.failures.delete(kind)
      else this.failed(kind, problem, code)
    })
  }

  endTask(kind: TaskKind): void {
    const task = this.tasks.get(kind)
    if (task === undefined) return
    task.aborted = true
    this.tasks.delete(kind)
    if (kind === 'stop') this.knows.stopping = null
    this.#cycle.wake()
  }

  fenceAtDeadline(): void {
    this.#cycle.fenceAtDeadline()
  }

  get keepsDrained(): boolean {
    return this.#world.shell.keepsDrained === true
  }
}
