/** A view in, the rule, its actions and their kinds out. */
import { decide } from '../../src/core/decide.ts'
import { EMPTY_MEMORY, type Memory } from '../../src/core/decision.ts'
import { FLUSH_LSN, standbyServer, type ViewChanges, view } from './views.ts'

/** The epoch has been known for long. */
export const KNOWN: Memory = { ...EMPTY_MEMORY, epoch: { number: 1, seenAtMs: 0 } }

export function decideOn(changes: ViewChanges, memory = KNOWN) {
  const decision = decide(view(changes), memory)
  return { ...decision, kinds: decision.actions.map((action) => action.kind) }
}

export const STOPPED = { postmaster: { kind: 'stopped' }, server: null } as const
export const ELECTING = { epoch: 2, phase: 'electing', startedBy: 'bravo' } as const
/** Everything that the primary of the views had. */
export const HERE = { timelineId: 1, lsn: FLUSH_LSN, complete: true } as const

/** A standby that has promised epoch 2 and takes WAL from nobody. */
export function fenced(self: string, changes: object = {}) {
  const server = standbyServer(self, { walreceiver: null })
  const applied = { role: 'standby', epoch: 2, upstream: null, synchronousStandbyNames: '' } as const
  return { server, applied, promisedEpoch: 2, position: HERE, ...changes }
}
