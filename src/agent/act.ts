/**
 * The only place that executes actions. In order, and the order is a promise: when one fails, those behind it are not done, and the
 * next cycle decides anew from what is then the case. Long ones are started here and end as tasks.
 */

import { hostInUri } from '../config/fields.ts'
import type { Ballot } from '../core/ballot.ts'
import type { ClusterView, TaskKind, WantedConfiguration } from '../core/cluster-view.ts'
import type { Action } from '../core/decision.ts'
import { formatLsn } from '../core/lsn.ts'
import type { Rule } from '../core/primacy.ts'
import { heldInCommon } from '../core/sentinel.ts'
import { commonPoint, type TimelineHistory } from '../core/timeline.ts'
import type { CloneProgress } from '../ports/cloner.ts'
import type { Outcome, ReplicationConfiguration, RewindTarget } from '../ports/postgres.ts'
import type { AgentDependencies } from './dependencies.ts'
import type { EventLog } from './events.ts'
import { makeRoom, removeReplaced } from './make-room.ts'
import type { Membership } from './membership.ts'
import type { PrimaryLease } from './primary-lease.ts'
import type { StateDirectory } from './state-directory.ts'
import { type Executed, StoreWriter } from './store-writer.ts'
import { systemFailure } from './system-failure.ts'
import type { Tasks } from './tasks.ts'

/** Crash recovery of a large database takes its time: the postmaster is watched, not hurried. */
const START_DEADLINE_MS = 3_600_000
const STOP_DEADLINE_MS = 30_000
const PROOF_DEADLINE_MS = 5_000

/** The checkpoint in it writes every dirty page. */
const SETTLE_DEADLINE_MS = 600_000
const PROBE_DEADLINE_MS = 2_000
const PROMOTE_DEADLINE_MS = 120_000

export interface ActorState {
  /** Of the promotion that this agent has made; goes into primacy with `steady`. */
  nextXid: string | null
  namesInEffect: string | null
  applied: WantedConfiguration | null
  proven: { readonly rule: Rule; readonly atMs: number } | null
  cloneProgress: CloneProgress | null
  /** By an operator; a clone that begins, for whatever reason, is what was asked for. */
  reinitAsked: boolean
  /** How PostgreSQL is being stopped; null when it is not. */
  stopping: 'fast' | 'immediate' | null
}

/** overtaken: somebody else changed the document first. That is no failure, and nothing to tell: what is so now is read again. */
export type Acted = 'done' | 'overtaken' | 'failed'

export class Actor {
  readonly state: ActorState = {
    nextXid: null,
    namesInEffect: null,
    applied: null,
    proven: null,
    cloneProgress: null,
    reinitAsked: false,
    stopping: null,
  }
  readonly #dependencies: AgentDependencies
  readonly #directory: StateDirectory
  readonly #writer: StoreWriter
  readonly #tasks: Tasks
  readonly #lease: PrimaryLease
  readonly #events: EventLog
  #hasten = new AbortController()

  constructor(
    dependencies: AgentDependencies,
    parts: {
      readonly directory: StateDirectory
      readonly membership: Membership
      readonly tasks: Tasks
      readonly lease: PrimaryLease
      readonly events: EventLog
    },
  ) {
    this.#dependencies = dependencies
    this.#directory = parts.directory
    this.#writer = new StoreWriter(dependencies.store, parts)
    this.#tasks = parts.tasks
    this.#lease = parts.lease
    this.#events = parts.events
  }

  /** Executes until one is not done; says how it ended. */
  async act(actions: readonly Action[], view: ClusterView, rule: string): Promise<Acted> {
    for (const action of actions) {
      const outcome = await this.#execute(action, view).catch(systemFailure)
      if (outcome.kind === 'ok') continue
      if (outcome.kind === 'overtaken') return 'overtaken'
      this.#events.add({
        kind: `${action.kind}-failed`,
        message: outcome.reason,
        rule,
        details: { code: outcome.code },
      })
      return 'failed'
    }
    return 'done'
  }

  async #execute(action: Action, view: ClusterView): Promise<Executed> {
    const { postgres } = this.#dependencies
    switch (action.kind) {
      case 'claimBootstrap':
      case 'publishCluster':
      case 'writePrimacy':
      case 'markStale':
        return this.#writer.write(action, this.state.nextXid)
      case 'promise':
        await this.#directory.promise(action.epoch)
        return DONE
      case 'configure':
        return this.#configure(action.wanted, view)
      case 'removePassfiles':
        await this.#dependencies.passfiles.keepOnly(null)
        return DONE
      case 'vote':
        return this.#vote(action.ballot)
      case 'takePrimaryLease':
        return this.#lease.take(view.self, action.expected)
      case 'dropPrimaryLease':
        await this.#lease.drop()
        return DONE
      case 'dropRequest':
        return this.#writer.dropRequest(action)
      case 'dropReinit':
        this.state.reinitAsked = false
        this.#events.add({ kind: 'reinit-refused', message: action.reason })
        return DONE
      case 'abort':
        await this.#tasks.abort(action.task)
        return DONE
      case 'createSlot':
        return postgres.createSlot(action.name)
      case 'dropSlot':
        return postgres.dropSlot(action.name)
      case 'advanceSlot':
        return postgres.advanceSlot(action.name, action.to)
      case 'endWalsenders':
        return postgres.endWalsenders(action.pids)
      case 'moveAside':
        return this.#moveAside(action.reason)
      case 'initialize':
      case 'start':
      case 'stop':
      case 'clone':
      case 'rewind':
      case 'promote':
      case 'prove':
      case 'settle':
        this.#startTask(action, view)
        return DONE
    }
  }

  #startTask(action: Extract<Action, { kind: TaskKind }>, view: ClusterView): void {
    switch (action.kind) {
      case 'initialize':
        this.#events.add({
          kind: 'initialize',
          message: 'makes the first data directory (initdb, roles, database)',
        })
        this.#tasks.start('initialize', (signal) =>
          this.#dependencies.postgres.initialize(signal, (made) => this.#directory.rememberInitialized(made)),
        )
        return
      case 'start':
        this.#tasks.start('start', () => this.#start(action))
        return
      case 'stop':
        if (action.mode === 'immediate') this.#hastenStop()
        this.#tasks.start('stop', () => this.stop(action.mode, STOP_DEADLINE_MS))
        return
      case 'clone':
        this.state.reinitAsked = false
        this.#events.add({ kind: 'clone', message: `clones ${action.from}`, epoch: action.epoch })
        this.#tasks.start('clone', (signal) => this.#clone(action, view, signal))
        return
      case 'rewind':
        this.#events.add({ kind: 'rewind', message: `rewinds to ${action.from}`, epoch: action.epoch })
        this.#tasks.start('rewind', (signal) => this.#rewind(action, view, signal))
        return
      case 'promote':
        this.#events.add({
          kind: 'promote',
          message: `promotes onto timeline ${action.timelineId}`,
          epoch: action.epoch,
        })
        this.#tasks.start('promote', (signal) => this.#promote(action, view, signal))
        return
      case 'prove':
        this.#tasks.start('prove', () => this.#prove(action.rule))
        return
      case 'settle':
        this.#tasks.start('settle', () => this.#settle())
    }
  }

  async #clone(
    action: Extract<Action, { kind: 'clone' }>,
    view: ClusterView,
    signal: AbortSignal,
  ): Promise<Outcome<unknown>> {
    const identity = view.store.kind === 'read' ? view.store.facts.identity : null
    if (identity === null)
      return { kind: 'failed', code: 'clone-failed', reason: 'the cluster has no identity yet' }
    const source = { name: action.from, host: action.host, port: action.port, apiPort: 0 }
    // A partition must not cost a standby that still serves reads.
    if ((await this.#dependencies.prober.probe(source, 'postgres', PROBE_DEADLINE_MS)) !== 'answers') {
      return {
        kind: 'failed',
        code: 'connect-failed',
        reason: `${action.from} does not answer at ${hostInUri(action.host)}:${action.port}`,
      }
    }
    await removeReplaced(this.#dependencies, this.#events)
    // What has diverged must not be read by anybody any more.
    const stopped = await this.#dependencies.postgres.stop('fast', STOP_DEADLINE_MS)
    if (stopped.kind !== 'ok') return stopped
    try {
      const cloned = await this.#dependencies.cloner.clone(
        {
          from: action.from,
          host: action.host,
          port: action.port,
          systemIdentifier: identity.systemIdentifier,
          makeRoom: () => makeRoom(this.#dependencies.postgres, view, (reason) => this.#moveAside(reason)),
        },
        (progress) => {
          this.state.cloneProgress = progress
        },
        signal,
      )
      if (cloned.kind !== 'ok') return cloned
      const { bytes, durationMs } = cloned.value
      await this.#directory.finishReplacing(action.epoch)
      this.#tasks.forget('start')
      this.#events.add({
        kind: 'cloned',
        message: `cloned ${action.from}`,
        details: { bytes, durationMs },
      })
      return cloned
    } finally {
      this.state.cloneProgress = null
    }
  }

  /**
   * The sentinel is durable before pg_rewind opens the directory up. When that has ended well PostgreSQL may only stream from its
   * source until it is consistent; the sentinel goes when it has been seen to accept connections (I12).
   */
  async #rewind(
    action: Extract<Action, { kind: 'rewind' }>,
    view: ClusterView,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { position, history } = view.local
    const { postgres } = this.#dependencies
    const before = this.#directory.sentinel
    const source = view.store.kind === 'read' ? (view.store.facts.primacy?.value.history ?? null) : null
    // A rewind that was interrupted goes on: what the directory held is remembered already.
    const held =
      before === null
        ? heldInCommon(view.local, source)
        : { position: before.position, history: before.history }
    await this.#directory.markReplacing({ ...held, epoch: action.epoch, finished: false })
    const stopped = await postgres.stop('fast', STOP_DEADLINE_MS)
    if (stopped.kind !== 'ok') return stopped
    const rewound = await postgres.rewind(
      { host: action.host, port: action.port },
      before === null
        ? { timelineId: position?.timelineId ?? null, divergence: divergenceOf(view, history) }
        : { timelineId: null, divergence: null },
      signal,
    )
    if (rewound.kind !== 'ok') return rewound
    await this.#directory.markReplacing({ ...held, epoch: action.epoch, finished: true })
    return DONE
  }

  async #promote(
    action: Extract<Action, { kind: 'promote' }>,
    view: ClusterView,
    signal: AbortSignal,
  ): Promise<Outcome<unknown>> {
    const { postmaster, server } = view.local
    if (postmaster.kind !== 'running' || server === null)
      return { kind: 'failed', code: 'postgres-failed', reason: 'PostgreSQL does not run' }
    await this.#directory.rememberPromotion(postmaster.pid)
    const promoted = await this.#dependencies.postgres.promote({
      fromTimelineId: server.timelineId,
      timelineId: action.timelineId,
      postmasterPid: postmaster.pid,
      deadlineMs: PROMOTE_DEADLINE_MS,
      mayBegin: () => this.#isBefore(action.notAfterMs),
      signal,
    })
    if (promoted.kind === 'ok') this.state.nextXid = promoted.value.nextXid
    return promoted
  }

  #isBefore(deadlineMs: number | null): boolean {
    return deadlineMs === null || this.#dependencies.clock.nowMs() < deadlineMs
  }

  /** What it was started with is in effect in every process of it; a reload makes that unknown until it is settled (I5). */
  async #start(action: Extract<Action, { kind: 'start' }>): Promise<Outcome<unknown>> {
    const names = this.state.applied?.synchronousStandbyNames ?? null
    const started = await this.#dependencies.postgres.start(START_DEADLINE_MS, () =>
      this.#isBefore(action.notAfterMs),
    )
    if (started.kind === 'ok' && this.state.applied?.synchronousStandbyNames === names)
      this.state.namesInEffect = names
    return started
  }

  async #settle(): Promise<Outcome<unknown>> {
    const { applied } = this.state
    const settled = await this.#dependencies.postgres.settle(SETTLE_DEADLINE_MS)
    // Files that were written meanwhile may be what SHOW gives, and not yet what every process has read.
    if (settled.kind === 'ok' && this.state.applied === applied)
      this.state.namesInEffect = settled.value.synchronousStandbyNames
    return settled
  }

  /**
   * Nothing may be left on its way that makes a later postmaster writable. That is waited for at the end: the first signal must not wait for
   * a promotion that takes long (I10).
   */
  async stop(mode: 'fast' | 'immediate', deadlineMs: number): Promise<Outcome> {
    const promotionEnds = this.#tasks.abort('promote')
    this.#hasten = new AbortController()
    this.state.stopping = mode
    this.state.namesInEffect = null
    try {
      return await this.#dependencies.postgres.stop(mode, deadlineMs, this.#hasten.signal)
    } finally {
      this.state.stopping = null
      await promotionEnds
    }
  }

  #hastenStop(): void {
    if (this.state.stopping !== 'fast') return
    this.state.stopping = 'immediate'
    this.#hasten.abort()
  }

  async #vote(ballot: Ballot): Promise<Outcome> {
    const cast = await this.#dependencies.store.castBallot(ballot)
    if (cast.kind !== 'ok') return { kind: 'failed', code: 'store-unreachable', reason: cast.reason }
    const { position, epoch, gone } = ballot
    this.#events.add({
      kind: 'vote',
      message: `votes in epoch ${epoch}`,
      epoch,
      details: { timelineId: position.timelineId, lsn: formatLsn(position.lsn), gone },
    })
    return DONE
  }

  async #prove(rule: Rule): Promise<Outcome<unknown>> {
    const beganAtMs = this.#dependencies.clock.nowMs()
    const proof = await this.#dependencies.postgres.proveCommit(PROOF_DEADLINE_MS, rule)
    if (proof.kind !== 'ok') return proof
    this.state.proven = { rule, atMs: beganAtMs }
    this.#events.add({
      kind: 'rule-proven',
      message:
        rule.acks === 0
          ? 'a commit was made, which waits for nobody'
          : `a commit was acknowledged under the rule: ${rule.acks} of ${rule.standbys.join(', ')}`,
      details: { commitLsn: formatLsn(proof.value.commitLsn) },
    })
    return proof
  }

  async #configure(wanted: WantedConfiguration, view: ClusterView): Promise<Outcome<unknown>> {
    const { postgres, passfiles } = this.#dependencies
    const running = view.local.postmaster.kind === 'running'
    // First: files that lead to a primary are only ever written after what they lead to is known to be right (I8).
    if (wanted.upstream !== null) await this.#directory.rememberFollowed(wanted.epoch)
    if (wanted.role === 'primary') await this.#directory.keepRules()
    const rendered = await this.#render(wanted)
    if (rendered.kind !== 'ok') return rendered
    const written = await postgres.configure(rendered.value)
    if (written.kind !== 'ok') return written
    for (const refused of written.value.refused) {
      this.#events.add({
        kind: 'parameter-refused',
        message: `${refused.name} (${refused.origin}) is left out: ${refused.reason}`,
      })
    }
    // A predecessor may have written the same files and died before the reload: without our own record of it, reload anyhow.
    if (running && (written.value.changed || this.state.applied === null)) {
      const reloaded = await postgres.reload()
      if (reloaded.kind !== 'ok') return reloaded
    }
    if (this.state.applied?.synchronousStandbyNames !== wanted.synchronousStandbyNames)
      this.state.namesInEffect = null
    this.state.applied = wanted
    await passfiles.keepOnly(wanted.upstream === null ? null : wanted.epoch)
    return DONE
  }

  async #render(wanted: WantedConfiguration): Promise<Outcome<ReplicationConfiguration>> {
    const { role, upstream, synchronousStandbyNames, epoch } = wanted
    if (upstream === null) return { kind: 'ok', value: { role, upstream: null, synchronousStandbyNames } }
    const passfile = await this.#dependencies.passfiles.write(epoch, upstream)
    if (passfile.kind !== 'ok') return passfile
    const rejoining = wanted.rejoining === true
    return {
      kind: 'ok',
      value: {
        role,
        upstream: { ...upstream, passfile: passfile.value, rejoining },
        synchronousStandbyNames,
      },
    }
  }

  async #moveAside(reason: string): Promise<Outcome> {
    const moved = await this.#dependencies.postgres.moveAside(reason)
    if (moved.kind !== 'ok') return moved
    this.#events.add({ kind: 'moved-aside', message: `the data directory was moved to ${moved.value.path}` })
    return DONE
  }
}

/** Where what this node has leaves the history of the primary; null where that is not certain. */
function divergenceOf(view: ClusterView, held: TimelineHistory): RewindTarget['divergence'] {
  const primacy = view.store.kind === 'read' ? view.store.facts.primacy?.value : undefined
  // While promoting it is foretold, not yet what PostgreSQL wrote.
  const common = primacy?.phase === 'steady' ? commonPoint(held, primacy.history) : null
  return common === null || common.lsn === 'same' ? null : { timelineId: common.timelineId, lsn: common.lsn }
}

const DONE: Outcome = { kind: 'ok', value: null }
