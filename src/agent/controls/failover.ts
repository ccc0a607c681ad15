/**
 * `failover` as an operator asks for it: what is left, what is missing, and what that may cost; then the request in the store, bound to
 * the epoch and to exactly the voters that were missing. Every node looks at it again before it begins (core/rules/manual-failover.ts).
 */
import type { FailoverAnswer, FailoverBody, FailoverNode } from '../../api/contract.ts'
import { type Check, failed, passed, refusalOf } from '../../core/check.ts'
import type { ClusterView, FailoverRequest, StoreFacts, Versioned } from '../../core/cluster-view.ts'
import { failoverChecks, failoverOutlook } from '../../core/manual-failover.ts'
import type { Primacy } from '../../core/primacy.ts'
import type { Outcome } from '../../ports/postgres.ts'
import type { ControlContext } from './context.ts'
import { afterStore, refusalBody, SOMEBODY } from './context.ts'
import { candidateOf, type Details, lossesOf, type Sight, seeNodes } from './failover-sight.ts'

const SWAPS = 3

export async function requestFailover(
  context: ControlContext,
  body: FailoverBody,
  details: Details,
): Promise<Outcome<FailoverAnswer>> {
  let answer: FailoverAnswer | null = null
  for (let swap = 0; swap < SWAPS; swap++) {
    const view = await context.fresh()
    if (view.kind === 'failed') return view
    const store = view.value.store
    if (store.kind !== 'read' || store.facts.primacy === null)
      return { kind: 'failed', code: 'store-empty', reason: 'the store knows of no cluster' }
    const { primacy } = store.facts
    answer = plan(view.value, store.facts, primacy, body, details)
    if (answer.refusal !== null || body.dryRun === true) return { kind: 'ok', value: answer }
    const request = requestOf(context, body, answer, primacy)
    const written = await context.store.requestFailover(request, {
      primacy: primacy.revision,
      request: store.facts.failover?.revision ?? null,
    })
    if (written.kind !== 'ok') return afterStore(written)
    if (!written.value) continue
    tell(context, request)
    return { kind: 'ok', value: { ...answer, accepted: true } }
  }
  return {
    kind: 'failed',
    code: 'store-unreachable',
    reason: 'primacy changes faster than the request can be written',
  }
}

function requestOf(
  context: ControlContext,
  body: FailoverBody,
  answer: FailoverAnswer,
  primacy: Versioned<Primacy>,
): FailoverRequest {
  return {
    epoch: primacy.value.epoch,
    to: answer.to,
    missing: answer.missing,
    by: body.by ?? SOMEBODY,
    reason: body.reason ?? null,
    requestedAt: context.clock.timestamp(),
    losses: answer.losses,
  }
}

function tell(context: ControlContext, { by, epoch, to, missing, reason, losses }: FailoverRequest): void {
  context.chronicle.requestTaken(epoch)
  const without =
    missing.length === 0 ? '' : ` without the votes of ${missing.join(', ')}, accepting data loss`
  context.events.add({
    kind: 'failover-requested',
    message: `${by} asks for a failover to ${to}${without}${reason === null ? '' : `: ${reason}`}`,
    epoch,
    details: { missing: missing.join(', '), losses: losses.join(' ') },
  })
  context.wake()
}

function plan(
  view: ClusterView,
  facts: StoreFacts,
  primacy: Versioned<Primacy>,
  body: FailoverBody,
  details: Details,
): FailoverAnswer {
  const { value } = primacy
  const outlook = failoverOutlook(value, facts.nodes, facts.leaseHolder)
  const sight = seeNodes(view, facts, details)
  const to = body.to ?? candidateOf(sight, value.primary)?.name ?? null
  const accepts = body.acceptDataLoss === true
  const missing = accepts ? (body.missing ?? outlook.missing) : []
  const checks: Check[] = [
    ...failoverChecks(facts, value, { epoch: body.epoch ?? value.epoch, missing }),
    ...reachableChecks(outlook.missing, sight),
    ...silentChecks(outlook.voters, sight),
    candidateCheck(view, sight, candidateOf(sight, value.primary), to),
    lossCheck(outlook.mayLose, accepts),
    pendingCheck(facts, value),
  ]
  return {
    epoch: value.epoch,
    phase: value.phase,
    from: value.primary,
    to,
    rules: outlook.rules.map(({ rule: { primary, acks, standbys }, satisfied }) => ({
      primary,
      acks,
      standbys,
      satisfied,
    })),
    voters: outlook.voters,
    missing: outlook.missing,
    mayLoseData: outlook.mayLose,
    losses: outlook.mayLose ? lossesOf(value, outlook, sight) : [],
    nodes: sight.nodes,
    checks,
    accepted: false,
    refusal: refusalBody(refusalOf(checks)),
  }
}

/** Whoever answers and has data would vote, if only it reached the store: what it has must not be given up. */
function reachableChecks(missing: readonly string[], { nodes }: Sight): readonly Check[] {
  const alive = nodes.filter(
    ({ name, answers, vote }) => missing.includes(name) && answers && vote !== 'none' && vote !== null,
  )
  if (alive.length > 0) {
    const names = alive.map(({ name }) => name).join(', ')
    return [
      failed(
        'unreachable',
        'voter-reachable',
        `${names} can be reached from here and has data, but does not vote`,
      ),
    ]
  }
  return missing.length === 0
    ? []
    : [passed('unreachable', `${missing.join(', ')} cannot be reached or has no data`)]
}

/** Their reports have not run out yet: they may be alive and cut off from here only, or have died a moment ago. */
function silentChecks(voters: readonly string[], { nodes }: Sight): readonly Check[] {
  const silent = nodes
    .filter(({ name, answers }) => voters.includes(name) && !answers)
    .map(({ name }) => name)
  if (silent.length === 0) return []
  const message = `${silent.join(', ')} report to the store and do not answer here: if they have died, their votes will be missing in some seconds`
  return [{ check: 'voters-answer', result: 'warning', message }]
}

function candidateCheck(
  view: ClusterView,
  sight: Sight,
  best: FailoverNode | null,
  to: string | null,
): Check {
  const check = 'candidate'
  if (to === null || best === null)
    return failed(check, 'no-candidate', 'nobody who can vote can also be elected')
  if (!view.spec.members.some(({ name }) => name === to))
    return failed(check, 'unknown-node', `the cluster has no node ${to}`)
  const chosen = sight.nodes.find(({ name }) => name === to)
  if (!sight.electable.includes(to))
    return failed(
      check,
      'not-eligible',
      `${to} cannot be elected: it does not report, has no whole data, or priority 0`,
    )
  if (chosen?.position === null || chosen === undefined)
    return { check, result: 'warning', message: `where ${to} is will be known only when it votes` }
  if (sight.behind(to))
    return failed(check, 'better-candidate', `${best.name} has more than ${to}: who has most is elected`)
  return passed(
    check,
    `${to} has ${chosen.position.lsn} on timeline ${chosen.position.timelineId}, nobody who votes has more`,
  )
}

/** Where commits wait for nobody, I2 has nothing to say, and yet there is something to lose. */
function lossCheck(mayLose: boolean, accepts: boolean): Check {
  const check = 'data-loss'
  if (!mayLose) return passed(check, 'every acknowledged commit is on a node that votes')
  if (accepts)
    return { check, result: 'warning', message: 'acknowledged commits may be lost, which is accepted' }
  return failed(check, 'data-loss', 'acknowledged commits may be lost')
}

function pendingCheck(facts: StoreFacts, primacy: Primacy): Check {
  const check = 'no-request'
  const pending = facts.failover?.value
  if (pending === undefined || pending.epoch !== primacy.epoch)
    return passed(check, 'nobody else has asked for one')
  return failed(
    check,
    'request-running',
    `a failover was asked for by ${pending.by} at ${pending.requestedAt}`,
  )
}
