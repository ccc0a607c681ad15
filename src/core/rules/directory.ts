/** What the local data directory forbids, whatever the store says. */
import type { DecisionRule } from '../decision.ts'

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

const unusableDirectory: DecisionRule = {
  id: 'directory-unusable',
  evaluate(view) {
    const { directory } = view.local
    return directory.kind === 'unusable' ? { reason: directory.reason, actions: [] } : null
  },
}

const foreignPostmaster: DecisionRule = {
  id: 'postmaster-foreign',
  evaluate(view) {
    const { postmaster } = view.local
    return postmaster.kind === 'foreign' ? { reason: postmaster.reason, actions: [] } : null
  },
}

export const directoryRules: readonly DecisionRule[] = [initializing, unusableDirectory, foreignPostmaster]
