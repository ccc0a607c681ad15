/**
 * What this node saw of each change of primary, for the history. It listens, and never has anybody wait: parts are kept in memory and
 * written to the store only when the cluster is steady and this node has nothing else to do; a store that does not take them changes
 * nothing but the history.
 */
import type { ClusterEvent } from '../api/contract.ts'
import type { ClusterView, StoreFacts } from '../core/cluster-view.ts'
import type { Action, Decision } from '../core/decision.ts'
import { suspectsPrimary } from '../core/detector.ts'
import { type Asking, emptyRecord, type HistoryRecord, type Mark, mergeRecords } from '../core/history.ts'
import { currentRule, type Primacy } from '../core/primacy.ts'
import { walsenderOf } from '../core/track.ts'
import type { Clock } from '../ports/clock.ts'
import type { ClusterStore } from '../ports/cluster-store.ts'
import type { EventLog } from './events.ts'

/** Epochs that were not written yet, and a few that may still get a mark. */
const KEPT = 16
/** At rest, and after a failure. */
const WRITE_EVERY_MS = 500
const RETRY_MS = 5_000
const SWAPS = 5

interface Chapter {
  record: HistoryRecord
  /** When this node saw it begin, on the monotonic clock. */
  readonly beganMs: number
  /** Whether there is something that the store does not have yet. */
  fresh: boolean
}

interface Request {
  readonly epoch: number
  readonly asking: Asking
  /** null: a switchover. */
  readonly losses: readonly string[] | null
}

interface Beginning {
  readonly epoch: number
  readonly detectedMs: number
  readonly rule: string
}

export class Chronicle {
  readonly #node: string
  readonly #clock: Clock
  readonly #store: ClusterStore
  readonly #events: EventLog
  readonly #chapters = new Map<number, Chapter>()
  #suspectedSinceMs: number | null = null
  #beginning: Beginning | null = null
  /** The last request that stood in the store: it goes away with the election that it begins. */
  #request: Request | null = null
  /** When this agent took one, with the epoch that it was asked in. */
  #requestedMs: { readonly epoch: number; readonly ms: number } | null = null
  #writing = false
  #writeNotBeforeMs = 0

  constructor(options: {
    readonly node: string
    readonly clock: Clock
    readonly store: ClusterStore
    readonly events: EventLog
  }) {
    this.#node = options.node
    this.#clock = options.clock
    this.#store = options.store
    this.#events = options.events
    this.#events.subscribe((event) => this.#hear(event))
  }

  /** Of the epochs that this agent remembers. */
  get records(): readonly HistoryRecord[] {
    return [...this.#chapters.values()].map(({ record }) => record)
  }

  requestTaken(epoch: number): void {
    this.#requestedMs = { epoch, ms: this.#clock.nowMs() }
  }

  /** After each decision, before it is carried out. */
  note(view: ClusterView, decision: Decision): void {
    const primacy = view.store.kind === 'read' ? view.store.facts.primacy?.value : undefined
    if (primacy === undefined || view.store.kind !== 'read') return
    this.#events.epoch = primacy.epoch
    if (!suspectsPrimary(view, primacy)) this.#suspectedSinceMs = null
    else this.#suspectedSinceMs ??= view.now
    this.#request = requestIn(view.store.facts) ?? this.#request
    this.#noteBeginning(decision, view.now)
    this.#notePrimacy(primacy)
    if (decision.actions.some((action) => action.kind === 'vote')) this.#mark(primacy.epoch, 'fenced')
    this.#noteStreams(view, primacy)
  }

  /** To be called at rest: writes one epoch, beside the caller. */
  writeAtRest(view: ClusterView): void {
    const now = this.#clock.nowMs()
    const primacy = view.store.kind === 'read' ? view.store.facts.primacy?.value : undefined
    if (primacy?.phase !== 'steady' || this.#writing || now < this.#writeNotBeforeMs) return
    const chapter = [...this.#chapters.values()].find((each) => each.fresh)
    if (chapter === undefined) return
    this.#writing = true
    chapter.fresh = false
    void this.#write(chapter).then((written) => {
      this.#writing = false
      if (!written) chapter.fresh = true
      this.#writeNotBeforeMs = this.#clock.nowMs() + (written ? WRITE_EVERY_MS : RETRY_MS)
    })
  }

  async #write({ record }: Chapter): Promise<boolean> {
    for (let swap = 0; swap < SWAPS; swap++) {
      const before = await this.#store.readRecord(record.epoch)
      if (before.kind !== 'ok') return false
      const merged = before.value === null ? record : mergeRecords(before.value.value, record)
      const done = await this.#store.writeRecord(merged, before.value?.revision ?? null)
      if (done.kind !== 'ok') return false
      if (done.value) return true
    }
    return false
  }

  #noteBeginning(decision: Decision, now: number): void {
    const epoch = decision.actions.map(electionCalled).find((each) => each !== null)
    if (epoch === undefined || epoch === null) return
    this.#beginning = { epoch, rule: decision.rule, detectedMs: this.#suspectedSinceMs ?? now }
  }

  /** What the document says; the node that has written it hears of it sooner, from its own event. */
  #notePrimacy(primacy: Primacy): void {
    const chapter = this.#chapter(primacy)
    if (chapter === null) return
    const request = this.#request?.epoch === primacy.epoch - 1 ? this.#request : null
    this.#add(chapter, describe(primacy, chapter.record, request))
    if (primacy.phase !== 'electing') this.#mark(primacy.epoch, 'elected')
    if (primacy.phase === 'steady') this.#mark(primacy.epoch, 'steady')
  }

  /** null: the epoch began before this agent looked, so there is nothing to measure from. */
  #chapter(primacy: Pick<Primacy, 'epoch' | 'phase'>): Chapter | null {
    const { epoch } = primacy
    const known = this.#chapters.get(epoch)
    if (known !== undefined) return known
    if (primacy.phase !== 'electing') return null
    const part = { node: this.#node, at: this.#clock.timestamp(), marks: {}, vote: null }
    const chapter: Chapter = {
      record: { ...emptyRecord(epoch), parts: { [this.#node]: part } },
      beganMs: this.#clock.nowMs(),
      fresh: true,
    }
    this.#chapters.set(epoch, chapter)
    for (const old of [...this.#chapters.keys()].sort((a, b) => a - b).slice(0, -KEPT))
      this.#chapters.delete(old)
    return chapter
  }

  #noteStreams(view: ClusterView, primacy: Primacy): void {
    const { server, applied } = view.local
    if (server === null || applied?.epoch !== primacy.epoch || primacy.phase === 'electing') return
    const { epoch, primary } = primacy
    if (server.inRecovery) {
      const follows = applied.upstream?.name === primary && server.walreceiver?.status === 'streaming'
      if (follows && this.#mark(epoch, 'streams')) this.#tell(epoch, 'streams', `streams from ${primary}`)
      return
    }
    const from = this.#chapters.get(epoch)?.record.from
    if (primary !== this.#node || from === undefined || from === null || from === primary) return
    if (walsenderOf(server, from)?.state !== 'streaming') return
    if (this.#mark(epoch, 'oldPrimaryStreams'))
      this.#tell(epoch, 'rejoined', `the old primary ${from} streams from here`)
  }

  #tell(epoch: number, kind: string, message: string): void {
    const ms = Math.round(this.#clock.nowMs() - (this.#chapters.get(epoch)?.beganMs ?? 0))
    this.#events.add({ kind, message, epoch, details: { sinceElectingMs: ms } })
  }

  /** Events come at the very moment, the views a little later. */
  #hear(event: ClusterEvent): void {
    const { kind, epoch, details } = event
    const phase = details?.['phase']
    if (kind === 'primacy' && epoch !== undefined) {
      if (phase === 'electing') this.#began(epoch)
      if (phase === 'promoting') this.#mark(epoch, 'elected')
      if (phase === 'steady') this.#mark(epoch, 'steady')
      return
    }
    const newest = Math.max(...this.#chapters.keys())
    const chapter = this.#chapters.get(newest)
    if (chapter === undefined) return
    const { record } = chapter
    if (kind === 'vote' && epoch === newest) this.#voted(chapter, event)
    if (kind === 'stop-done' && record.from === this.#node && record.phase === 'electing') {
      if (this.#mark(newest, 'stopped'))
        this.#tell(newest, 'demoted', 'was the primary, and has stopped for the election')
    }
    if (record.to !== this.#node) return
    if (kind === 'promote-done') this.#mark(newest, 'promoted')
    if (kind === 'rule-proven') this.#mark(newest, 'firstQuorumWrite')
  }

  #began(epoch: number): void {
    const chapter = this.#chapter({ epoch, phase: 'electing' })
    if (chapter === null) return
    const beginning = this.#beginning
    if (beginning?.epoch === epoch) {
      this.#add(chapter, { rule: beginning.rule })
      this.#markAt(chapter, 'detected', beginning.detectedMs)
    }
    const requested = this.#requestedMs
    if (requested?.epoch === epoch - 1) this.#markAt(chapter, 'requested', requested.ms)
  }

  #voted(chapter: Chapter, { details }: ClusterEvent): void {
    const vote = {
      timelineId: Number(details?.['timelineId']),
      lsn: String(details?.['lsn']),
      gone: details?.['gone'] === true,
    }
    const part = chapter.record.parts[this.#node]
    if (part !== undefined) this.#add(chapter, { parts: { [this.#node]: { ...part, vote } } })
    this.#markAt(chapter, 'voted', this.#clock.nowMs())
  }

  #mark(epoch: number, mark: Mark): boolean {
    const chapter = this.#chapters.get(epoch)
    return chapter !== undefined && this.#markAt(chapter, mark, this.#clock.nowMs())
  }

  /** The first time counts; says whether this was it. */
  #markAt(chapter: Chapter, mark: Mark, atMs: number): boolean {
    const part = chapter.record.parts[this.#node]
    if (part === undefined || part.marks[mark] !== undefined) return false
    const ms = Math.round((atMs - chapter.beganMs) * 10) / 10
    this.#add(chapter, { parts: { [this.#node]: { ...part, marks: { ...part.marks, [mark]: ms } } } })
    return true
  }

  #add(chapter: Chapter, known: Partial<HistoryRecord>): void {
    const next = { ...chapter.record, ...known }
    if (JSON.stringify(next) === JSON.stringify(chapter.record)) return
    chapter.record = next
    chapter.fresh = true
  }
}

function electionCalled(action: Action): number | null {
  if (action.kind !== 'writePrimacy' || action.primacy.phase !== 'electing') return null
  return action.primacy.epoch
}

function describe(primacy: Primacy, record: HistoryRecord, request: Request | null): Partial<HistoryRecord> {
  const { phase, planned, candidate, startedBy, override } = primacy
  const elected = phase !== 'electing'
  const losses = request?.losses ?? record.accepted?.losses ?? []
  const manual = override !== null || (request !== null && request.losses !== null)
  return {
    kind: manual ? 'manual' : planned ? 'switchover' : record.kind,
    phase,
    startedBy,
    asked: record.asked ?? request?.asking ?? null,
    reason: record.reason || primacy.reason,
    from: record.from ?? (elected ? null : currentRule(primacy).primary),
    candidate: record.candidate ?? candidate,
    accepted: override === null ? record.accepted : { ...override, losses },
    ...(elected && { to: primacy.primary, timelineId: primacy.timelineId }),
  }
}

/** A switchover that is only scheduled asks for nothing yet. */
function requestIn({ switchover, failover }: StoreFacts): Request | null {
  if (failover !== null) {
    const { epoch, by, requestedAt: at, reason, losses } = failover.value
    return { epoch, asking: { by, at, reason }, losses }
  }
  if (switchover === null || switchover.value.session === null) return null
  const { epoch, by, requestedAt: at } = switchover.value
  return { epoch, asking: { by, at, reason: null }, losses: null }
}
