/**
 * What would happen if a node were lost right now: who would take over, or why nobody, and whether writes would go on. By the same
 * functions by which an election is decided, so that the answer is the one that would be given. Pure; for people, nothing is decided by it.
 */
import type { Ballot } from './ballot.ts'
import { overlaps, ruleOfElected, rulesToSatisfy } from './election.ts'
import { lsnOf } from './lsn.ts'
import { acksFor, carriedBy, currentRule, type Primacy, type Rule } from './primacy.ts'
import { firstTimeline } from './timeline.ts'

/** A node that answers and reaches the store; others are taken for lost already. */
export interface Survivor {
  readonly vote: 'whole' | 'gone' | 'none'
  readonly priority: number
  /** It gets WAL of the primary. */
  readonly streams: boolean
}

export interface WhatIfInput {
  readonly primacy: Primacy
  readonly members: readonly string[]
  readonly nodes: ReadonlyMap<string, Survivor>
  readonly storeAnswers: boolean
  readonly paused: boolean
  readonly durability: 'quorum' | 'async'
  readonly whenStandbyLost: 'relax' | 'block'
}

export interface NodeLoss {
  readonly node: string
  /** Who could be the primary then, in order of preference; empty: nobody by itself, or nobody needs to. */
  readonly takesOver: readonly string[]
  /** `goOnLater`: as soon as the rule is relaxed, some ten seconds later. */
  readonly writes: 'goOn' | 'goOnLater' | 'wait'
  /** Acknowledged commits may be on this node alone. */
  readonly mayLoseCommits: boolean
  readonly sentence: string
}

/** In the order of the members. */
export function whatIf(input: WhatIfInput): readonly NodeLoss[] {
  return input.members.map((node) =>
    node === input.primacy.primary ? primaryLost(input, node) : standbyLost(input, node),
  )
}

function primaryLost(input: WhatIfInput, node: string): NodeLoss {
  const { primacy, paused, storeAnswers } = input
  const left = [...input.nodes].filter(([name, { vote }]) => name !== node && vote !== 'none')
  const voters = new Set(left.map(([name]) => name))
  const rules = rulesToSatisfy(primacy)
  const unprotected = rules.some((rule) => rule.acks === 0 && !voters.has(rule.primary))
  const nobody = (why: string, mayLoseCommits = unprotected): NodeLoss => ({
    node,
    takesOver: [],
    writes: 'wait',
    mayLoseCommits,
    sentence: `nobody takes over: ${why}`,
  })
  if (!storeAnswers) return nobody('the store does not answer')
  if (paused) return nobody('failover is paused')
  if (left.length === 0) return nobody('no other node answers and has data')
  const stopped = new Set(rules.filter(({ acks }) => acks === 0).map(({ primary }) => primary))
  const unsatisfied = rules.filter((rule) => !overlaps([rule], voters, stopped))
  if (unsatisfied.length > 0) {
    const missing = unsatisfied.flatMap(({ standbys }) => standbys.filter((name) => !voters.has(name)))
    const names = [...new Set([node, ...missing])].join(' and ')
    return nobody(`the newest acknowledged commits may be on ${names} alone`, true)
  }
  const takesOver = electable(left)
  if (takesOver.length === 0) return nobody('nobody who is left has whole data')
  const follows = takesOver.every((name) => isFollowed(input, name, [...voters]))
  const who = takesOver.join(' or ')
  const loss = unprotected ? ` when the lease of ${node} has run out, and its newest commits may be lost` : ''
  const writes = follows ? ', writes go on' : ', and writes wait until another standby streams from it'
  return {
    node,
    takesOver,
    writes: follows ? 'goOn' : 'wait',
    mayLoseCommits: unprotected,
    sentence: `${who} takes over${loss}${writes}`,
  }
}

/** By priority; one of priority 0 only when there is nobody else (I4). */
function electable(left: readonly (readonly [string, Survivor])[]): readonly string[] {
  const whole = left.filter(([, { vote }]) => vote === 'whole')
  const preferred = whole.filter(([, { priority }]) => priority > 0)
  const order = [...(preferred.length > 0 ? preferred : whole)].sort(
    ([a, { priority: first }], [b, { priority: second }]) => second - first || (a < b ? -1 : 1),
  )
  return order.map(([name]) => name)
}

/** Whether so many follow the elected node that the rule under which it begins can be satisfied. */
function isFollowed(
  { primacy, nodes, durability }: WhatIfInput,
  elected: string,
  voters: readonly string[],
): boolean {
  const rule = currentRule(primacy)
  const ballots = voters.map(
    (node): Ballot => ({
      epoch: primacy.epoch,
      node,
      position: { timelineId: primacy.timelineId, lsn: lsnOf(0n) },
      history: firstTimeline(),
      priority: nodes.get(node)?.priority ?? 0,
      gone: nodes.get(node)?.vote !== 'whole',
      carries: carriedBy(node, rule),
    }),
  )
  const own = ballots.find(({ node }) => node === elected)
  if (own === undefined) return false
  const { acks, standbys } = ruleOfElected(own, primacy, ballots, durability === 'quorum')
  const follow = ballots.filter(({ node, gone }) => !gone && node !== elected && standbys.includes(node))
  return follow.length >= acks
}

function standbyLost(input: WhatIfInput, node: string): NodeLoss {
  const { primacy, nodes, whenStandbyLost } = input
  const streaming = [...nodes].filter(
    ([name, { streams }]) => streams && name !== node && name !== primacy.primary,
  )
  const left = streaming.map(([name]) => name)
  const rules = [currentRule(primacy), ...(primacy.nextRule === null ? [] : [primacy.nextRule])]
  const outcome = { node, takesOver: [], mayLoseCommits: false }
  const needs = rules.filter((rule) => !isAcknowledged(rule, left))
  if (needs.length === 0) return { ...outcome, writes: 'goOn', sentence: 'writes go on' }
  // What remains of the rule must be enough for a smaller one, and never falls to nobody by itself (I10).
  const relaxes = whenStandbyLost === 'relax' && left.length >= Math.max(1, acksFor(left.length))
  if (relaxes && input.storeAnswers)
    return {
      ...outcome,
      writes: 'goOnLater',
      sentence: 'writes go on when the rule is relaxed, some 10 s later',
    }
  return {
    ...outcome,
    writes: 'wait',
    sentence: 'writes wait: too few standbys are left to acknowledge them',
  }
}

function isAcknowledged({ acks, standbys }: Rule, left: readonly string[]): boolean {
  return standbys.filter((name) => left.includes(name)).length >= acks
}
