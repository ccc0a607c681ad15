/**
 * The record of one change of primary: what it was, who asked, and how long each phase took. Every node adds the part that it knows,
 * in milliseconds of its own monotonic clock since it saw the epoch begin, so that clocks which differ spoil nothing; the instants for
 * people are each node's own. Pure; a record is a note for people, and nothing is ever decided by it.
 */
import type { Override, Phase } from './primacy.ts'

export type ChangeKind = 'switchover' | 'failover' | 'manual'

/** What a node saw happen at itself, or of the document; milliseconds since it saw `electing`, negative before. */
export type Mark =
  /** By whoever began the election: the request was taken; the reason for it was first seen. */
  | 'requested'
  | 'detected'
  /** The last sign of the old primary, by the standby that began the election. */
  | 'lastHeard'
  /** Its PostgreSQL, which was the primary's, had stopped. */
  | 'stopped'
  /** It takes no WAL of the old primary any more, and its position is stable. */
  | 'fenced'
  | 'voted'
  /** `promoting` was written, or seen. */
  | 'elected'
  | 'promoted'
  | 'firstQuorumWrite'
  | 'steady'
  /** It streams from the new primary. */
  | 'streams'
  /** Seen by the new primary. */
  | 'oldPrimaryStreams'

export interface HistoryPart {
  readonly node: string
  /** When it saw `electing`, by its own clock, ISO 8601. */
  readonly at: string
  readonly marks: Readonly<Partial<Record<Mark, number>>>
  /** What it voted; an LSN as PostgreSQL prints it. */
  readonly vote: { readonly timelineId: number; readonly lsn: string; readonly gone: boolean } | null
}

export interface HistoryRecord {
  readonly epoch: number
  readonly kind: ChangeKind
  /** null: whoever wrote this did not see it. */
  readonly from: string | null
  /** null: nobody was elected in this epoch. */
  readonly to: string | null
  readonly candidate: string | null
  readonly timelineId: number | null
  /** The newest that was seen; an epoch that ends otherwise than steady was followed by another one. */
  readonly phase: Phase
  readonly startedBy: string
  readonly reason: string
  /** The rule by which it was begun. */
  readonly rule: string | null
  readonly asked: Asking | null
  /** The votes that an operator did without, and what he was told that it may cost. */
  readonly accepted: (Override & { readonly losses: readonly string[] }) | null
  readonly parts: Readonly<Record<string, HistoryPart>>
}

export interface Asking {
  readonly by: string
  readonly at: string
  readonly reason: string | null
}

const PHASE_ORDER: readonly Phase[] = ['electing', 'promoting', 'steady']
const KIND_ORDER: readonly ChangeKind[] = ['failover', 'switchover', 'manual']

/** Both are of the same epoch; what either knows is kept, and of a node's part the fuller one. */
export function mergeRecords(a: HistoryRecord, b: HistoryRecord): HistoryRecord {
  const later = <T>(order: readonly T[], x: T, y: T): T => (order.indexOf(y) > order.indexOf(x) ? y : x)
  const parts = { ...a.parts }
  for (const [node, part] of Object.entries(b.parts)) parts[node] = mergeParts(parts[node], part)
  return {
    epoch: a.epoch,
    kind: later(KIND_ORDER, a.kind, b.kind),
    from: a.from ?? b.from,
    to: a.to ?? b.to,
    candidate: a.candidate ?? b.candidate,
    timelineId: a.timelineId ?? b.timelineId,
    phase: later(PHASE_ORDER, a.phase, b.phase),
    startedBy: a.startedBy || b.startedBy,
    reason: a.reason || b.reason,
    rule: a.rule ?? b.rule,
    asked: a.asked ?? b.asked,
    accepted: fuller(a.accepted, b.accepted),
    parts,
  }
}

function fuller(a: HistoryRecord['accepted'], b: HistoryRecord['accepted']): HistoryRecord['accepted'] {
  return (b?.losses.length ?? 0) > (a?.losses.length ?? 0) ? b : (a ?? b)
}

/** An agent that was restarted amid the change begins a second part: the first one's marks count. */
function mergeParts(old: HistoryPart | undefined, added: HistoryPart): HistoryPart {
  if (old === undefined) return added
  const sameLife = old.at === added.at
  return {
    ...old,
    marks: sameLife ? { ...old.marks, ...added.marks } : { ...added.marks, ...old.marks },
    vote: old.vote ?? added.vote,
  }
}

export function emptyRecord(epoch: number): HistoryRecord {
  return {
    epoch,
    kind: 'failover',
    from: null,
    to: null,
    candidate: null,
    timelineId: null,
    phase: 'electing',
    startedBy: '',
    reason: '',
    rule: null,
    asked: null,
    accepted: null,
    parts: {},
  }
}

export function formatRecord(record: HistoryRecord): string {
  return JSON.stringify(record)
}

/** null for anything that is not a record. */
export function parseRecord(text: string): HistoryRecord | null {
  try {
    return recordFrom(JSON.parse(text))
  } catch {
    return null
  }
}

/** The same of a value that was parsed already. */
export function recordFrom(value: unknown): HistoryRecord | null {
  const record = value as Partial<HistoryRecord> | null
  if (typeof record !== 'object' || record === null) return null
  const { epoch, kind, parts, phase } = record
  const wellFormed =
    Number.isInteger(epoch) &&
    KIND_ORDER.some((each) => each === kind) &&
    PHASE_ORDER.some((each) => each === phase) &&
    typeof parts === 'object' &&
    parts !== null &&
    Object.values(parts).every(isPart)
  return wellFormed ? { ...emptyRecord(Number(epoch)), ...record } : null
}

function isPart(value: unknown): value is HistoryPart {
  const part = value as Partial<HistoryPart> | null
  return (
    typeof part?.node === 'string' &&
    typeof part.at === 'string' &&
    typeof part.marks === 'object' &&
    part.marks !== null &&
    Object.values(part.marks).every((ms) => typeof ms === 'number')
  )
}
