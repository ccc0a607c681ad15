/**
 * Reads timeline history files, as TIMELINE_HISTORY sends them and pg_wal keeps them (src/backend/access/transam/
 * timeline.c, readTimeLineHistory): per line an ancestor's id in decimal, the switchpoint, and a reason, separated by
 * white space; '#' begins a comment.
 */
import { parseLsn } from '../core/lsn.ts'
import type { TimelineAncestor, TimelineHistory } from '../core/timeline.ts'
import { ProtocolViolation } from './violation.ts'

/**
 * Throws ProtocolViolation on a line that PostgreSQL would not accept, and on ancestors that do not grow. Their switchpoints need not:
 * see `endsOf` in core/timeline.ts.
 */
export function parseTimelineHistory(timelineId: number, content: string): TimelineHistory {
  const ancestors: TimelineAncestor[] = []
  let last = 0
  for (const line of content.split('\n')) {
    if (/^\s*(#|$)/.test(line)) continue
    const match = /^\s*(\d{1,10})\s+(\S+)\s*(.*)$/.exec(line)
    const switchpointLsn = parseLsn(match?.[2] ?? '')
    const ancestor = Number(match?.[1])
    if (match === null || switchpointLsn === null) {
      throw new ProtocolViolation(`the history of timeline ${timelineId} has the unreadable line "${line}"`)
    }
    if (ancestor <= last || ancestor >= timelineId) {
      throw new ProtocolViolation(`the history of timeline ${timelineId} is out of order at "${line}"`)
    }
    ancestors.push({ timelineId: ancestor, switchpointLsn, reason: (match[3] ?? '').trim() })
    last = ancestor
  }
  return { timelineId, ancestors }
}
