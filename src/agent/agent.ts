/**
 * The loop of one node: observe -> decide -> act, each in a file of its own. Watches, connection losses and the ends of tasks only
 * wake it early; what is done comes from the whole view, every time.
 */
import path from 'node:path'
import type { NodeDetail, SeenHealth, TaskProgress, Why } from '../api/contract.ts'
import type { ClusterView } from '../core/cluster-view.ts'
import { decide } from '../core/decide.ts'
import { type Decision, EMPTY_MEMORY, type Memory } from '../core/decision.ts'
import { hasOnlyItsVote, suspicionDueMs } from '../core/detector.ts'
import { diskHangDueMs } from '../core/disk.ts'
import { findProblems } from '../core/problems.ts'
import { type Timers, timersOf } from '../core/timers.ts'
import type { NameClaim } from '../ports/cluster-store.ts'
import { Actor } from './act.ts'
import { Chronicle } from './chronicle.ts'
import { Controls } from './controls.ts'
import type { AgentDependencies, AgentOptions } from './dependencies.ts'
import { DiskWatch } from './disk-watch.ts'
import { EventLog } from './events.ts'
import { Membership } from './membership.ts'
import { makeNameClaim, NameHolder, type Standing } from './name-claim.ts'
import { Observer, type Remembered } from './observe.ts'
import { REST_MS, restAfter } from './pace.ts'
import { PrimaryLease } from './primary-lease.ts'
import { PrimaryWatch } from './primary-watch.ts'
import { Sightings } from './sightings.ts'
import { StateDirectory } from './state-directory.ts'
import { nodeDetail, nodeReport, ProblemClock, type Snapshot, seenHealth, taskProgress } from './status.ts'
import { type TaskEnd, Tasks } from './tasks.ts'

const STOP_DEADLINE_MS = 60_000
const SETTLING_MS = 1_000
const PACE_OF_WAITING_MS = 200

export class Agent {
  readonly #options: AgentOptions
  readonly #dependencies: AgentDependencies
  readonly #directory: StateDirectory
  readonly #tasks: Tasks
  readonly #events: EventLog
  readonly #membership: Membership
  readonly #name: NameHolder
  readonly #observer: Observer
  readonly #diskWatch: DiskWatch
  readonly #actor: Actor
  readonly #problems = new ProblemClock()
  readonly #watch = new AbortController()
  readonly #timers: Timers
  readonly #lease: PrimaryLease
  readonly #primaryWatch: PrimaryWatch
  readonly #chronicle: Chronicle
  readonly #sightings: Sightings
  readonly controls: Controls
  #memory: Memory = EMPTY_MEMORY
  #ranAsPrimaryIn: number | null = null
  /** When the loop last ran: a gap longer than its pauses is a pause of the whole process. */
  #lastCycleAtMs: number | null = null
  #awakeSinceMs = 0
  #why: Why
  #snapshot: Snapshot | null = null
  #taskStartedAt = ''
  #wake: (() => void) | null = null
  #wokenEarly = false
  #rival: NameClaim | null = null
  #stopping = false
  #endLoop: () => void = () => {}
  readonly #ended = new Promise<void>((resolve) => {
    this.#endLoop = resolve
  })
  #stopped: Promise<void> | null = null

  private constructor(
    options: AgentOptions,
    dependencies: AgentDependencies,
    { directory, name }: { readonly directory: StateDirectory; readonly name: NameClaim },
  ) {
    const { clock, log, store, postgres } = dependencies
    this.#options = options
    this.#dependencies = dependencies
    this.#directory = directory
    this.#events = new EventLog({
      file: path.join(options.nodeDirectory, 'log', 'events.jsonl'),
      node: options.node,
      clock,
      log,
    })
    this.#tasks = new Tasks(clock, (end) => this.#taskEnded(end))
    this.#membership = new Membership(store, clock, options.spec.rtoMs)
    this.#name = new NameHolder({
      store,
      clock,
      node: options.node,
      claim: name,
      leaseMs: timersOf(options.spec.rtoMs).membershipMs,
    })
    this.#observer = new Observer(options, store, postgres, clock)
    this.#diskWatch = new DiskWatch(postgres, clock, () => this.#mayTryDisk())
    this.#timers = timersOf(options.spec.rtoMs)
    this.#lease = new PrimaryLease(store, clock, this.#timers, directory, () => void this.#fenceAtDeadline())
    this.#primaryWatch = new PrimaryWatch(dependencies.prober, clock, this.#timers, () =>
      this.#wakeUp('probe'),
    )
    this.#actor = new Actor(dependencies, {
      directory,
      lease: this.#lease,
      membership: this.#membership,
      tasks: this.#tasks,
      events: this.#events,
    })
    this.#chronicle = new Chronicle({ node: options.node, clock, store, events: this.#events })
    this.#sightings = new Sightings(clock)
    this.controls = new Controls(options, dependencies, {
      events: this.#events,
      chronicle: this.#chronicle,
      view: () => this.view,
      wake: () => this.#wakeUp('operator'),
      askReinit: () => {
        this.#actor.state.reinitAsked = true
      },
    })
    this.#why = {
      node: options.node,
      rule: 'starting',
      reason: 'the agent has just started',
      since: clock.timestamp(),
    }
  }

  static async open(options: AgentOptions, dependencies: AgentDependencies): Promise<Agent> {
    const state = path.join(options.nodeDirectory, 'state')
    const directory = await StateDirectory.open(state)
    const name = await makeNameClaim(state, options.session)
    return new Agent(options, dependencies, { directory, name })
  }

  /** Runs until `stop`. First ends what a predecessor left running beside PostgreSQL itself, which is adopted (I7). */
  async run(): Promise<void> {
    const { postgres, store } = this.#dependencies
    this.#events.add({ kind: 'agent-started', message: 'the agent has started' })
    const removed = await postgres.removeLeftovers()
    for (const each of removed)
      this.#events.add({ kind: 'leftover-removed', message: `removed what was left half done: ${each}` })
    postgres.onChange((what) => this.#wakeUp(what))
    store.watch((what) => this.#storeChanged(what), this.#watch.signal)
    this.#diskWatch.start()
    while (!this.#stopping) {
      const pauseMs = await this.#cycle()
      await this.#pause(pauseMs)
    }
    this.#endLoop()
    await this.stop()
  }

  /** Stops PostgreSQL in order, then leaves the cluster's membership. Can be called twice. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stopInOrder()
    return this.#stopped
  }

  async #stopInOrder(): Promise<void> {
    this.#stopping = true
    this.#wakeUp('stop')
    this.#events.add({
      kind: 'agent-stopping',
      message: 'the agent was told to stop: PostgreSQL is stopped first',
    })
    const stopped = await this.#actor.stop('fast', STOP_DEADLINE_MS)
    if (stopped.kind !== 'ok')
      this.#dependencies.log.error('PostgreSQL could not be stopped', { reason: stopped.reason })
    await this.#tasks.abortAll()
    this.#primaryWatch.close()
    this.#diskWatch.close()
    // What still runs may still acknowledge: then the lease runs out by itself.
    if (stopped.kind === 'ok') await this.#lease.drop()
    this.#lease.close()
    await this.#membership.leave()
    this.#watch.abort()
    await this.#dependencies.postgres.close()
    this.#dependencies.store.close()
    await this.#events.written()
  }

  /** Ends at the next turn of the loop and leaves everything as it is: PostgreSQL, lease and report go over to the next agent. */
  leave(): void {
    if (this.#stopping) return
    this.#events.add({
      kind: 'agent-leaving',
      message: 'the agent was told to start anew: PostgreSQL goes on',
    })
    this.#stopping = true
    this.#wakeUp('leave')
    this.#stopped = this.#leaveInPlace()
  }

  async #leaveInPlace(): Promise<void> {
    await this.#ended
    await this.#tasks.abortAll()
    this.#primaryWatch.close()
    this.#diskWatch.close()
    this.#lease.close()
    this.#watch.abort()
    await this.#dependencies.postgres.close()
    this.#dependencies.store.close()
    await this.#events.written()
  }

  /** How long ago the loop last went round: one that hangs is worse than one that has ended. */
  get loopAgeMs(): number {
    return this.#dependencies.clock.nowMs() - (this.#lastCycleAtMs ?? this.#dependencies.clock.nowMs())
  }

  get detail(): NodeDetail | null {
    return this.#snapshot === null
      ? null
      : nodeDetail(this.#options, this.#liveSnapshot(this.#snapshot), this.#sightings)
  }

  get health(): SeenHealth | null {
    const now = this.#dependencies.clock.nowMs()
    return this.#snapshot === null ? null : seenHealth(this.#options, this.#snapshot, this.#sightings, now)
  }

  get view(): ClusterView | null {
    return this.#snapshot?.view ?? null
  }

  get why(): Why {
    return this.#why
  }

  get events(): EventLog {
    return this.#events
  }

  async #cycle(): Promise<number> {
    const kept = this.#membership.keepLease().then(() => this.#name.hold(this.#membership.leaseId))
    await this.#lease.renew()
    this.#noticePause()
    const [view, standing] = await Promise.all([this.#observer.observe(() => this.#remembered()), kept])
    if (this.#stopping) return 0
    this.#learn(view)
    if (standing.kind !== 'ours' && view.store.kind === 'read') return this.#waitForName(standing, view)
    this.#watchPrimary(view)
    await this.#settleRewind(view)
    const decision = decide(view, this.#memory)
    this.#memory = decision.memory
    if (decision.rule === 'keep-running' && view.local.tasks.size === 0) this.#tasks.forgetFailures()
    this.#note(decision)
    this.#chronicle.note(view, decision)
    this.#keepSnapshot(view)
    // Beside the actions: clients may be waiting for those, and nobody for this one.
    const reported = this.#membership.report(nodeReport(this.#options, view, this.#memory))
    const acted = this.#stopping ? 'done' : await this.#actor.act(decision.actions, view, decision.rule)
    await reported
    this.#sightings.note(view)
    if (isIdle(decision)) this.#whenIdle(view)
    return Math.min(restAfter(decision, view, acted), this.#untilDoubt(view), this.#untilDiskHangs(view))
  }

  /** Until the name is its own, an agent votes for nothing and changes nothing: what it would do belongs to somebody else. */
  #waitForName(standing: Standing, view: ClusterView): number {
    if (standing.kind === 'waiting') {
      const reason = `another agent has the name ${this.#options.node} (on ${standing.rival.machine.split(' ')[0]}): is it gone?`
      this.#note({ rule: 'name-claimed', reason, actions: [], memory: this.#memory })
    }
    if (standing.kind === 'taken') {
      this.#rival = standing.rival
      this.#stopping = true
    }
    this.#keepSnapshot(view)
    return PACE_OF_WAITING_MS
  }

  /** Who has this node's name, when this agent had to give way. */
  get rival(): NameClaim | null {
    return this.#rival
  }

  /** A stream that falls silent wakes nobody: the next look comes when its silence begins to mean something. */
  #untilDoubt(view: ClusterView): number {
    const primacy = view.store.kind === 'read' ? view.store.facts.primacy?.value : undefined
    const ageMs = view.local.server?.walreceiver?.lastMessageAgeMs
    if (primacy === undefined || ageMs === null || ageMs === undefined) return REST_MS
    const { doubtMs } = this.#timers
    const dueMs = ageMs < doubtMs ? view.now - ageMs + doubtMs : suspicionDueMs(view, primacy)
    if (dueMs === null) return REST_MS
    return this.#restUntil(dueMs)
  }

  /** What is due already waits for others; a moment later than due, so that the look finds it so. */
  #restUntil(dueMs: number): number {
    const leftMs = dueMs - this.#dependencies.clock.nowMs() + 2
    return leftMs <= 0 ? REST_MS : leftMs
  }

  /** Not while a primary is being replaced: clients wait for what is written then. */
  #mayTryDisk(): boolean {
    const { view } = this
    if (view === null || view.local.postmaster.kind !== 'running') return false
    return view.store.kind !== 'read' || view.store.facts.primacy?.value.phase === 'steady'
  }

  #untilDiskHangs(view: ClusterView): number {
    const dueMs = diskHangDueMs(view, this.#memory)
    return dueMs === null ? REST_MS : this.#restUntil(dueMs)
  }

  /** Before anything is made of it: every write of the state directory from here on takes it along. */
  #learn({ store }: ClusterView): void {
    if (store.kind !== 'read') return
    const { primacy, identity } = store.facts
    if (primacy !== null && identity !== null) this.#directory.learn({ primacy: primacy.value, identity })
  }

  /** What nobody waits for. */
  #whenIdle(view: ClusterView): void {
    this.#directory.keepAtRest().catch((error: unknown) => {
      this.#dependencies.log.error('the state directory cannot be written', { error: String(error) })
    })
    this.controls.keepSchedule()
    this.#chronicle.writeAtRest(view)
  }

  #remembered(): Remembered {
    return {
      session: this.#options.session,
      promisedEpoch: this.#directory.promisedEpoch,
      known: this.#directory.known,
      followedEpoch: this.#directory.followedEpoch,
      initialized: this.#directory.initialized,
      sentinel: this.#directory.sentinel,
      promotionAskedPid: this.#directory.promotionAskedPid,
      namesInEffect: this.#actor.state.namesInEffect,
      applied: this.#actor.state.applied,
      proven: this.#actor.state.proven,
      tasks: this.#tasks.running,
      stopping: this.#actor.state.stopping,
      failures: this.#tasks.failures,
      probes: this.#primaryWatch.seen,
      ranAsPrimaryIn: this.#ranAsPrimaryIn,
      primaryLeaseUntilMs: this.#lease.untilMs,
      awakeSinceMs: this.#awakeSinceMs,
      diskTriedSinceMs: this.#diskWatch.triedSinceMs,
      canRewind: this.#options.canRewind,
      reinitAsked: this.#actor.state.reinitAsked,
    }
  }

  /** What was seen before a pause of this process says nothing about now (I10, and the detector's silence). */
  #noticePause(): void {
    const now = this.#dependencies.clock.nowMs()
    const gapMs = now - (this.#lastCycleAtMs ?? now)
    if (this.#lastCycleAtMs === null || gapMs > REST_MS + this.#timers.pauseMs) this.#awakeSinceMs = now
    this.#lastCycleAtMs = now
  }

  /** Consistent and accepting connections: what a rewind left is a whole data directory again (I12). */
  async #settleRewind(view: ClusterView): Promise<void> {
    const { sentinel, server } = view.local
    if (sentinel?.finished === true && server?.inRecovery === true)
      await this.#directory.finishReplacing(sentinel.epoch)
  }

  #watchPrimary(view: ClusterView): void {
    const primacy = view.store.kind === 'read' ? view.store.facts.primacy?.value : null
    const { server } = view.local
    if (primacy?.primary === view.self && server?.inRecovery === false) this.#ranAsPrimaryIn = primacy.epoch
    // A node that is just being promoted has other things to do than to answer everybody's connections; after a while it is watched too.
    const settling =
      primacy?.phase === 'promoting' && view.now - (this.#memory.epoch?.seenAtMs ?? view.now) < SETTLING_MS
    if (settling) return
    const watched =
      primacy === null || primacy === undefined || primacy.primary === view.self ? null : primacy.primary
    this.#primaryWatch.watch(this.#options.targets.find((target) => target.name === watched) ?? null)
    if (this.#hearsNothing(view)) this.#primaryWatch.doubt()
  }

  /** No stream tells whether the primary lives: the connections that are held open would only tell of a process that ends. */
  #hearsNothing(view: ClusterView): boolean {
    const { server } = view.local
    if (server === null) return hasOnlyItsVote(view)
    const silentMs = server.walreceiver?.lastMessageAgeMs ?? 0
    return server.inRecovery && (server.walreceiver === null || silentMs >= this.#timers.doubtMs)
  }

  /**
   * The lease runs out whatever the loop waits for: a store that answers late, or a stop in order that takes long, must not carry a primary
   * past its end (I10).
   */
  async #fenceAtDeadline(): Promise<void> {
    const view = await this.#observer.glance(() => this.#remembered())
    const decision = decide(view, this.#memory)
    if (decision.rule !== 'self-fence') return
    this.#note(decision)
    await this.#actor.act(decision.actions, view, decision.rule)
  }

  #note(decision: Decision): void {
    const changed = decision.rule !== this.#why.rule || decision.reason !== this.#why.reason
    if (!changed) return
    const { clock, log } = this.#dependencies
    if (decision.rule !== this.#why.rule) log.info(decision.reason, { rule: decision.rule })
    this.#why = {
      node: this.#options.node,
      rule: decision.rule,
      reason: decision.reason,
      since: clock.timestamp(),
    }
  }

  #keepSnapshot(view: ClusterView): void {
    const at = this.#dependencies.clock.timestamp()
    const problems = this.#problems.stamp(findProblems(view, this.#memory), at)
    this.#snapshot = { view, at, why: this.#why, problems, task: this.#progress(view) }
  }

  /** Progress moves between cycles; everything else is the last cycle's. */
  #liveSnapshot(snapshot: Snapshot): Snapshot {
    const view = { ...snapshot.view, local: { ...snapshot.view.local, tasks: this.#tasks.running } }
    return { ...snapshot, view, why: this.#why, task: this.#progress(view) }
  }

  #progress(view: ClusterView): TaskProgress | null {
    const progress = taskProgress(view, this.#actor.state.cloneProgress, this.#taskStartedAt)
    if (progress === null) this.#taskStartedAt = ''
    else if (this.#taskStartedAt === '') this.#taskStartedAt = this.#dependencies.clock.timestamp()
    return progress
  }

  #taskEnded(end: TaskEnd): void {
    const details = { durationMs: Math.round(end.durationMs) }
    if (end.outcome.kind === 'ok')
      this.#events.add({ kind: `${end.kind}-done`, message: `${end.kind}: done`, details })
    else {
      this.#events.add({
        kind: `${end.kind}-failed`,
        message: end.outcome.reason,
        details: { ...details, code: end.outcome.code },
      })
    }
    this.#wakeUp(end.kind)
  }

  #storeChanged(what: string): void {
    if (what === 'gap' || what.startsWith('nodes/')) this.#observer.nodesChanged()
    if (/^(history|agents|proxies)\//.test(what) || what === 'hold') return
    if (what === 'gap' || !what.startsWith('nodes/') || this.#awaitsReports()) this.#wakeUp(what)
  }

  /**
   * Reports of others matter to this node only while it waits for them or misses them; primacy matters always. While a primary is being
   * replaced it is ballots that count, and every look takes time from what clients wait for.
   */
  #awaitsReports(): boolean {
    const { rule } = this.#why
    if (rule === 'election' || rule === 'promotion') return false
    return rule !== 'keep-running' || (this.#snapshot?.problems.length ?? 0) > 0
  }

  #wakeUp(_what: string): void {
    this.#wokenEarly = true
    this.#wake?.()
  }

  async #pause(ms: number): Promise<void> {
    if (!this.#wokenEarly && !this.#stopping && ms > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
      this.#wake = null
    }
    this.#wokenEarly = false
  }
}

/** Under load there is always a slot to be moved on, and still nothing that clients wait for. */
function isIdle({ rule, actions }: Decision): boolean {
  return rule === 'keep-running' || actions.length === 0
}
