/** What the local data directory forbids, whatever the store says. */
import type { DecisionRule } from '../decision.ts'

/** A long task owns the directory: nothing else may touch it meanwhile. */
const taskUnderWay: DecisionRule = {
  id: 'task-under-way',
  evaluate(view) {
    const { tasks } = view.local
    if (tasks.has('initialize')) return { reason: 'the first data directory is being made', actions: [] }
    if (tasks.has('clone')) return { reason: 'the data directory is being cloned', actions: [] }
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

export const directoryRules: readonly DecisionRule[] = [taskUnderWay, unusableDirectory, foreignPostmaster]
