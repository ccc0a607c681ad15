/** How the decision is broken on purpose: it sees something else than there is, or something else is done than it said. */
import type { ClusterView, LocalView, StoreFacts } from '../src/core/cluster-view.ts'
import { decide } from '../src/core/decide.ts'
import type { Action, Decision } from '../src/core/decision.ts'
import type { Primacy } from '../src/core/primacy.ts'
import type { BrokenShell, Decide } from './world.ts'

export interface Mutant {
  /** What is left out. */
  readonly why: string
  readonly decide: Decide
  /** What the shell leaves out. */
  readonly shell?: BrokenShell
}

export function primacyOf(view: ClusterView): Primacy | null {
  return view.store.kind === 'read' ? (view.store.facts.primacy?.value ?? null) : null
}

export function withLocal(view: ClusterView, changes: Partial<LocalView>): ClusterView {
  return { ...view, local: { ...view.local, ...changes } }
}

export function withFacts(view: ClusterView, changes: Partial<StoreFacts>): ClusterView {
  if (view.store.kind !== 'read') return view
  return { ...view, store: { kind: 'read', facts: { ...view.store.facts, ...changes } } }
}

/** Decides on another view than the true one. */
export function seeing(change: (view: ClusterView) => ClusterView): Decide {
  return (view, memory) => decide(change(view), memory)
}

/** Carries out something else than was decided; null leaves the action out. */
export function doing(
  change: (action: Action, view: ClusterView, decision: Decision) => Action | null,
): Decide {
  return (view, memory) => {
    const decision = decide(view, memory)
    const actions = decision.actions.flatMap((action) => change(action, view, decision) ?? [])
    return { ...decision, actions }
  }
}

/** Changes what is written as primacy. */
export function writing(change: (next: Primacy, before: Primacy, view: ClusterView) => Primacy): Decide {
  return doing((action, view) => {
    const before = primacyOf(view)
    if (action.kind !== 'writePrimacy' || before === null) return action
    return { ...action, primacy: change(action.primacy, before, view) }
  })
}
