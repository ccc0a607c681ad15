/**
 * Who is elected, and whether anybody may be: I2 (overlap) and I4 (the most advanced wins). Pure. The reasons are in docs/failover.md.
 */
import { type Ballot, comparePositions } from './ballot.ts'
import { acksFor, type Primacy, type Rule, sameRule } from './primacy.ts'

/**
 * Every rule that an acknowledged commit may stand under: all since the last steady, the one that was being changed to, and what PostgreSQL
 * makes of two while its processes read the new one, each at its time.
 */
export function rulesToSatisfy(primacy: Primacy): readonly Rule[] {
  const { rules, nextRule } = primacy
  if (nextRule === null) return rules
  const own = rules.filter((rule) => rule.epoch === nextRule.epoch && rule.primary === nextRule.primary)
  return [...rules, ...own.flatMap((rule) => mixtureOf(rule, nextRule)), nextRule]
}

/**
 * A walsender that still has the old setting releases commits by the old number, and counts whoever counts itself by the new list
 * (SyncRepGetCandidateStandbys in src/backend/replication/syncrep.c goes by each walsender's own sync_standby_priority): so for a moment the
 * smaller number of either list is enough.
 */
function mixtureOf(a: Rule, b: Rule): readonly Rule[] {
  const acks = Math.min(a.acks, b.acks)
  // Without acknowledgements nothing more is promised than the rule itself says.
  if (acks === 0) return []
  const mixture = { ...b, acks, standbys: [...new Set([...a.standbys, ...b.standbys])].sort() }
  return sameRule(mixture, a) || sameRule(mixture, b) ? [] : [mixture]
}

/**
 * I2: for every rule, either its primary votes, or so many of its standbys that any `acks` of them include a voter. Then each
 * acknowledged commit is on some voter, and, since voters take no WAL any more, no further one can be acknowledged.
 *
 * A rule without acknowledgements promises nothing; its primary alone knows what it acknowledged, and the lease of I10 tells when
 * it has stopped. `resigned` names primaries of such rules that are known to have stopped.
 */
export function overlaps(
  rules: readonly Rule[],
  voters: ReadonlySet<string>,
  resigned: ReadonlySet<string>,
): boolean {
  return rules.every((rule) => satisfies(rule, voters, resigned))
}

function satisfies(rule: Rule, voters: ReadonlySet<string>, resigned: ReadonlySet<string>): boolean {
  if (voters.has(rule.primary)) return true
  if (rule.acks === 0) return resigned.has(rule.primary)
  const voting = rule.standbys.filter((name) => voters.has(name)).length
  return voting >= rule.standbys.length - rule.acks + 1
}

/**
 * The operator's override of I2: whoever is left of the rule has voted, and everybody else is who the operator does without. So what
 * any living node has is still counted (I4), and a voter that vanishes after the operator has looked is waited for. It never stands in
 * for the lease of I10, which ends by itself.
 */
function isWrittenOff(rule: Rule, voters: ReadonlySet<string>, missing: ReadonlySet<string>): boolean {
  if (missing.size === 0 || rule.acks === 0) return false
  return [rule.primary, ...rule.standbys].every((name) => voters.has(name) || missing.has(name))
}

export type Outlook =
  /** I2 does not hold yet. */
  | { readonly kind: 'waiting'; readonly reason: string }
  | { readonly kind: 'elected'; readonly ballot: Ballot }
  /** One that is not electable (priority 0) is ahead of the best electable node; null: nobody who voted is electable. */
  | { readonly kind: 'behind'; readonly best: Ballot | null; readonly ahead: Ballot }

export interface ElectionInput {
  readonly primacy: Primacy
  readonly ballots: readonly Ballot[]
  readonly resigned: ReadonlySet<string>
  /** Wanted by a switchover; wins among equals and may be waited for by the caller. */
  readonly preferred: string | null
}

export function outlook({ primacy, ballots, resigned, preferred }: ElectionInput): Outlook {
  const missing = new Set(primacy.override?.missing)
  const counted = ballots.filter(
    (ballot) => ballot.epoch === primacy.epoch && !(ballot.gone && missing.has(ballot.node)),
  )
  const voters = new Set(counted.map((ballot) => ballot.node))
  const unsatisfied = rulesToSatisfy(primacy).filter((rule) => !satisfies(rule, voters, resigned))
  if (!unsatisfied.every((rule) => isWrittenOff(rule, voters, missing))) {
    return { kind: 'waiting', reason: `votes of ${[...voters].sort().join(', ') || 'nobody'} are not enough` }
  }
  const ahead = counted.reduce<Ballot | null>(
    (best, each) => (best === null || isAhead(each, best) ? each : best),
    null,
  )
  const electable = counted.filter((ballot) => !ballot.gone && ballot.priority > 0)
  const best = [...electable].sort((a, b) => order(a, b, preferred))[0] ?? null
  if (ahead === null) return { kind: 'waiting', reason: 'nobody has voted' }
  if (best !== null && comparePositions(best.position, ahead.position) >= 0)
    return { kind: 'elected', ballot: best }
  if (ahead.gone)
    return {
      kind: 'waiting',
      reason: `${ahead.node} had more than anybody who can be elected, and its data is gone`,
    }
  return { kind: 'behind', best, ahead }
}

/** Among equals what is still there. */
function isAhead(a: Ballot, b: Ballot): boolean {
  const by = comparePositions(a.position, b.position)
  return by > 0 || (by === 0 && b.gone && !a.gone)
}

/** The most advanced first; among equals the wanted one, then the priority, then the name. */
function order(a: Ballot, b: Ballot, preferred: string | null): number {
  const byPosition = comparePositions(b.position, a.position)
  if (byPosition !== 0) return byPosition
  if (a.node === preferred || b.node === preferred) return a.node === preferred ? -1 : 1
  return b.priority - a.priority || (a.node < b.node ? -1 : 1)
}

/**
 * The rule under which the elected node begins: the one that it carries since it joined, because a setting that is in effect needs
 * no reload (I5). But those who have voted are the ones that will follow: when fewer of them than `acks` stand in it, it would wait for
 * nodes that may be dead, so they are added. Alone it waits for whom it knows: the number never falls to zero by itself (I10). Nobody is
 * waited for whom the operator does without.
 */
export function ruleOfElected(
  elected: Ballot,
  primacy: Primacy,
  ballots: readonly Ballot[],
  quorum: boolean,
): Rule {
  const missing = new Set(primacy.override?.missing)
  const standbys = elected.carries.standbys.filter((name) => !missing.has(name))
  const acks = missing.size === 0 ? elected.carries.acks : Math.min(elected.carries.acks, standbys.length)
  const base = { epoch: primacy.epoch, primary: elected.node }
  const others = ballots.filter((ballot) => ballot.node !== elected.node && !ballot.gone)
  const voters = others.map((ballot) => ballot.node).sort()
  const coming = standbys.filter((name) => voters.includes(name))
  if (acks > 0 && standbys.length >= acks && (coming.length >= acks || voters.length === 0))
    return { ...base, acks, standbys }
  const all = acks > 0 ? [...new Set([...standbys, ...voters])].sort() : voters
  const majority = acks > 0 ? Math.max(1, Math.min(acksFor(all.length), voters.length)) : acksFor(all.length)
  const wanted = quorum || acks > 0 ? majority : 0
  return wanted === 0 ? { ...base, acks: 0, standbys: [] } : { ...base, acks: wanted, standbys: all }
}
