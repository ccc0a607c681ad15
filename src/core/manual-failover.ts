/**
 * What an election that an operator asks for would need and cost: whose votes are missing, which rules that leaves unsatisfied (I2), and
 * whether an operator is needed at all. From the reports in the store, for whoever reports also sees `electing` and votes. Pure.
 */
import { type Check, failed, passed, type Refusal, refusalOf } from './check.ts'
import type { FailoverRequest, NodeReport, StoreFacts } from './cluster-view.ts'
import { overlaps, rulesToSatisfy } from './election.ts'
import { currentRule, type Primacy, type Rule } from './primacy.ts'

export type Reports = ReadonlyMap<string, NodeReport>

export interface RuleOutlook {
  readonly rule: Rule
  /** By the votes that can be had. */
  readonly satisfied: boolean
}

export interface FailoverOutlook {
  readonly rules: readonly RuleOutlook[]
  /** Who can vote now, sorted. */
  readonly voters: readonly string[]
  /** Whose votes the unsatisfied rules lack, sorted; empty: I2 can be satisfied. */
  readonly missing: readonly string[]
  /** Acknowledged commits may be on nobody who votes. */
  readonly mayLose: boolean
}

export function failoverOutlook(
  primacy: Primacy,
  reports: Reports,
  leaseHolder: string | null,
): FailoverOutlook {
  const voters = new Set([...reports.values()].filter((each) => each.vote !== 'none').map(({ name }) => name))
  const rules = rulesToSatisfy(primacy).map((rule) => ({
    rule,
    satisfied: overlaps([rule], voters, resigned(rule, leaseHolder)),
  }))
  const lacking = rules.filter(({ rule, satisfied }) => !satisfied && rule.acks > 0)
  const missing = lacking.flatMap(({ rule }) => membersOf(rule)).filter((name) => !voters.has(name))
  const unprotected = rules.some(({ rule }) => rule.acks === 0 && !voters.has(rule.primary))
  return {
    rules,
    voters: [...voters].sort(),
    missing: [...new Set(missing)].sort(),
    mayLose: missing.length > 0 || unprotected,
  }
}

/** I10: a primary without acknowledgements has stopped when its lease is not its own any more. */
function resigned(rule: Rule, leaseHolder: string | null): ReadonlySet<string> {
  return new Set(leaseHolder === rule.primary ? [] : [rule.primary])
}

function membersOf(rule: Rule): readonly string[] {
  return [rule.primary, ...rule.standbys]
}

/** It runs as the primary of the epoch, and enough of its standbys stream for its commits to be acknowledged. */
export function primaryIsWell(primacy: Primacy, reports: Reports): boolean {
  const report = reports.get(primacy.primary)
  if (primacy.phase !== 'steady' || report?.role !== 'primary' || report.state !== 'running') return false
  const { acks, standbys } = currentRule(primacy)
  return standbys.filter((name) => reports.get(name)?.state === 'streaming').length >= acks
}

/** Its agent may be dead: as long as enough standbys get its WAL its commits are acknowledged. */
export function quorumStreams(primacy: Primacy, reports: Reports): boolean {
  const { acks, standbys } = currentRule(primacy)
  if (primacy.phase !== 'steady' || acks === 0) return false
  return standbys.filter((name) => reports.get(name)?.state === 'streaming').length >= acks
}

/** What the store says against it; looked at when it is asked for, and again by whoever carries it out. */
export function failoverChecks(
  facts: StoreFacts,
  primacy: Primacy,
  request: Pick<FailoverRequest, 'epoch' | 'missing'>,
): readonly Check[] {
  const outlook = failoverOutlook(primacy, facts.nodes, facts.leaseHolder)
  return [
    epochCheck(primacy, request.epoch),
    primaryCheck(primacy, facts.nodes),
    electionCheck(primacy, facts.nodes, outlook),
    votesCheck(outlook, request.missing),
  ]
}

export function failoverRefusal(
  facts: StoreFacts,
  primacy: Primacy,
  request: Pick<FailoverRequest, 'epoch' | 'missing'>,
): Refusal | null {
  return refusalOf(failoverChecks(facts, primacy, request))
}

function epochCheck(primacy: Primacy, epoch: number): Check {
  const check = 'epoch'
  if (epoch === primacy.epoch) return passed(check, `it is still epoch ${epoch}, ${primacy.phase}`)
  return failed(
    check,
    'stale-epoch',
    `it was asked for in epoch ${epoch}, and this is epoch ${primacy.epoch}`,
  )
}

function primaryCheck(primacy: Primacy, reports: Reports): Check {
  const check = 'primary-lost'
  const { primary } = primacy
  if (primaryIsWell(primacy, reports))
    return failed(check, 'primary-well', `the primary ${primary} runs, and its commits are acknowledged`)
  if (quorumStreams(primacy, reports))
    return failed(
      check,
      'primary-well',
      `enough standbys stream from ${primary}: it is alive, only its agent is not`,
      `Start the agent of ${primary} again (\`understudy up\` does for a local cluster), then \`understudy switchover\`.`,
    )
  const report = reports.get(primary)
  const how = report === undefined ? 'does not report' : `reports to be ${report.state}`
  return passed(check, `the primary ${primary} ${how}`)
}

/** An election that can end, ends by itself; another one on top would only make clients wait longer. */
function electionCheck(primacy: Primacy, reports: Reports, outlook: FailoverOutlook): Check {
  const check = 'no-election'
  const { phase, primary, epoch } = primacy
  const ends =
    (phase === 'electing' && outlook.missing.length === 0) || (phase === 'promoting' && reports.has(primary))
  if (!ends) return passed(check, 'no election runs that could end by itself')
  const what = phase === 'electing' ? 'votes are being counted' : `${primary} is being promoted`
  return failed(check, 'election-running', `an election is running (epoch ${epoch}): ${what}`)
}

function votesCheck(outlook: FailoverOutlook, missing: readonly string[]): Check {
  const check = 'votes'
  const seen = outlook.missing.join(', ')
  if (missing.length === 0) {
    if (seen === '')
      return passed(check, `votes of ${outlook.voters.join(', ') || 'nobody'} satisfy every rule (I2)`)
    return failed(check, 'data-loss', `without the votes of ${seen} acknowledged commits may be lost (I2)`)
  }
  if (seen === [...missing].sort().join(', '))
    return { check, result: 'warning', message: `goes on without the votes of ${seen}, as asked for` }
  return failed(
    check,
    'votes-changed',
    `the votes of ${missing.join(', ')} were missing when it was asked for, now it is ${seen || 'nobody'}`,
  )
}
