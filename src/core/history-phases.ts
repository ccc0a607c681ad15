/** A record of a change of primary as a person reads it: its phases in order, its instants, and for how long nobody could write. Pure. */
import type { HistoryRecord, Mark } from './history.ts'

export type PhaseName =
  | 'requested'
  | 'lastHeard'
  | 'detected'
  | 'electing'
  | 'oldPrimaryStopped'
  | 'fenced'
  | 'voted'
  | 'elected'
  | 'promoted'
  | 'firstQuorumWrite'
  | 'steady'
  | 'oldPrimaryStreams'

/** Nodes see an epoch begin some milliseconds apart. */
const TOLERANCE_MS = 10

export interface PhaseTime {
  readonly name: PhaseName
  /** Since the first phase. */
  readonly ms: number
}

/** In order of time; phases that nobody noted are left out. */
export function phasesOf(record: HistoryRecord): readonly PhaseTime[] {
  const parts = Object.values(record.parts)
  const of = (node: string | null, mark: Mark): number | null =>
    node === null ? null : (record.parts[node]?.marks[mark] ?? null)
  const all = (mark: Mark): readonly number[] => parts.flatMap((part) => part.marks[mark] ?? [])
  const earliest = (mark: Mark): number | null => {
    const marks = all(mark)
    return marks.length === 0 ? null : Math.min(...marks)
  }
  const elected = of(record.startedBy, 'elected') ?? earliest('elected')
  // Votes that came too late to be counted belong to no phase.
  const lastBefore = (mark: Mark): number | null => {
    const end = elected ?? Number.POSITIVE_INFINITY
    const counted = all(mark).filter((ms) => ms <= end + TOLERANCE_MS)
    return counted.length === 0 ? null : Math.min(end, Math.max(...counted))
  }
  const marks: readonly (readonly [PhaseName, number | null])[] = [
    ['requested', earliest('requested')],
    ['lastHeard', record.kind === 'failover' ? of(record.startedBy, 'lastHeard') : null],
    ['detected', record.kind === 'failover' ? earliest('detected') : null],
    ['electing', parts.length === 0 ? null : 0],
    ['oldPrimaryStopped', of(record.from, 'stopped')],
    ['fenced', lastBefore('fenced')],
    ['voted', lastBefore('voted')],
    ['elected', elected],
    ['promoted', of(record.to, 'promoted')],
    ['firstQuorumWrite', of(record.to, 'firstQuorumWrite')],
    ['steady', of(record.to, 'steady') ?? earliest('steady')],
    // Each of the two looks now and then only.
    ['oldPrimaryStreams', earlier(of(record.to, 'oldPrimaryStreams'), of(record.from, 'streams'))],
  ]
  const known = marks.flatMap(([name, ms]) => (ms === null ? [] : [{ name, ms }]))
  const zero = Math.min(0, ...known.map(({ ms }) => ms))
  return known.map(({ name, ms }) => ({ name, ms: Math.round((ms - zero) * 10) / 10 }))
}

function earlier(a: number | null, b: number | null): number | null {
  return a === null || b === null ? (a ?? b) : Math.min(a, b)
}

/**
 * For how long no write was acknowledged, as well as the nodes can know it: from the loss, or the stop, to the first write. Not known
 * of an election by hand, which begins when somebody comes.
 */
export function outageMs(record: HistoryRecord): number | null {
  if (record.kind === 'manual') return null
  const phases = new Map(phasesOf(record).map(({ name, ms }) => [name, ms]))
  const began = phases.get('lastHeard') ?? phases.get('detected') ?? phases.get('electing')
  const ended = phases.get('firstQuorumWrite')
  return began === undefined || ended === undefined ? null : Math.round((ended - began) * 10) / 10
}

/** When whoever began it had reason to, by its own clock; null when that is not known. */
export function detectedAt(record: HistoryRecord): string | null {
  const starter = record.parts[record.startedBy]
  const ms = starter?.marks.detected
  const at = starter === undefined || ms === undefined ? Number.NaN : Date.parse(starter.at) + ms
  return Number.isNaN(at) ? null : new Date(at).toISOString()
}

/** By the clock of whoever began it, else of whoever saw it first. */
export function beganAt(record: HistoryRecord): string | null {
  const starter = record.parts[record.startedBy]
  if (starter !== undefined) return starter.at
  return (
    Object.values(record.parts)
      .map((part) => part.at)
      .sort()[0] ?? null
  )
}
