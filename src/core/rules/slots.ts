/**
 * A slot for every other member, on every node: on the primary so that no standby's WAL is recycled under it, on standbys so that
 * after a promotion the WAL is still there. On a standby nobody consumes them, so they are advanced, or they would hold WAL forever.
 */
import { type ClusterView, otherMembers, SLOT_PREFIX, slotName } from '../cluster-view.ts'
import type { Action } from '../decision.ts'
import type { SlotFacts } from '../facts.ts'
import { minLsn, parseLsn } from '../lsn.ts'

/** Behind by less is left alone: an advance is a write, and a segment is what WAL is recycled in anyhow. */
const ADVANCE_BYTES = 16n * 1024n * 1024n

export function slotUpkeep(view: ClusterView): readonly Action[] {
  const { server, postmaster, tasks } = view.local
  if (server === null || postmaster.kind !== 'running' || tasks.has('stop')) return []
  if (view.store.kind !== 'read' || view.store.facts.primacy === null) return []
  return [
    ...otherMembers(view).flatMap((each) => upkeepOf(view, each.name)),
    ...leftBehind(view, server.slots),
  ]
}

/** Of a node that was removed: its slot would hold WAL for somebody who does not come back. */
function leftBehind(view: ClusterView, slots: readonly SlotFacts[]): readonly Action[] {
  const members = new Set(view.spec.members.map((each) => slotName(each.name)))
  return slots
    .filter((slot) => slot.physical && !slot.temporary && !slot.active)
    .filter(({ name }) => name.startsWith(SLOT_PREFIX) && !members.has(name))
    .map(({ name }) => ({ kind: 'dropSlot', name }))
}

function upkeepOf(view: ClusterView, name: string): readonly Action[] {
  const { server } = view.local
  if (server === null) return []
  const slot = server.slots.find((each) => each.name === slotName(name))
  if (slot === undefined) return [{ kind: 'createSlot', name: slotName(name) }]
  // A lost slot can never serve again; recreated it serves the next clone.
  if (slot.walStatus === 'lost' && !slot.active) return [{ kind: 'dropSlot', name: slot.name }]
  // Left from when this node was primary: nobody would ever move it on, and promoted again vacuum would remove nothing.
  if (server.inRecovery && !slot.active && slot.holdsXmin) return [{ kind: 'dropSlot', name: slot.name }]
  if (!server.inRecovery || slot.active || slot.restartLsn === null || server.replayLsn === null) return []
  // A member that does not report keeps its WAL: it may come back, and max_slot_wal_keep_size is the limit.
  const reached = memberPosition(view, name)
  if (reached === null) return []
  const to = minLsn(reached, server.replayLsn)
  return to - slot.restartLsn >= ADVANCE_BYTES ? [{ kind: 'advanceSlot', name: slot.name, to }] : []
}

/** How far the member has flushed, as it reported: WAL before it is never asked for by it again. */
function memberPosition(view: ClusterView, name: string): ReturnType<typeof parseLsn> {
  if (view.store.kind !== 'read') return null
  const text = view.store.facts.nodes.get(name)?.flushLsn
  return text === null || text === undefined ? null : parseLsn(text)
}
