/**
 * `primacy`, the one document that says who is primary, in which epoch, and under which rule commits are acknowledged.
 * Changed only by compare-and-swap on its revision; specified in docs/failover.md ("State"). Pure.
 */

import { historyFromWire, historyToWire, type TimelineHistory } from './timeline.ts'

/** A commit acknowledged under it is on its primary and on at least `acks` of `standbys`. */
export interface Rule {
  readonly epoch: number
  readonly primary: string
  readonly acks: number
  readonly standbys: readonly string[]
}

export type Phase = 'steady' | 'electing' | 'promoting'

export interface Primacy {
  readonly epoch: number
  readonly phase: Phase
  readonly primary: string
  readonly timelineId: number
  readonly highestTimelineId: number
  /** Every rule since the last `steady`, oldest first; one entry when steady (I2). */
  readonly rules: readonly Rule[]
  readonly nextRule: Rule | null
  /** First transaction id of the new primary, as text: smaller ones may be asked for with pg_xact_status. */
  readonly nextXid: string | null
  readonly startedBy: string
  readonly reason: string
  /** A switchover: the others fence only when the old primary has voted, for until then they still take its last WAL. */
  readonly planned: boolean
  /** Wanted by a switchover; anybody else is elected only when this one does not come. */
  readonly candidate: string | null
  /** An operator lets this election, and no other, go on without votes that I2 asks for. */
  readonly override: Override | null
  /**
   * Nodes whose votes an operator once did without, with the epoch: they may hold acknowledged commits that nobody else has. Such a data
   * directory is never rewound, only moved aside (I11), until its node has followed that epoch or a later one.
   */
  readonly writtenOff: Readonly<Record<string, number>>
  /** Of `timelineId`. While promoting it is what the elected node's ballot says; a steady primary writes what really is. */
  readonly history: TimelineHistory
  /** Decisions pass it on as it is; whoever writes the document moves it on (`succeeding` in knowledge.ts). */
  readonly lineage: Lineage
}

/**
 * Where a document stands among those that were written one upon the other. A store that was restored from an old copy goes on from there, under
 * the same epochs and revisions that were in use already; only this tells what it writes then from what it has forgotten.
 */
export interface Lineage {
  /** Grows by one with each document. */
  readonly number: number
  /** Random. */
  readonly id: string
  /** Ids of those right before it, the newest first. */
  readonly before: readonly string[]
}

/** Said for one epoch and exactly these voters, which the operator knew to be missing; commits that only they have are lost. */
export interface Override {
  readonly missing: readonly string[]
  readonly by: string
  /** ISO 8601, by the clock of the agent that was asked. */
  readonly at: string
  readonly reason: string | null
}

/** What every member must agree on from bootstrap to the end of the cluster. */
export interface Identity {
  readonly systemIdentifier: string
  readonly major: number
  readonly createdBy: string
}

/** What a node knows beside the store: the newest document that it has read or written. */
export interface Knowledge {
  readonly primacy: Primacy
  readonly identity: Identity
}

/** Left in the store by the first node that found it stale, so that those who know less do not act on it either. */
export interface StaleMark {
  readonly by: string
  /** That this node knows of. */
  readonly epoch: number
}

/** The rule in force: the newest. */
export function currentRule(primacy: Primacy): Rule {
  const rule = primacy.rules.at(-1)
  if (rule === undefined) throw new Error('primacy without rules')
  return rule
}

export function sameRule(a: Rule, b: Rule): boolean {
  return a.primary === b.primary && a.acks === b.acks && sameMembers(a.standbys, b.standbys)
}

export function sameMembers(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && [...a].sort().join('\n') === [...b].sort().join('\n')
}

/**
 * The value of synchronous_standby_names for a rule (manual 20.6.1). Names are quoted: an unquoted one could be a keyword, and
 * matching folds case. Sorted, so that equal rules give equal text and no needless reload.
 */
export function synchronousStandbyNames(rule: Pick<Rule, 'acks' | 'standbys'>): string {
  if (rule.acks === 0 || rule.standbys.length === 0) return ''
  const names = [...rule.standbys].sort().map((name) => `"${name}"`)
  return `ANY ${rule.acks} (${names.join(', ')})`
}

/** The sync names, as a rule without its primary, that `node` would need if it were elected under `rule` (I5). */
export function carriedBy(
  node: string,
  rule: Rule,
): { readonly acks: number; readonly standbys: readonly string[] } {
  const standbys = [rule.primary, ...rule.standbys].filter((name) => name !== node)
  return { acks: Math.min(rule.acks, standbys.length), standbys }
}

/** Printed by `understudy config explain`. */
export const ACKS_REASON =
  'A majority of the cluster, counting its primary, so that any two quorums meet and half of the standbys may be lost. ' +
  'Below two standbys there is no quorum: one lost standby would stop every write.'

/** How many of `standbys` must acknowledge (ACKS_REASON). */
export function acksFor(standbys: number): number {
  return standbys < 2 ? 0 : Math.floor((standbys + 1) / 2)
}

/** Of a document that was written before there were any. */
const UNKNOWN_LINEAGE: Lineage = { number: 0, id: '', before: [] }

export function formatPrimacy(primacy: Primacy): string {
  return JSON.stringify({ ...primacy, history: historyToWire(primacy.history) })
}

export function parsePrimacy(text: string): Primacy | null {
  try {
    const value = JSON.parse(text) as Record<string, unknown> | null
    const history = historyFromWire(value?.['history'])
    if (history === null || !isPrimacy(value)) return null
    return {
      ...value,
      history,
      planned: value.planned === true,
      candidate: value.candidate ?? null,
      override: value.override ?? null,
      writtenOff: value.writtenOff ?? {},
      lineage: value.lineage ?? UNKNOWN_LINEAGE,
    }
  } catch {
    return null
  }
}

export function parseIdentity(text: string): Identity | null {
  try {
    const value = JSON.parse(text) as Partial<Identity> | null
    if (typeof value?.systemIdentifier !== 'string' || typeof value.major !== 'number') return null
    return {
      systemIdentifier: value.systemIdentifier,
      major: value.major,
      createdBy: String(value.createdBy),
    }
  } catch {
    return null
  }
}

function isPrimacy(value: unknown): value is Primacy {
  const p = value as Partial<Primacy> | null
  return (
    typeof p === 'object' &&
    p !== null &&
    Number.isInteger(p.epoch) &&
    (p.phase === 'steady' || p.phase === 'electing' || p.phase === 'promoting') &&
    typeof p.primary === 'string' &&
    Number.isInteger(p.timelineId) &&
    Number.isInteger(p.highestTimelineId) &&
    Array.isArray(p.rules) &&
    p.rules.length > 0 &&
    p.rules.every(isRule) &&
    (p.nextRule === null || isRule(p.nextRule)) &&
    (p.override == null || Array.isArray(p.override.missing)) &&
    (p.lineage == null || isLineage(p.lineage))
  )
}

function isLineage({ number, id, before }: Partial<Lineage>): boolean {
  return Number.isInteger(number) && typeof id === 'string' && Array.isArray(before)
}

function isRule(value: unknown): value is Rule {
  const r = value as Partial<Rule> | null
  return (
    typeof r === 'object' &&
    r !== null &&
    Number.isInteger(r.epoch) &&
    typeof r.primary === 'string' &&
    Number.isInteger(r.acks) &&
    Array.isArray(r.standbys) &&
    r.standbys.every((name) => typeof name === 'string')
  )
}
