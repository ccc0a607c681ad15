/**
 * What of a data directory must be remembered when it is opened up to be rewound (I12). Pure. Everything that was ever acknowledged lies
 * within the history of the primary that it is rewound to: that one was elected with all of it. So what has diverged holds nobody up later, when
 * that primary is lost too; only what both have in common does, and the source may have lost nothing of it.
 */
import type { Sentinel } from './cluster-view.ts'
import { minLsn } from './lsn.ts'
import { commonPoint, type TimelineHistory, type TimelinePosition } from './timeline.ts'

export function heldInCommon(
  held: { readonly position: TimelinePosition | null; readonly history: TimelineHistory },
  source: TimelineHistory | null,
): Pick<Sentinel, 'position' | 'history'> {
  const { position, history } = held
  if (position === null || source === null) return { position, history }
  const common = commonPoint(history, source)
  if (common === null || common.lsn === 'same') return { position, history }
  const { timelineId } = common
  const lsn = timelineId === position.timelineId ? minLsn(common.lsn, position.lsn) : common.lsn
  const ancestors = history.ancestors.filter((each) => each.timelineId < timelineId)
  return { position: { timelineId, lsn }, history: { timelineId, ancestors } }
}
