/**
 * `recover-store`: asks every member for what it has promised and for the newest document that it knows, and puts that back into a store that
 * has forgotten it, above everything that was promised. What comes then is an ordinary election.
 */
import { randomBytes } from 'node:crypto'
import type { NodeDetail, RecoverStoreAnswer, RecoverStoreBody, RecoveryNode } from '../../api/contract.ts'
import { failed, passed, refusalOf } from '../../core/check.ts'
import { parsePrimacy } from '../../core/primacy.ts'
import { type MemberKnowledge, planRecovery, type RecoveryPlan } from '../../core/store-recovery.ts'
import type { ClusterFacts } from '../../ports/cluster-store.ts'
import type { Outcome } from '../../ports/postgres.ts'
import { afterStore, type ControlContext, refusalBody, SOMEBODY } from './context.ts'
import type { Details } from './failover-sight.ts'

export async function recoverStore(
  context: ControlContext,
  body: RecoverStoreBody,
  details: Details,
): Promise<Outcome<RecoverStoreAnswer>> {
  // As it is: this is for when it is not believed.
  const facts = await context.store.readFacts()
  if (facts.kind !== 'ok') return { kind: 'failed', code: 'store-unreachable', reason: facts.reason }
  const plan = planFor(context, body, details, facts.value)
  const answer = answerOf(plan, body, details, facts.value)
  if (answer.refusal !== null || body.dryRun === true || plan.document === null)
    return { kind: 'ok', value: answer }
  const written = await write(context, plan, facts.value)
  if (written.kind === 'failed') return written
  const { epoch, primary, reason } = plan.document.primacy
  context.events.add({
    kind: 'store-recovered',
    message: `${reason}: an election begins in epoch ${epoch}`,
    epoch,
    details: { source: plan.source, primary, losses: plan.losses.join(' ') },
  })
  context.wake()
  return { kind: 'ok', value: { ...answer, accepted: true } }
}

function planFor(
  context: ControlContext,
  body: RecoverStoreBody,
  details: Details,
  store: ClusterFacts,
): RecoveryPlan {
  const answers = [...details].flatMap(([name, detail]) =>
    detail === null ? [] : [knowledgeOf(name, detail)],
  )
  return planRecovery({
    self: context.node,
    members: [...details.keys()],
    answers: new Map(answers.map((each) => [each.name, each])),
    store,
    without: body.without ?? [],
    acceptDataLoss: body.acceptDataLoss === true,
    by: body.by ?? SOMEBODY,
    reason: body.reason ?? null,
    id: randomBytes(6).toString('hex'),
  })
}

/** What another agent says may be of another version: a document that cannot be read is none. */
function knowledgeOf(
  name: string,
  { promisedEpoch, known, systemIdentifier, status }: NodeDetail,
): MemberKnowledge {
  const primacy = known == null ? null : parsePrimacy(known.text)
  return {
    name,
    promisedEpoch,
    known: known == null || primacy === null ? null : { primacy, identity: known.identity },
    systemIdentifier,
    timelineId: status.timelineId,
  }
}

/** The lease comes first, so that it cannot be missing: a new one that is bound to nothing ends by itself. */
async function write(context: ControlContext, plan: RecoveryPlan, facts: ClusterFacts): Promise<Outcome> {
  const { store } = context
  if (plan.document === null)
    return { kind: 'failed', code: 'nothing-known', reason: 'nobody knows any document' }
  let lease: { readonly holder: string; readonly leaseId: bigint } | null = null
  if (plan.leaseHolder !== null) {
    const granted = await store.grantLease(context.primaryLeaseMs)
    if (granted.kind !== 'ok') return afterStore(granted)
    lease = { holder: plan.leaseHolder, leaseId: granted.value.leaseId }
  }
  const written = await store.recover({ ...plan.document, lease }, facts.primacy?.revision ?? null)
  if (written.kind !== 'ok') return afterStore(written)
  return written.value
    ? { kind: 'ok', value: null }
    : { kind: 'failed', code: 'stale-epoch', reason: 'the store has changed since it was looked at' }
}

function answerOf(
  plan: RecoveryPlan,
  body: RecoverStoreBody,
  details: Details,
  store: ClusterFacts,
): RecoverStoreAnswer {
  const primacy = plan.document?.primacy ?? null
  const checks = [...plan.checks, ...epochCheck(body.epoch, primacy?.epoch ?? null)]
  return {
    store: { epoch: store.primacy?.value.epoch ?? null, phase: store.primacy?.value.phase ?? null },
    nodes: [...details].map(([name, detail]) => nodeOf(name, detail)),
    source: plan.source,
    epoch: primacy?.epoch ?? null,
    primary: primacy?.primary ?? null,
    rules: (primacy?.rules ?? []).map(({ primary, acks, standbys }) => ({ primary, acks, standbys })),
    losses: plan.losses,
    checks,
    accepted: false,
    refusal: refusalBody(refusalOf(checks)),
  }
}

function epochCheck(seen: number | undefined, now: number | null): ReturnType<typeof passed>[] {
  if (seen === undefined || now === null) return []
  if (seen === now) return [passed('epoch', `an election begins in epoch ${now}`)]
  return [failed('epoch', 'stale-epoch', `epoch ${seen} was to be put back, and now it would be ${now}`)]
}

function nodeOf(name: string, detail: NodeDetail | null): RecoveryNode {
  const known = detail?.known ?? null
  return {
    name,
    answers: detail !== null,
    promisedEpoch: detail?.promisedEpoch ?? null,
    known: known === null ? null : { epoch: known.epoch, phase: known.phase, primary: known.primary },
    timelineId: detail?.status.timelineId ?? null,
    systemIdentifier: detail?.systemIdentifier ?? null,
  }
}
