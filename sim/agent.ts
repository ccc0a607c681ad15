/**
 * The shell around `decide`, as the real one behaves: observe, decide, act; tasks beside the loop; a lease that renews itself. It can be
 * killed between any two steps and frozen at any moment; what it must not forget is in the node's state directory.
 */
import type {
  Failure,
  PrimaryProbes,
  StoreFacts,
  TaskKind,
  WantedConfiguration,
} from '../src/core/cluster-view.ts'
import { type Decision, EMPTY_MEMORY, type Memory } from '../src/core/decision.ts'
import type { ServerFacts } from '../src/core/facts.ts'
import type { Rule } from '../src/core/primacy.ts'
import type { TimelinePosition } from '../src/core/timeline.ts'
import { timersOf } from '../src/core/timers.ts'
import { act } from './act.ts'
import type { SimNode } from './node.ts'
import { glance, observeLocal, probe, readFacts, reportOf, viewOf } from './observe.ts'
import type { World } from './world.ts'

const REST_MS = 1_000
const BUSY_MS = 200
const REPORT_EVERY_MS = 1_000
const REPORT_TTL_MS = 3_000

export interface Task {
  readonly kind: TaskKind
  aborted: boolean
  /** Looks whether it has ended; called when PostgreSQL has changed. */
  check: (() => void) | null
  /** Of `stop`: what an immediate one does to one in order that is under way. */
  hasten: (() => void) | null
}

export class SimAgent {
  readonly #world: World
  readonly #node: () => SimNode
  alive = false
  frozen = false
  #frozenAtMs = 0
  #deferred: (() => void)[] = []
  incarnation = 0
  session = ''
  memory: Memory = EMPTY_MEMORY
  applied: WantedConfiguration | null = null
  proven: { readonly rule: Rule; readonly atMs: number } | null = null
  ranAsPrimaryIn: number | null = null
  namesKnown: { readonly run: number; readonly names: string } | null = null
  lastDrained: { readonly run: number; readonly position: TimelinePosition } | null = null
  readonly tasks = new Map<TaskKind, Task>()
  readonly failures = new Map<TaskKind, Failure>()
  stopping: 'fast' | 'immediate' | null = null
  /** What SQL said last, and of which postmaster. */
  lastLook: { readonly run: number; readonly server: ServerFacts } | null = null
  probes: PrimaryProbes | null = null
  last: StoreFacts | null = null
  unreachableSinceMs: number | null = null
  awakeSinceMs = 0
  lastRule = ''
  lastReason = ''
  #cycling = false
  #woken = false
  #pauseToken = 0
  #reportedAtMs = Number.NEGATIVE_INFINITY
  #reported = ''

  constructor(world: World, node: () => SimNode) {
    this.#world = world
    this.#node = node
  }

  get name(): string {
    return this.#node().name
  }

  boot(): void {
    const node = this.#node()
    if (this.alive || !node.machineUp) return
    this.alive = true
    this.frozen = false
    this.#deferred = []
    this.incarnation++
    this.session = `${node.name}-${this.incarnation}`
    this.memory = EMPTY_MEMORY
    this.applied = null
    this.proven = null
    this.ranAsPrimaryIn = null
    this.namesKnown = null
    this.lastDrained = null
    this.stopping = null
    this.lastLook = null
    this.probes = null
    this.last = null
    this.unreachableSinceMs = null
    this.awakeSinceMs = this.#world.loop.now
    this.#cycling = false
    this.#reported = ''
    this.#world.trace(node.name, 'agent-start', this.session)
    this.#world.checks.unwatched(node)
    this.later(20, () => this.#wake())
    if (node.state.lease !== null) this.#watchLease(node.state.lease.untilMs)
    this.later(100, () => this.#renew())
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
    this.#frozenAtMs = this.#world.loop.now
  }

  thaw(): void {
    if (!this.frozen) return
    this.frozen = false
    const { loop, rtoMs } = this.#world
    if (loop.now - this.#frozenAtMs > timersOf(rtoMs).pauseMs) this.awakeSinceMs = loop.now
    const work = this.#deferred
    this.#deferred = []
    for (const each of work) loop.after(this.#world.random.between(0, 2), each)
  }

  /** Later in this process: never after it was killed, and only after it woke up. */
  later(ms: number, work: () => void): void {
    this.#world.loop.after(ms, this.guard(work))
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
    if (what.startsWith('nodes') && this.lastRule === 'keep-running') return
    this.#wake()
  }

  postgresChanged(): void {
    if (!this.alive) return
    this.later(this.#world.random.between(0.2, 3), () => {
      for (const task of [...this.tasks.values()]) if (!task.aborted) task.check?.()
      this.#wake()
    })
  }

  #wake(): void {
    if (this.frozen) return
    if (this.#cycling) this.#woken = true
    else this.#cycle()
  }

  #cycle(): void {
    const world = this.#world
    const node = this.#node()
    this.#cycling = true
    this.#woken = false
    this.#pauseToken++
    let facts: StoreFacts | null | undefined
    let local: ReturnType<typeof observeLocal> | undefined
    const join = (): void => {
      if (facts !== undefined && local !== undefined) this.#decide(facts, local)
    }
    this.request(
      () => readFacts(world, this.last),
      (value) => {
        facts = value
        join()
      },
    )
    const sqlMs = node.postgresFrozen && node.run !== null ? 1_000 : world.random.delay(0.3, 3, 120, 0.005)
    // The process list first; the position only afterwards.
    const receiving = node.run?.walreceiver != null
    probe(world, node, this)
    this.later(sqlMs, () => {
      local = observeLocal(world, node, this, receiving)
      join()
    })
  }

  #decide(facts: StoreFacts | null, local: ReturnType<typeof observeLocal>): void {
    const world = this.#world
    const { now } = world.loop
    if (facts === null) this.unreachableSinceMs ??= now
    else {
      this.unreachableSinceMs = null
      this.last = facts
    }
    const view = viewOf(world, this.#node(), this, facts, local)
    const decision = world.decide(view, this.memory)
    world.decisions++
    this.memory = decision.memory
    this.#note(decision)
    this.#report(reportOf(view))
    act(world, this.#node(), this, decision.actions, view, (done) => this.#pause(decision, done))
  }

  #note(decision: Decision): void {
    if (decision.rule !== this.lastRule || decision.reason !== this.lastReason)
      this.#world.trace(this.name, `! ${decision.rule}`, decision.reason)
    this.lastRule = decision.rule
    this.lastReason = decision.reason
  }

  #report(report: ReturnType<typeof reportOf>): void {
    const world = this.#world
    const { now } = world.loop
    const text = `${report.role}${report.state}${report.epoch}${report.suspects}`
    if (text === this.#reported && now - this.#reportedAtMs < REPORT_EVERY_MS) return
    const changed = text !== this.#reported
    this.#reported = text
    this.#reportedAtMs = now
    this.request(
      () => {
        world.store.reports.set(report.name, { report, untilMs: world.loop.now + REPORT_TTL_MS })
        if (changed) world.store.tellWatchers('nodes/')
      },
      () => {},
    )
  }

  #pause(decision: Decision, done: boolean): void {
    const resting = decision.rule === 'keep-running' && this.tasks.size === 0
    const ms = decision.actions.length > 0 ? (done ? 10 : BUSY_MS) : resting ? REST_MS : BUSY_MS
    this.#cycling = false
    const token = this.#pauseToken
    this.later(this.#woken ? 1 : ms, () => {
      if (!this.#cycling && this.#pauseToken === token) this.#cycle()
    })
  }

  /** The lease of I10 renews itself while it is held. */
  #renew(): void {
    const world = this.#world
    const { state } = this.#node()
    const ttlMs = timersOf(world.rtoMs).primaryLeaseMs
    this.later(ttlMs / 5, () => this.#renew())
    const { lease } = state
    if (lease === null) return
    const sentAtMs = world.loop.now
    this.request(
      () => world.store.renewLease(lease.id, ttlMs),
      (renewed) => {
        // Gone from the store: what was promised until then still holds, and `decide` takes it anew.
        if (renewed !== true || state.lease?.id !== lease.id) return
        this.holdLease(lease.id, sentAtMs + ttlMs)
      },
    )
  }

  /**
   * Beside the loop, which may be waiting for the store: at its deadline the lease is looked at in any case, for afterwards another node
   * may be writable.
   */
  holdLease(id: number, untilMs: number): void {
    this.#node().state.lease = { id, untilMs }
    this.#watchLease(untilMs)
  }

  #watchLease(untilMs: number): void {
    const world = this.#world
    const fenceAtMs = untilMs - timersOf(world.rtoMs).selfFenceMarginMs
    this.later(Math.max(0, fenceAtMs - world.loop.now), () => {
      const node = this.#node()
      if (node.state.lease?.untilMs !== untilMs) return
      const view = viewOf(world, node, this, null, glance(world, node, this))
      const decision = world.decide(view, this.memory)
      if (decision.rule === 'self-fence') act(world, node, this, decision.actions, view, () => {})
    })
  }

  failed(kind: TaskKind, reason: string): void {
    const count = (this.failures.get(kind)?.count ?? 0) + 1
    const atMs = this.#world.loop.now
    this.failures.set(kind, { code: 'internal', reason, hint: '', atMs, count })
    this.#world.trace(this.name, `${kind}-failed`, reason)
  }

  /** At most one of a kind; its end wakes the loop. */
  startTask(kind: TaskKind, body: (task: Task, end: (problem: string | null) => void) => void): void {
    if (this.tasks.has(kind)) return
    const task: Task = { kind, aborted: false, check: null, hasten: null }
    this.tasks.set(kind, task)
    body(task, (problem) => {
      if (task.aborted || this.tasks.get(kind) !== task) return
      this.endTask(kind)
      if (problem === null) this.failures.delete(kind)
      else this.failed(kind, problem)
    })
  }

  endTask(kind: TaskKind): void {
    const task = this.tasks.get(kind)
    if (task === undefined) return
    task.aborted = true
    this.tasks.delete(kind)
    if (kind === 'stop') this.stopping = null
    this.#wake()
  }
}
