/**
 * What a node knows of who is primary, beside the store: the newest document that it has read or written. It outlives the store, and tells
 * a store that was restored from an old copy, or emptied, from one that can be believed (docs/failover.md, "When the store is gone"). Pure.
 */
import type { StoreFacts, StoreView } from './cluster-view.ts'
import { rulesToSatisfy } from './election.ts'
import { type Knowledge, type Lineage, type Primacy, type Rule, type StaleMark, sameRule } from './primacy.ts'

/** So many documents back a descent can be proven; a node that was away for longer believes what it reads. */
const REMEMBERED = 32

/** The document as it is written upon the one that it was made from: decisions leave `lineage` as they found it. */
export function succeeding(next: Primacy, id: string): Primacy {
  const { number, id: last, before } = next.lineage
  const lineage: Lineage = { number: number + 1, id, before: [last, ...before].slice(0, REMEMBERED) }
  return { ...next, lineage }
}

/** Whether `later` is `earlier`, or was written upon it by any number of steps. */
export function descends(later: Primacy, earlier: Primacy): boolean {
  const steps = later.lineage.number - earlier.lineage.number
  if (steps < 0 || later.epoch < earlier.epoch) return false
  if (steps === 0) return later.lineage.id === earlier.lineage.id
  const { before } = later.lineage
  return steps > before.length || before[steps - 1] === earlier.lineage.id
}

/** Positive: `a` is the newer one. */
export function compareDocuments(a: Primacy, b: Primacy): number {
  return a.epoch - b.epoch || a.lineage.number - b.lineage.number
}

/** Whether `kept` stands for every rule that commits may be acknowledged under by `document`. */
export function coversRules(kept: Primacy | null, document: Primacy): boolean {
  if (kept === null) return false
  const known = rulesToSatisfy(kept)
  return rulesToSatisfy(document).every((rule) => known.some((each) => isSame(each, rule)))
}

export function isSame(a: Rule, b: Rule): boolean {
  return a.epoch === b.epoch && sameRule(a, b)
}

type Doubt = Pick<Extract<StoreView, { kind: 'stale' }>, 'code' | 'reason'>

/** null: the store can be believed. */
export function doubtOf(
  facts: Pick<StoreFacts, 'primacy' | 'identity' | 'stale'>,
  known: Knowledge | null,
  promisedEpoch: number,
): Doubt | null {
  const primacy = facts.primacy?.value ?? null
  const own = known?.identity.systemIdentifier
  const other = facts.identity?.systemIdentifier
  if (own !== undefined && other !== undefined && own !== other)
    return {
      code: 'system-identifier',
      reason: `the store holds another cluster (system identifier ${other}, this node belongs to ${own})`,
    }
  const epoch = Math.max(promisedEpoch, known?.primacy.epoch ?? 0)
  if (primacy === null && epoch > 0)
    return {
      code: 'store-empty',
      reason: `the store knows of no cluster, but this node knows of epoch ${epoch}: it has lost its data, or is another store`,
    }
  if (facts.stale !== null) return { code: 'store-stale', reason: toldBy(facts.stale, primacy) }
  if (primacy === null) return null
  if (primacy.epoch < epoch)
    return {
      code: 'store-stale',
      reason: `the store says epoch ${primacy.epoch}, but this node has promised epoch ${epoch}: it was restored from an old copy`,
    }
  if (known === null || descends(primacy, known.primacy)) return null
  return {
    code: 'store-stale',
    reason: `the store has forgotten what this node knows of epoch ${known.primacy.epoch}: it was restored from an old copy`,
  }
}

function toldBy({ by, epoch }: StaleMark, primacy: Primacy | null): string {
  const says = primacy === null ? 'knows of no cluster' : `says epoch ${primacy.epoch}`
  return `the store ${says}, but ${by} knows of epoch ${epoch}: it was restored from an old copy, or has lost its data`
}

/** A store that has forgotten something is none: nothing of what it says is acted on. */
export function believed(
  facts: StoreFacts,
  known: Knowledge | null,
  promisedEpoch: number,
  sinceMs: number,
): StoreView {
  const doubt = doubtOf(facts, known, promisedEpoch)
  if (doubt === null) return { kind: 'read', facts }
  return { kind: 'stale', ...doubt, sinceMs, facts, last: known === null ? null : withKnown(facts, known) }
}

function withKnown(facts: StoreFacts, { primacy, identity }: Knowledge): StoreFacts {
  return {
    ...facts,
    primacy: { value: primacy, revision: 0n },
    identity,
    claim: null,
    ballots: [],
    switchover: null,
    failover: null,
  }
}
