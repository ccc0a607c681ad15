/** What operators ask of a running agent through its API: each checks, and writes what the decision then acts on. */
import { setTimeout as sleep } from 'node:timers/promises'
import type {
  CancelAnswer,
  FailoverAnswer,
  FailoverBody,
  MemberAnswer,
  PauseAnswer,
  PauseBody,
  ProxyStatus,
  RecoverStoreAnswer,
  RecoverStoreBody,
  ReinitAnswer,
  ReinitBody,
  SwitchoverAnswer,
  SwitchoverBody,
} from '../api/contract.ts'
import type { ClusterView } from '../core/cluster-view.ts'
import type { HistoryRecord } from '../core/history.ts'
import { mergeRecords } from '../core/history.ts'
import { believed } from '../core/knowledge.ts'
import { timersOf } from '../core/timers.ts'
import type { Log } from '../ports/log.ts'
import type { Outcome } from '../ports/postgres.ts'
import type { Chronicle } from './chronicle.ts'
import { type ControlContext, SOMEBODY } from './controls/context.ts'
import { requestFailover } from './controls/failover.ts'
import type { Details } from './controls/failover-sight.ts'
import { admitMember, retireMember } from './controls/members.ts'
import { setPause } from './controls/pause.ts'
import { recoverStore } from './controls/recover-store.ts'
import { requestReinit } from './controls/reinit.ts'
import { cancelSwitchover, keepSchedule, requestSwitchover } from './controls/switchover.ts'
import type { AgentDependencies, AgentOptions } from './dependencies.ts'
import type { EventLog } from './events.ts'

export interface ControlParts {
  readonly events: EventLog
  readonly chronicle: Chronicle
  /** The last look; null before the first. */
  readonly view: () => ClusterView | null
  readonly wake: () => void
  readonly askReinit: () => void
}

export class Controls {
  readonly #context: ControlContext
  readonly #parts: ControlParts
  readonly #log: Log
  #keepingSchedule = false

  constructor(options: AgentOptions, dependencies: AgentDependencies, parts: ControlParts) {
    const { store, clock, postgres } = dependencies
    this.#parts = parts
    this.#log = dependencies.log
    this.#context = {
      node: options.node,
      primaryLeaseMs: timersOf(options.spec.rtoMs).primaryLeaseMs,
      store,
      clock,
      events: parts.events,
      chronicle: parts.chronicle,
      session: options.session,
      view: parts.view,
      wake: parts.wake,
      fresh: () => this.#fresh(),
      checkpoint: async (deadlineMs) => {
        const made = await postgres.checkpoint(deadlineMs)
        if (made.kind !== 'ok') dependencies.log.warn('the checkpoint failed', { reason: made.reason })
      },
    }
  }

  switchover(body: SwitchoverBody): Promise<Outcome<SwitchoverAnswer>> {
    return requestSwitchover(this.#context, body)
  }

  cancelSwitchover(by: string = SOMEBODY): Promise<Outcome<CancelAnswer>> {
    return cancelSwitchover(this.#context, by)
  }

  failover(body: FailoverBody, details: Details): Promise<Outcome<FailoverAnswer>> {
    return requestFailover(this.#context, body, details)
  }

  recoverStore(body: RecoverStoreBody, details: Details): Promise<Outcome<RecoverStoreAnswer>> {
    return recoverStore(this.#context, body, details)
  }

  pause(body: PauseBody): Promise<Outcome<PauseAnswer>> {
    return setPause(this.#context, body)
  }

  reinit(body: ReinitBody): Promise<Outcome<ReinitAnswer>> {
    return requestReinit(this.#context, body, this.#parts.askReinit)
  }

  retireMember(node: string, by: string | undefined): Promise<Outcome<MemberAnswer>> {
    return retireMember(this.#context, node, by)
  }

  admitMember(node: string, by: string | undefined): Promise<Outcome<MemberAnswer>> {
    return admitMember(this.#context, node, by)
  }

  /** What the store has, and what this agent remembers beyond that; without the store, what it remembers. */
  /** The proxies that run and say something of themselves; null when the store does not answer in time. */
  async proxies(deadlineMs: number): Promise<readonly ProxyStatus[] | null> {
    const late = new AbortController()
    const read = await Promise.race([
      this.#context.store.readProxies(),
      sleep(deadlineMs, null, { signal: late.signal }).catch(() => null),
    ])
    late.abort()
    if (read === null || read.kind !== 'ok') return null
    return read.value.flatMap(({ name, state }) => (state === null ? [] : [{ name, ...state }]))
  }

  async history(): Promise<readonly HistoryRecord[]> {
    const stored = await this.#context.store.readHistory()
    const known = new Map((stored.kind === 'ok' ? stored.value : []).map((each) => [each.epoch, each]))
    for (const own of this.#parts.chronicle.records) {
      const written = known.get(own.epoch)
      known.set(own.epoch, written === undefined ? own : mergeRecords(written, own))
    }
    return [...known.values()].sort((a, b) => a.epoch - b.epoch)
  }

  /** Every cycle; cheap, and never waited for. */
  keepSchedule(): void {
    if (this.#keepingSchedule) return
    this.#keepingSchedule = true
    const kept = keepSchedule(this.#context).catch((error: unknown) => {
      this.#log.error('the schedule could not be kept', { error: String(error) })
    })
    void kept.then(() => {
      this.#keepingSchedule = false
    })
  }

  async #fresh(): Promise<Outcome<ClusterView>> {
    const view = this.#parts.view()
    if (view === null) return { kind: 'failed', code: 'timeout', reason: 'the agent has just started' }
    const { store } = this.#context
    const [facts, nodes] = await Promise.all([store.readFacts(), store.readNodes()])
    if (facts.kind !== 'ok') return { kind: 'failed', code: 'store-unreachable', reason: facts.reason }
    if (nodes.kind !== 'ok') return { kind: 'failed', code: 'store-unreachable', reason: nodes.reason }
    const { known, promisedEpoch } = view.local
    const read = believed({ ...facts.value, nodes: nodes.value }, known, promisedEpoch, view.now)
    if (read.kind === 'stale') return { kind: 'failed', code: read.code, reason: read.reason }
    return { kind: 'ok', value: { ...view, store: read } }
  }
}
