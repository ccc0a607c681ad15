/**
 * A server that ran before understudy did. The agent that an operator has given it to does everything else first, so that clients miss it for
 * one stop and one start: it begins or finds the cluster, takes the lease, and only then stops it. What follows is what follows any stop:
 * who is primary by the document in the store starts as primary, everybody else as standby (I7, I8).
 */
import type { DecisionRule } from '../decision.ts'
import { isGiven } from '../facts.ts'
import { following, primaryIsUp } from './ladder.ts'
import { holdsLease, needsLease } from './lease.ts'
import { ownPrimacy } from './primary.ts'

const replaceExisting: DecisionRule = {
  id: 'replace-existing',
  evaluate(view) {
    const { postmaster, tasks } = view.local
    if (!isGiven(postmaster) || tasks.has('stop')) return null
    const own = ownPrimacy(view)
    const follows = following(view)
    if (own !== null) {
      if (needsLease(view, own.value) && !holdsLease(view))
        return { reason: 'waits for the lease before it replaces the server that runs', actions: [] }
    } else if (follows === null) {
      return { reason: 'the server that runs is replaced when there is a primary in office', actions: [] }
    } else if (!primaryIsUp(view, follows.primacy)) {
      return { reason: `the server that runs is replaced when ${follows.upstream.name} runs`, actions: [] }
    }
    return {
      reason: 'the server that was there before is stopped, and PostgreSQL started in its place',
      actions: [{ kind: 'stop', mode: 'fast' }],
    }
  },
}

export const existingRules: readonly DecisionRule[] = [replaceExisting]
