/** What the local data directory forbids, whatever the store says. */
import type { DecisionRule } from '../decision.ts'
import { currentRule } from '../primacy.ts'
import { callElection } from './election.ts'
import { ownPrimacy } from './primary.ts'

/** The first data directory is nobody's business until it is there. */
const initializing: DecisionRule = {
  id: 'initializing',
  evaluate(view) {
    return view.local.tasks.has('initialize')
      ? { reason: 'the first data directory is being made', actions: [] }
      : null
  },
}

/** Behind the rules that end a task for the sake of a newer epoch: otherwise what is under way is waited for. */
export const taskUnderWay: DecisionRule = {
  id: 'task-under-way',
  evaluate(view) {
    const { tasks } = view.local
    if (tasks.has('clone')) return { reason: 'the data directory is being cloned', actions: [] }
    if (tasks.has('rewind')) return { reason: 'the data directory is being rewound', actions: [] }
    if (tasks.has('stop')) return { reason: 'PostgreSQL is being stopped', actions: [] }
    if (tasks.has('start')) return { reason: 'PostgreSQL is starting', actions: [] }
    return null
  },
}

/**
 * First-hand: nothing of the primary runs, and nothing can be started from what is there (a disk that fails, a damaged pg_control). Its agent
 * answers, so nobody would suspect it.
 */
const resignUnusable: DecisionRule = {
  id: 'resign-unusable',
  evaluate(view) {
    const { directory, postmaster, tasks } = view.local
    if (directory.kind !== 'unusable' || postmaster.kind !== 'stopped' || tasks.size > 0) return null
    const primacy = ownPrimacy(view)
    if (primacy === null || view.store.kind !== 'read' || view.store.facts.paused !== null) return null
    if (currentRule(primacy.value).standbys.length === 0 || primacy.value.epoch < view.local.promisedEpoch)
      return null
    const reason = `the primary ${view.self} cannot use its data directory: ${directory.reason}`
    return { reason, actions: [callElection(primacy, view.self, reason)] }
  },
}

const unusableDirectory: DecisionRule = {
  id: 'directory-unusable',
  evaluate(view) {
    const { directory, reinitAsked } = view.local
    // Made anew it is usable again, and what is there is moved aside.
    if (directory.kind !== 'unusable' || reinitAsked) return null
    return { reason: directory.reason, actions: [] }
  },
}

const foreignPostmaster: DecisionRule = {
  id: 'postmaster-foreign',
  evaluate(view) {
    const { postmaster } = view.local
    return postmaster.kind === 'foreign' ? { reason: postmaster.reason, actions: [] } : null
  },
}

export const directoryRules: readonly DecisionRule[] = [
  initializing,
  resignUnusable,
  unusableDirectory,
  foreignPostmaster,
]
