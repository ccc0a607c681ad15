/**
 * Changing the rule, by the primary in its own steady epoch, always in this order: nextRule in the store -> PostgreSQL set -> proof ->
 * rules := the new one. Between the first and the last step an election honours both rules (I2), so a crash anywhere is safe, and the
 * next cycle goes on from what the store says.
 */
import type { ClusterView, Versioned } from '../cluster-view.ts'
import type { Action, DecisionRule, Memory, RuleChange, Verdict } from '../decision.ts'
import type { ServerFacts } from '../facts.ts'
import { currentRule, type Primacy, type Rule, sameRule, synchronousStandbyNames } from '../primacy.ts'
import { desiredRule } from '../quorum.ts'
import { walsenderOf } from '../track.ts'
import { ownPrimacy, primaryConfiguration } from './primary.ts'

/** How long a new rule may stay without proof before the old one is put back. */
const GIVE_UP_MS = 15_000

export interface Changing {
  readonly primacy: Versioned<Primacy>
  readonly server: ServerFacts
}

function primaryInOffice(view: ClusterView): Changing | null {
  const primacy = ownPrimacy(view)
  const { server } = view.local
  return primacy === null || server === null || server.inRecovery ? null : { primacy, server }
}

const beginChange: DecisionRule = {
  id: 'quorum-begin',
  evaluate(view, memory) {
    const office = primaryInOffice(view)
    if (office === null || office.primacy.value.nextRule !== null) return null
    const primacy = office.primacy.value
    const wanted = desiredRule(view, memory, primacy, office.server)
    if (wanted === null || recentlyGivenUp(view, memory, wanted)) return null
    const why = `commits shall wait for ${describe(wanted)} instead of ${describe(currentRule(primacy))}`
    return {
      reason: why,
      actions: [
        {
          kind: 'writePrimacy',
          primacy: { ...primacy, nextRule: wanted },
          expected: office.primacy.revision,
          why,
        },
      ],
      memory: {
        ...memory,
        change: { key: keyOf(wanted), startedAtMs: view.now, givingUp: false, ended: null },
      },
    }
  },
}

/** After a rule was given up it is not tried again at once: the same cause would give the same end. */
function recentlyGivenUp(view: ClusterView, memory: Memory, wanted: Rule): boolean {
  const { change } = memory
  return (
    change?.givingUp === true &&
    change.key === keyOf(wanted) &&
    view.now - change.startedAtMs < 4 * GIVE_UP_MS
  )
}

const continueChange: DecisionRule = {
  id: 'quorum-change',
  evaluate(view, memory) {
    const office = primaryInOffice(view)
    const next = office?.primacy.value.nextRule
    if (office === null || next === null || next === undefined) return null
    const change = changeOf(view, memory, next)
    const { value } = office.primacy
    const rule = change.givingUp ? currentRule(value) : next
    const said: Primacy = change.givingUp
      ? { ...value, nextRule: null }
      : { ...value, rules: [rule], nextRule: null }
    return advance(view, { ...memory, change }, office, rule, change, said)
  },
}

export function changeOf(view: ClusterView, memory: Memory, next: Rule): RuleChange {
  const { change } = memory
  if (change === null || change.key !== keyOf(next)) {
    return { key: keyOf(next), startedAtMs: view.now, givingUp: false, ended: null }
  }
  const late = view.now - change.startedAtMs > GIVE_UP_MS
  return late && !change.givingUp ? { ...change, givingUp: true, ended: null } : change
}

/** The next step towards `rule` being in effect and proven; then the store says so. */
export function advance(
  view: ClusterView,
  memory: Memory,
  office: Changing,
  rule: Rule,
  change: RuleChange,
  said: Primacy,
): Verdict {
  const { primacy, server } = office
  const doing = change.givingUp ? `puts ${describe(rule)} back` : `changes to ${describe(rule)}`
  const step = (what: string, actions: readonly Action[], next: Memory = memory): Verdict => ({
    reason: `${doing}: ${what}`,
    actions,
    memory: next,
  })
  const names = synchronousStandbyNames(rule)
  if (view.local.applied?.synchronousStandbyNames !== names) {
    return step('PostgreSQL is set', [
      { kind: 'configure', wanted: primaryConfiguration(primacy.value, rule) },
    ])
  }
  if (server.synchronousStandbyNames !== names) return step('waits until the setting is read', [])
  if (change.ended === null && !walsendersAgree(server, rule)) {
    return step('waits until every walsender has applied it', [])
  }
  if (change.ended === null && numberDiffers(primacy.value)) {
    const pids = server.walsenders
      .filter((each) => rule.standbys.includes(each.applicationName))
      .map((each) => each.pid)
    return step(
      'ends the walsenders, which show no change of the number alone',
      [{ kind: 'endWalsenders', pids }],
      {
        ...memory,
        change: { ...change, ended: pids },
      },
    )
  }
  // One that hangs hears no signal, and releases commits by the old number when it goes on.
  if (server.walsenders.some(({ pid }) => change.ended?.includes(pid) === true)) {
    return step('waits until the walsenders with the old number have ended', [])
  }
  // The first quorum: until the checkpointer has applied it commits wait for nobody, and a proof would pass by being flushed anyway (I5).
  if (rule.acks > 0 && currentRule(primacy.value).acks === 0 && view.local.namesInEffect !== names) {
    const settle: readonly Action[] = view.local.tasks.has('settle') ? [] : [{ kind: 'settle' }]
    return step('every process must have applied it', settle)
  }
  const { proven } = view.local
  if (proven === null || !sameRule(proven.rule, rule) || proven.atMs < change.startedAtMs) {
    if (view.local.tasks.has('prove')) return step('waits for a commit that proves it', [])
    return step('a commit shall prove it', [{ kind: 'prove', rule }])
  }
  const why = change.givingUp ? `${describe(rule)} is in effect again` : `commits wait for ${describe(rule)}`
  return step('proven', [{ kind: 'writePrimacy', primacy: said, expected: primacy.revision, why }], {
    ...memory,
    change: change.givingUp ? { ...change, startedAtMs: view.now } : null,
  })
}

/** The settings in effect are those of the rule in the store; anything else (a lost reload, an ALTER SYSTEM) is put right. */
const keepRule: DecisionRule = {
  id: 'quorum-keep',
  evaluate(view) {
    const office = primaryInOffice(view)
    if (office === null || office.primacy.value.nextRule !== null) return null
    const rule = currentRule(office.primacy.value)
    const names = synchronousStandbyNames(rule)
    const asWritten = view.local.applied?.synchronousStandbyNames === names
    if (asWritten && office.server.synchronousStandbyNames === names) return null
    return {
      reason: `commits must wait for ${describe(rule)}: PostgreSQL is set so again`,
      actions: [{ kind: 'configure', wanted: primaryConfiguration(office.primacy.value, rule) }],
    }
  },
}

/** Its own rule, so that the loop looks often while the first quorum is awaited. */
const awaitQuorum: DecisionRule = {
  id: 'quorum-wait',
  evaluate(view) {
    const office = primaryInOffice(view)
    if (office === null || view.spec.durability === 'async' || view.spec.members.length < 3) return null
    if (currentRule(office.primacy.value).acks > 0) return null
    return { reason: 'commits wait for nobody until two standbys stream', actions: [] }
  },
}

/** pg_stat_replication.sync_priority is what each walsender itself has applied: above zero exactly for those listed. */
function walsendersAgree(server: ServerFacts, rule: Rule): boolean {
  const listed = new Set(rule.acks === 0 ? [] : rule.standbys)
  return (
    server.walsenders.every((each) => each.syncPriority > 0 === listed.has(each.applicationName)) &&
    everyoneThere(server, rule)
  )
}

function everyoneThere(server: ServerFacts, rule: Rule): boolean {
  const there = rule.standbys.filter((name) => walsenderOf(server, name)?.state === 'streaming')
  return there.length >= rule.acks
}

/** The number has changed, and a walsender that both lists name shows no sign of whether it has applied that. */
function numberDiffers(primacy: Primacy): boolean {
  const current = currentRule(primacy)
  const next = primacy.nextRule
  if (next === null || current.acks === next.acks) return false
  return next.standbys.some((name) => current.standbys.includes(name))
}

function keyOf(rule: Rule): string {
  return `${rule.epoch}:${synchronousStandbyNames(rule)}`
}

export function describe(rule: Rule): string {
  return rule.acks === 0 ? 'nobody' : `${rule.acks} of ${rule.standbys.join(', ')}`
}

export const quorumRules: readonly DecisionRule[] = [beginChange, continueChange, keepRule, awaitQuorum]
