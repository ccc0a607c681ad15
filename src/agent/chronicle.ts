/**
 * What this node saw of each change of primary, for the history. It listens, and never has anybody wait: parts are kept in memory and
 * written to the store only when the cluster is steady and this node has nothing else to do; a store that does not take them changes
 * nothing but the history.
 */
import type { ClusterEvent } from '../api/contract.ts'
import type { ClusterView } from '../core/cluster-view.ts'
import type { Decision } from '../core/decision.ts'
import { suspectsPrimary } from '../core/detector.ts'
import { emptyRecord, type HistoryRecord, type Mark } from '../core/history.ts'
import type { Primacy } from '../core/primacy.ts'
import { walsenderOf } from '../core/track.ts'
import type { Clock } from '../ports/clock.ts'
import type { ClusterStore } from '../ports/cluster-store.ts'
import { describeChange, electionCalled, type Request, requestIn } from './change-record.ts'
import type { EventLog } from './events.ts'
import { type Chapter, HistoryWriter } from './history-writer.ts'

/** Epochs that were not written yet, and a few that may still get a mark. */
const KEPT = 16
/** Events are told with their time since the election began for so long after it has ended. */
const AFTERMATH_MS = 30_000

interface Beginning {
  readonly epoch: number
  readonly detectedMs: number
  /** Of the primary, by a standby that suspects it. */
  readonly heardMs: number | null
  readonly rule: string
}

export class Chronicle {
  readonly #node: string
  readonly #clock: Clock
  readonly #events: EventLog
  readonly #writer: HistoryWriter
  readonly #chapters = new Map<number, Chapter>()
  /** Since when the primary is suspected, and when it was last heard of. */
  #suspicion: { readonly sinceMs: number; readonly heardMs: number } | null = null
  /** When the own stream was last seen to be there. */
  #streamedMs: number | null = null
  #beginning: Beginning | null = null
  /** The last request that stood in the store: it goes away with the election that it begins. */
  #request: Request | null = null
  /** When this agent took one, with the epoch that it was asked in. */
  #requestedMs: { readonly epoch: number; readonly ms: number } | null = null

  constructor(options: {
    readonly node: string
    readonly clock: Clock
    readonly store: ClusterStore
    readonly events: EventLog
  }) {
    this.#node = options.node
    this.#clock = options.clock
    this.#writer = new HistoryWriter(options.store, options.clock)
    this.#events = options.events
    this.#events.subscribe((event) => this.#hear(event))
    this.#events.sinceElecting = (epoch) => this.#sinceElecting(epoch)
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
    this.#noteSuspicion(view, primacy)
    this.#request = requestIn(view.store.facts) ?? this.#request
    this.#noteBeginning(decision, view.now)
    this.#notePrimacy(primacy)
    if (decision.actions.some((action) => action.kind === 'vote')) this.#mark(primacy.epoch, 'fenced')
    this.#noteStreams(view, primacy)
  }

  /** To be called at rest: writes one epoch, beside the caller. */
  writeAtRest(view: ClusterView): void {
    const primacy = view.store.kind === 'read' ? view.store.facts.primacy?.value : undefined
    if (primacy?.phase === 'steady') this.#writer.writeOne([...this.#chapters.values()])
  }

  #noteSuspicion(view: ClusterView, primacy: Primacy): void {
    const { now } = view
    const walreceiver = view.local.server?.walreceiver ?? null
    if (walreceiver?.status === 'streaming') this.#streamedMs = now - (walreceiver.lastMessageAgeMs ?? 0)
    if (!suspectsPrimary(view, primacy)) this.#suspicion = null
    else this.#suspicion ??= { sinceMs: now, heardMs: this.#streamedMs ?? now }
  }

  #noteBeginning(decision: Decision, now: number): void {
    const epoch = decision.actions.map(electionCalled).find((each) => each !== null)
    if (epoch === undefined || epoch === null) return
    const { sinceMs = now, heardMs = null } = this.#suspicion ?? {}
    this.#beginning = { epoch, rule: decision.rule, detectedMs: sinceMs, heardMs }
  }

  /** What the document says; the node that has written it hears of it sooner, from its own event. */
  #notePrimacy(primacy: Primacy): void {
    const chapter = this.#chapter(primacy)
    if (chapter === null) return
    const request = this.#request?.epoch === primacy.epoch - 1 ? this.#request : null
    this.#add(chapter, describeChange(primacy, chapter.record, request))
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
      if (follows && this.#mark(epoch, 'streams'))
        this.#events.add({ kind: 'streams', message: `streams from ${primary}`, epoch })
      return
    }
    const from = this.#chapters.get(epoch)?.record.from
    if (primary !== this.#node || from === undefined || from === null || from === primary) return
    if (walsenderOf(server, from)?.state !== 'streaming') return
    if (this.#mark(epoch, 'oldPrimaryStreams'))
      this.#events.add({ kind: 'rejoined', message: `the old primary ${from} streams from here`, epoch })
  }

  /** Only as long as what happens belongs to the change. */
  #sinceElecting(epoch: number): number | null {
    const chapter = this.#chapters.get(epoch)
    if (chapter === undefined) return null
    const ms = Math.round((this.#clock.nowMs() - chapter.beganMs) * 10) / 10
    const { steady = ms } = chapter.record.parts[this.#node]?.marks ?? {}
    return ms - steady > AFTERMATH_MS ? null : ms
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
    // The others need not wait for the end of a stop: they may have elected somebody by then.
    const isBack = record.parts[this.#node]?.marks.streams !== undefined
    if (kind === 'stop-done' && record.from === this.#node && !isBack) {
      if (this.#mark(newest, 'stopped'))
        this.#events.add({
          kind: 'demoted',
          message: 'was the primary, and has stopped for the election',
          epoch: newest,
        })
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
      if (beginning.heardMs !== null) this.#markAt(chapter, 'lastHeard', beginning.heardMs)
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
    // Told only now: nothing may come before the vote that clients wait for.
    const fencedMs = chapter.record.parts[this.#node]?.marks.fenced ?? null
    const message = `had fenced itself at ${vote.lsn} on timeline ${vote.timelineId}`
    this.#events.add({ kind: 'fenced', message, epoch: chapter.record.epoch, details: { fencedMs } })
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
