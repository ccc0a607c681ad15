/**
 * Timeline arithmetic: which timeline holds a WAL position, where two histories part, and whether a position lies on a
 * history. A timeline's history lists its ancestors and where each was left (manual: "Timelines", 25.3.6; the file is
 * `<timeline in hex>.history`). Timeline 1 has no ancestors and no history file.
 */
import { formatLsn, type Lsn, minLsn, parseLsn } from './lsn.ts'

/** A position that a node has reached: bytes before `lsn` are its own, and the last of them were written on `timelineId`. */
export interface TimelinePosition {
  readonly timelineId: number
  readonly lsn: Lsn
}

/** An ancestor, and the position at which its child left it: bytes from `switchpointLsn` on belong to the child. */
export interface TimelineAncestor {
  readonly timelineId: number
  readonly switchpointLsn: Lsn
  /** What PostgreSQL wrote down as the reason; for people only. */
  readonly reason: string
}

export interface TimelineHistory {
  readonly timelineId: number
  /** Oldest first; empty for timeline 1 and for a timeline that begins from nothing (an empty history file). */
  readonly ancestors: readonly TimelineAncestor[]
}

export function firstTimeline(): TimelineHistory {
  return { timelineId: 1, ancestors: [] }
}

/**
 * Where each ancestor really ends on the way to `history`: PostgreSQL writes down a history that goes back when it is promoted while it
 * goes for a timeline whose switchpoint it has not reached (seen on 15 and 18). Nothing behind a later switchpoint belongs to it.
 */
function endsOf(history: TimelineHistory): readonly TimelineAncestor[] {
  return history.ancestors.reduceRight<TimelineAncestor[]>((ends, ancestor) => {
    const next = ends[0]?.switchpointLsn ?? ancestor.switchpointLsn
    ends.unshift({ ...ancestor, switchpointLsn: minLsn(next, ancestor.switchpointLsn) })
    return ends
  }, [])
}

/** The timeline that holds the byte at `lsn`, as PostgreSQL's tliOfPointInHistory: a switchpoint belongs to the child. */
export function timelineAt(history: TimelineHistory, lsn: Lsn): number {
  for (const ancestor of endsOf(history)) {
    if (lsn < ancestor.switchpointLsn) return ancestor.timelineId
  }
  return history.timelineId
}

/** Where `timelineId` was left on the way to `history`; 'current' for its own timeline, null for one that is no ancestor. */
export function switchpointOf(history: TimelineHistory, timelineId: number): Lsn | 'current' | null {
  if (timelineId === history.timelineId) return 'current'
  return endsOf(history).find((ancestor) => ancestor.timelineId === timelineId)?.switchpointLsn ?? null
}

/**
 * True when a node at `position` can go on to `history` without rewinding (I8): it is on that timeline, or on an ancestor
 * not past the point where the ancestor was left. Equal to the switchpoint is on the history: no byte after it was written.
 */
export function isOnHistory(history: TimelineHistory, position: TimelinePosition): boolean {
  const end = switchpointOf(history, position.timelineId)
  if (end === null) return false
  return end === 'current' || position.lsn <= end
}

/**
 * The end of what a node at `position`, on `history`, has of timelines up to `highest`; null when that is nothing. Beyond are timelines that
 * nobody has allocated (I6).
 */
export function endUpTo(
  history: TimelineHistory,
  position: TimelinePosition,
  highest: number,
): { readonly position: TimelinePosition; readonly history: TimelineHistory } | null {
  if (position.timelineId <= highest) return { position, history }
  const before = endsOf(history).filter((ancestor) => ancestor.timelineId <= highest)
  const last = before.at(-1)
  if (last === undefined) return null
  const { timelineId, switchpointLsn } = last
  return {
    position: { timelineId, lsn: minLsn(switchpointLsn, position.lsn) },
    history: { timelineId, ancestors: before.slice(0, -1) },
  }
}

/**
 * The last point that two histories have in common: the divergenceLsn that a rewind starts from. Null when they share no
 * timeline at all, and `lsn` is 'same' when they are the same timeline, on which this arithmetic cannot see a difference.
 */
export function commonPoint(
  left: TimelineHistory,
  right: TimelineHistory,
): { readonly timelineId: number; readonly lsn: Lsn | 'same' } | null {
  const leftPath = pathOf(left)
  const rightPath = pathOf(right)
  let common: { timelineId: number; lsn: Lsn | 'same' } | null = null
  for (let i = 0; i < Math.min(leftPath.length, rightPath.length); i++) {
    const a = leftPath[i]
    const b = rightPath[i]
    if (a === undefined || b === undefined || a.timelineId !== b.timelineId) break
    common = { timelineId: a.timelineId, lsn: earlier(a.end, b.end) }
    // The same timeline left at different points: what follows has nothing in common, whatever its numbers are.
    if (a.end !== b.end) break
  }
  return common
}

interface Stretch {
  readonly timelineId: number
  /** 'same' stands for "not left yet". */
  readonly end: Lsn | 'same'
}

function pathOf(history: TimelineHistory): readonly Stretch[] {
  const ancestors = endsOf(history).map(
    (ancestor): Stretch => ({ timelineId: ancestor.timelineId, end: ancestor.switchpointLsn }),
  )
  return [...ancestors, { timelineId: history.timelineId, end: 'same' }]
}

function earlier(a: Lsn | 'same', b: Lsn | 'same'): Lsn | 'same' {
  if (a === 'same') return b
  if (b === 'same') return a
  return a < b ? a : b
}

/** As it stands in the store's JSON: LSNs as PostgreSQL prints them, without the reasons. */
export interface WireHistory {
  readonly timelineId: number
  readonly ancestors: readonly { readonly timelineId: number; readonly switchpointLsn: string }[]
}

export function historyToWire(history: TimelineHistory): WireHistory {
  return {
    timelineId: history.timelineId,
    ancestors: history.ancestors.map(({ timelineId, switchpointLsn }) => ({
      timelineId,
      switchpointLsn: formatLsn(switchpointLsn),
    })),
  }
}

/** null for anything that is not a history. */
export function historyFromWire(value: unknown): TimelineHistory | null {
  const wire = value as Partial<WireHistory> | null
  if (typeof wire?.timelineId !== 'number' || !Array.isArray(wire.ancestors)) return null
  const ancestors = wire.ancestors.flatMap((each: { timelineId?: unknown; switchpointLsn?: unknown }) => {
    const switchpointLsn = parseLsn(String(each.switchpointLsn))
    return typeof each.timelineId !== 'number' || switchpointLsn === null
      ? []
      : [{ timelineId: each.timelineId, switchpointLsn, reason: '' }]
  })
  return ancestors.length === wire.ancestors.length ? { timelineId: wire.timelineId, ancestors } : null
}
