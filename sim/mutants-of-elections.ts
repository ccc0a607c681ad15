/** Broken variants of who starts, votes, counts and is elected. */
import { type Ballot, historyWith } from '../src/core/ballot.ts'
import type { ClusterView } from '../src/core/cluster-view.ts'
import { decide } from '../src/core/decide.ts'
import { ruleOfElected } from '../src/core/election.ts'
import { currentRule, type Primacy, type Rule } from '../src/core/primacy.ts'
import { type Mutant, primacyOf, seeing, withFacts, withLocal, writing } from './mutate.ts'
import type { Decide } from './world.ts'

/** Elects by another order of ballots than the right one. */
function electing(better: (a: Ballot, b: Ballot) => boolean): Decide {
  return (view, memory) => writing((next, before, seen) => reelect(next, before, seen, better))(view, memory)
}

function reelect(
  next: Primacy,
  before: Primacy,
  view: ClusterView,
  better: (a: Ballot, b: Ballot) => boolean,
): Primacy {
  if (next.phase !== 'promoting' || before.phase !== 'electing' || view.store.kind !== 'read') return next
  const { ballots } = view.store.facts
  const able = ballots.filter((each) => !each.gone && each.epoch === next.epoch)
  const winner = able.reduce<Ballot | null>(
    (best, each) => (best === null || better(each, best) ? each : best),
    null,
  )
  if (winner === null) return next
  const rule = ruleOfElected(winner, before, ballots, view.spec.durability === 'quorum')
  return {
    ...next,
    primary: winner.node,
    rules: [...next.rules.slice(0, -1), rule],
    history: historyWith(winner, next.timelineId),
  }
}

/** The rules as if only those who have voted had ever been standbys. */
const dropI2: Decide = (view, memory) => {
  const primacy = primacyOf(view)
  if (primacy?.phase !== 'electing' || view.store.kind !== 'read' || view.store.facts.primacy === null)
    return decide(view, memory)
  const voters = view.store.facts.ballots.map((each) => each.node)
  const narrowed = (rule: Rule): Rule => {
    const standbys = rule.standbys.filter((name) => voters.includes(name))
    return standbys.length === 0 ? rule : { ...rule, acks: 1, standbys }
  }
  const value = { ...primacy, rules: primacy.rules.map(narrowed) }
  const decision = decide(withFacts(view, { primacy: { ...view.store.facts.primacy, value } }), memory)
  const actions = decision.actions.map((action) =>
    action.kind === 'writePrimacy' && action.primacy.phase === 'promoting'
      ? { ...action, primacy: { ...action.primacy, rules: [...primacy.rules, currentRule(action.primacy)] } }
      : action,
  )
  return { ...decision, actions }
}

/** The position without waiting for replay or for the end of the stream. */
function naivePosition(view: ClusterView, evenReceiving: boolean): ClusterView {
  const { server, history } = view.local
  if (primacyOf(view)?.phase !== 'electing' || server === null || !server.inRecovery) return view
  if (server.walreceiver !== null && !evenReceiving) return view
  const lsn = server.receiveLsn ?? server.replayLsn
  if (lsn === null) return view
  const position = { timelineId: history.timelineId, lsn, complete: true }
  return withLocal(view, { position, server: { ...server, walreceiver: null } })
}

export const ELECTION_MUTANTS: Readonly<Record<string, Mutant>> = {
  noCarry: {
    why: 'an election forgets the rules before the newest',
    decide: writing((next) => (next.phase === 'steady' ? next : { ...next, rules: next.rules.slice(-1) })),
  },
  nextRuleForgotten: {
    why: 'an election forgets the rule that was being changed to',
    decide: writing((next, before) =>
      next.phase === 'electing' && before.nextRule !== null ? { ...next, rules: before.rules } : next,
    ),
  },
  dropI2: { why: 'whoever has voted is enough', decide: dropI2 },
  bareLsn: {
    why: 'positions are compared without their timelines',
    decide: electing((a, b) => a.position.lsn > b.position.lsn),
  },
  leastAdvanced: {
    why: 'the first by name is elected, not the most advanced (I4)',
    decide: electing((a, b) => a.node < b.node),
  },
  posNaive: {
    why: 'a vote gives pg_last_wal_receive_lsn() or what is replayed, whatever is still to be replayed',
    decide: seeing((view) => naivePosition(view, false)),
  },
  noFence: {
    why: 'a vote does not wait for the end of the walreceiver (I3b)',
    decide: seeing((view) => naivePosition(view, true)),
  },
  resumeNoBump: {
    why: 'a re-elected primary goes on with its timeline (I6)',
    decide: writing((next, before) =>
      next.phase === 'promoting' && before.phase === 'electing' && next.primary === before.primary
        ? {
            ...next,
            timelineId: before.timelineId,
            highestTimelineId: before.highestTimelineId,
            history: before.history,
          }
        : next,
    ),
  },
}
