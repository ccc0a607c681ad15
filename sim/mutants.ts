/**
 * Deliberately broken variants of the decision: each leaves one rule of docs/failover.md out, by changing what the real `decide` sees or
 * what it says. A simulator that does not catch them proves nothing.
 */
import type { Ballot } from '../src/core/ballot.ts'
import { decide } from '../src/core/decide.ts'
import type { Action } from '../src/core/decision.ts'
import { currentRule, synchronousStandbyNames } from '../src/core/primacy.ts'
import { ELECTION_MUTANTS } from './mutants-of-elections.ts'
import { doing, type Mutant, primacyOf, seeing, withFacts, withLocal, writing } from './mutate.ts'
import type { Decide } from './world.ts'

const FAR_MS = 1e12

function withoutPromise(planned: boolean): Decide {
  return doing((action, view) => {
    const primacy = primacyOf(view)
    const left = planned ? primacy?.planned === true && currentRule(primacy).primary === view.self : true
    return action.kind === 'promise' && primacy?.phase === 'electing' && left ? null : action
  })
}

/** PostgreSQL is set and the change is proven before the store knows of it. */
const pgFirst: Decide = (view, memory) => {
  const decision = decide(view, memory)
  const [action] = decision.actions
  if (decision.rule !== 'quorum-begin' || action?.kind !== 'writePrimacy') return decision
  const wanted = action.primacy.nextRule
  const { applied } = view.local
  if (wanted === null || applied === null) return decision
  const names = synchronousStandbyNames(wanted)
  const set: Action = { kind: 'configure', wanted: { ...applied, synchronousStandbyNames: names } }
  if (applied.synchronousStandbyNames !== names) return { ...decision, actions: [set] }
  const known = view.local.proven?.rule
  const proven = known !== undefined && synchronousStandbyNames(known) === names
  const said: Action = { ...action, primacy: { ...action.primacy, rules: [wanted], nextRule: null } }
  return { ...decision, actions: [proven ? said : { kind: 'prove', rule: wanted }] }
}

/** The new rule is dropped from the store before PostgreSQL has the old one again. */
const abortUnsafe: Decide = (view, memory) => {
  const decision = decide(view, memory)
  const primacy = view.store.kind === 'read' ? view.store.facts.primacy : null
  if (decision.rule !== 'quorum-change' || decision.memory.change?.givingUp !== true || primacy === null)
    return decision
  const actions: Action[] = [
    {
      kind: 'writePrimacy',
      primacy: { ...primacy.value, nextRule: null },
      expected: primacy.revision,
      why: '',
    },
  ]
  return { ...decision, actions }
}

const noProbe: Decide = (view, memory) => {
  const rule = primacyOf(view)?.nextRule ?? null
  if (rule === null) return decide(view, memory)
  const namesInEffect = view.local.server?.synchronousStandbyNames ?? null
  const seen = withLocal(view, { proven: { rule, atMs: view.now }, namesInEffect })
  const change = memory.change === null ? null : { ...memory.change, ended: [] }
  return decide(seen, { ...memory, change })
}

const NO_POSITION = { timelineId: 0, lsn: 0n as never }

function powerless(ballot: Ballot): Ballot {
  return ballot.gone ? { ...ballot, position: NO_POSITION } : ballot
}

export const MUTANTS: Readonly<Record<string, Mutant>> = {
  ...ELECTION_MUTANTS,
  noSteadyAck: {
    why: 'steady is written before a commit was acknowledged under the new rule',
    decide: seeing((view) => {
      const primacy = primacyOf(view)
      if (primacy?.phase !== 'promoting') return view
      return withLocal(view, { proven: { rule: currentRule(primacy), atMs: view.now } })
    }),
  },
  walrcvOnly: {
    why: 'no passfile is removed: that no walreceiver runs is taken for the fence (I3b)',
    decide: doing((action) => (action.kind === 'removePassfiles' ? null : action)),
    shell: { keepsPassfiles: true },
  },
  primaryNoVote: {
    why: 'the old primary does not vote (I3’)',
    decide: doing((action, view) => {
      const primacy = primacyOf(view)
      const own = primacy !== null && currentRule(primacy).primary === view.self
      return action.kind === 'vote' && own ? null : action
    }),
  },
  switchNoPromise: {
    why: 'a switchover’s old primary votes without a promise',
    decide: withoutPromise(true),
  },
  noPromise: { why: 'nobody promises before voting (I3a)', decide: withoutPromise(false) },
  removeOther: {
    why: 'the rule changes in the store at once, without a time in which both count',
    decide: writing((next) =>
      next.nextRule === null ? next : { ...next, rules: [next.nextRule], nextRule: null },
    ),
  },
  pgFirst: { why: 'PostgreSQL is set before the store knows of the new rule', decide: pgFirst },
  noProbe: { why: 'a rule counts as in effect as soon as SHOW gives it', decide: noProbe },
  abortUnsafe: { why: 'giving a new rule up clears nextRule first', decide: abortUnsafe },
  zeroCandNoLease: {
    why: 'without acknowledgements the candidate is promoted without the lease (I10)',
    decide: seeing((view) => {
      const primacy = primacyOf(view)
      if (primacy?.phase !== 'promoting' || primacy.primary !== view.self) return view
      return withLocal(view, { primaryLeaseUntilMs: FAR_MS })
    }),
  },
  zeroNoFence: {
    why: 'a primary does not stop when its lease runs out (I10)',
    decide: seeing((view) =>
      view.local.primaryLeaseUntilMs === null ? view : withLocal(view, { primaryLeaseUntilMs: FAR_MS }),
    ),
  },
  deadAnoSentVote: {
    why: 'a node whose directory is being replaced does not say what it had (I12)',
    decide: doing((action) => (action.kind === 'vote' && action.ballot.gone ? null : action)),
  },
  rejoinCounts: {
    why: 'a rewound node acknowledges commits before it is consistent, and votes for what it had before (I12)',
    decide: doing((action) => {
      if (action.kind !== 'configure' || action.wanted.rejoining !== true) return action
      const { rejoining: _, ...wanted } = action.wanted
      return { ...action, wanted }
    }),
  },
  sentinelNoBlock: {
    why: 'what a replaced directory had does not block who has less (I12)',
    decide: seeing((view) =>
      view.store.kind === 'read'
        ? withFacts(view, { ballots: view.store.facts.ballots.map(powerless) })
        : view,
    ),
  },
  handMadeVotes: {
    why: 'a node that somebody has promoted by hand votes with what it wrote since (I6)',
    decide: doing((action, { local }) => {
      const { position, history, sentinel } = local
      if (action.kind !== 'vote' || !action.ballot.gone || sentinel !== null || position === null)
        return action
      const { timelineId, lsn } = position
      return { ...action, ballot: { ...action.ballot, gone: false, history, position: { timelineId, lsn } } }
    }),
  },
  diskLossAnySrc: {
    why: 'a node clones whoever has data, not only the primary of the epoch that it then votes in (I12)',
    decide: doing((action, view) => {
      if (action.kind !== 'clone' || view.store.kind !== 'read') return action
      const others = [...view.store.facts.nodes.values()]
      const other = others.find(
        (each) => each.name !== view.self && each.name !== action.from && each.timelineId !== null,
      )
      return other === undefined ? action : { ...action, from: other.name }
    }),
  },
  stateLossNoGuard: {
    why: 'a node without its state directory starts with the files that it has, before it knows any epoch (I12)',
    decide: (view, memory) => {
      const decision = decide(view, memory)
      const { directory, postmaster, promisedEpoch, tasks } = view.local
      const forgot = view.store.kind === 'unreachable' && promisedEpoch === 0 && tasks.size === 0
      if (!forgot || directory.kind !== 'cluster' || !directory.standbySignal) return decision
      if (postmaster.kind !== 'stopped') return decision
      return { ...decision, actions: [{ kind: 'start', notAfterMs: null }] }
    },
    shell: { fencesByPromise: true },
  },
  noHistoryCheck: {
    why: 'a node streams without being within the primary’s history (I8)',
    decide: seeing((view) => withLocal(view, { followedEpoch: primacyOf(view)?.epoch ?? 0 })),
  },
  trustMemory: {
    why: 'what was read from the store before counts while it does not answer (I7)',
    decide: seeing((view) =>
      view.store.kind === 'unreachable' && view.store.last !== null
        ? { ...view, store: { kind: 'read', facts: view.store.last } }
        : view,
    ),
  },
  staleBelieved: {
    why: 'a store that was restored from an old copy, or emptied, is acted on (I1)',
    decide: seeing((view) =>
      view.store.kind === 'stale' ? { ...view, store: { kind: 'read', facts: view.store.facts } } : view,
    ),
  },
  onlyEpochRecovered: {
    why: 'what the store still knows gets a new epoch, and the rules that it has forgotten are lost (I2)',
    decide,
    shell: { recoversOnlyTheEpoch: true },
  },
  oldDocumentKept: {
    why: 'what a node has learned since its first document dies with its agent',
    decide,
    shell: { keepsOldDocument: true },
  },
  ownUnknown: {
    why: 'a node that is killed while it begins the cluster does not know its own data again (I7)',
    decide,
    shell: { remembersWhatItMadeAfterwards: true },
  },
  noSettle: {
    why: 'SHOW is taken for settings in effect (I5)',
    decide: seeing((view) =>
      withLocal(view, { namesInEffect: view.local.server?.synchronousStandbyNames ?? null }),
    ),
  },
}
