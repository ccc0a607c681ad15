/**
 * How long the loop rests when nothing wakes it. Watches, ends of tasks and broken connections wake it early, so resting is only for what
 * no event tells; and while a primary is being replaced every needless look takes time from the processes that replace it.
 */
import type { ClusterView } from '../core/cluster-view.ts'
import type { Decision } from '../core/decision.ts'
import { hasVoted } from './observe.ts'

/** At rest: soon enough that a lost watch event does not matter, seldom enough to cost nothing. */
export const REST_MS = 1_000
/** While something is under way or waited for. */
const BUSY_MS = 200
/** While clients wait for a new primary, and events are expected to wake the loop. */
const EXPECTANT_MS = 50
/** While clients wait for something that this node can only see by looking: its own position, its own settings. */
const URGENT_MS = 4

const LONG_TASKS: ReadonlySet<string> = new Set([
  'initialize',
  'start',
  'stop',
  'clone',
  'rewind',
  'promote',
  'prove',
  'settle',
])

/** `done`: all actions were executed. Pure. */
export function restAfter(decision: Decision, view: ClusterView, done: boolean): number {
  if (!done) return BUSY_MS
  const primacy = view.store.kind === 'read' ? view.store.facts.primacy?.value : undefined
  const replacing = primacy?.phase === 'electing' || primacy?.phase === 'promoting'
  if (decision.actions.some((action) => !LONG_TASKS.has(action.kind))) return 0
  if (decision.actions.length > 0 || view.local.tasks.size > 0) return replacing ? EXPECTANT_MS : BUSY_MS
  if (decision.rule === 'start-election') return EXPECTANT_MS
  if (primacy?.phase === 'electing') return isFencing(view) ? URGENT_MS : EXPECTANT_MS
  if (primacy?.phase === 'promoting') return primacy.primary === view.self ? URGENT_MS : BUSY_MS
  return decision.rule === 'keep-running' ? REST_MS : BUSY_MS
}

/** On its way to a vote, which depends on what only this node can see. */
function isFencing(view: ClusterView): boolean {
  return view.local.postmaster.kind === 'running' && !hasVoted(view)
}
