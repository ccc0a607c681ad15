/**
 * A ballot: a fenced node's position, and what an election needs to know of it. Counts in its epoch only; a promise is never taken
 * back, so a ballot once written stays true (docs/failover.md, "State"). Pure.
 */
import { formatLsn, parseLsn } from './lsn.ts'
import { historyFromWire, historyToWire, type TimelineHistory, type TimelinePosition } from './timeline.ts'

export interface Ballot {
  readonly epoch: number
  readonly node: string
  /**
   * The timeline of the last record and the end of what is on disk. Timelines are allocated by epochs in order (I6), so comparing
   * timeline ids compares the epochs that allocated them.
   */
  readonly position: TimelinePosition
  /** Of the position's timeline. */
  readonly history: TimelineHistory
  /** 0 votes but is not elected. */
  readonly priority: number
  /** The data is being rewound or cloned: the position is what the directory had before, and it cannot be elected (I12). */
  readonly gone: boolean
  /** The synchronous_standby_names that this node has in effect, as a rule without its primary (I5). */
  readonly carries: { readonly acks: number; readonly standbys: readonly string[] }
}

/** Newest timeline first, then the LSN; never bare LSNs (M: bareLsn). Positive: a is ahead. */
export function comparePositions(a: TimelinePosition, b: TimelinePosition): number {
  if (a.timelineId !== b.timelineId) return a.timelineId - b.timelineId
  return a.lsn === b.lsn ? 0 : a.lsn > b.lsn ? 1 : -1
}

export function formatBallot(ballot: Ballot): string {
  const { position, history, ...rest } = ballot
  return JSON.stringify({
    ...rest,
    position: { timelineId: position.timelineId, lsn: formatLsn(position.lsn) },
    history: historyToWire(history),
  })
}

/** null when it cannot be read: an unreadable ballot counts for nothing. */
export function parseBallot(text: string): Ballot | null {
  try {
    const value = JSON.parse(text) as Record<string, unknown> | null
    const position = value?.['position'] as { timelineId?: unknown; lsn?: unknown } | undefined
    const carries = value?.['carries'] as { acks?: unknown; standbys?: unknown } | undefined
    const history = historyFromWire(value?.['history'])
    const lsn = parseLsn(String(position?.lsn))
    if (value === null || lsn === null || history === null || typeof position?.timelineId !== 'number')
      return null
    if (typeof value['epoch'] !== 'number' || typeof value['node'] !== 'string') return null
    if (typeof carries?.acks !== 'number' || !Array.isArray(carries.standbys)) return null
    return {
      epoch: value['epoch'],
      node: value['node'],
      position: { timelineId: position.timelineId, lsn },
      history,
      priority: typeof value['priority'] === 'number' ? value['priority'] : 100,
      gone: value['gone'] === true,
      carries: { acks: carries.acks, standbys: carries.standbys.map(String) },
    }
  } catch {
    return null
  }
}

/** The history of the timeline that begins where the elected node's ballot ends. */
export function historyWith(elected: Ballot, timelineId: number): TimelineHistory {
  const { position, history } = elected
  return {
    timelineId,
    ancestors: [
      ...history.ancestors,
      { timelineId: position.timelineId, switchpointLsn: position.lsn, reason: 'elected' },
    ],
  }
}
