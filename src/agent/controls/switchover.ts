/**
 * `switchover` as an operator asks for it: the preflight, a checkpoint so that the stop is short, and the request in the store, bound to
 * the primacy that the operator saw. The decision carries it out. One request at a time: the store lets one through.
 */
import type { CancelAnswer, SwitchoverAnswer, SwitchoverBody } from '../../api/contract.ts'
import { type Check, failed, passed, type Refusal, refusalOf } from '../../core/check.ts'
import type { ClusterView, SwitchoverRequest, Versioned } from '../../core/cluster-view.ts'
import type { Primacy } from '../../core/primacy.ts'
import { bestCandidate, switchoverChecks } from '../../core/switchover-checks.ts'
import type { Outcome } from '../../ports/postgres.ts'
import type { ControlContext } from './context.ts'
import { afterStore, refusalBody, SOMEBODY } from './context.ts'
import { withProxiesHeld } from './hold-proxies.ts'

/** A checkpoint of a large database takes its time; without it the stop would, and clients would wait for that. */
const CHECKPOINT_DEADLINE_MS = 60_000
/** The document's revision moves with every change of the quorum. */
const SWAPS = 3
const DAY_MS = 86_400_000
const FURTHEST_MS = 90 * DAY_MS
/** A schedule that could not be kept so long is not carried out late. */
const STALE_MS = 60_000

export async function requestSwitchover(
  context: ControlContext,
  body: SwitchoverBody,
): Promise<Outcome<SwitchoverAnswer>> {
  const now = context.clock.timestamp()
  const schedule = body.at === undefined ? null : scheduleCheck(body.at, now)
  const before = context.view()
  if (before === null) return starting()
  const first = plan(before, body, schedule)
  if (first.refusal !== null || body.dryRun === true) return { kind: 'ok', value: first }
  const chosen = { ...body, to: first.to ?? undefined }
  if (body.at !== undefined) return take(context, chosen, schedule)
  await context.checkpoint(CHECKPOINT_DEADLINE_MS)
  return withProxiesHeld(context, holdOf(first.epoch, first.to), async () => {
    const value = await take(context, chosen, schedule)
    return { begun: value.kind === 'ok' && value.value.accepted, value }
  })
}

function holdOf(
  epoch: number | null,
  to: string | null,
): { readonly epoch: number; readonly reason: string } {
  return { epoch: epoch ?? 0, reason: `a switchover to ${to ?? 'another node'} is about to begin` }
}

async function take(
  context: ControlContext,
  body: SwitchoverBody,
  schedule: Check | null,
): Promise<Outcome<SwitchoverAnswer>> {
  let answer: SwitchoverAnswer | null = null
  for (let swap = 0; swap < SWAPS; swap++) {
    const view = await context.fresh()
    if (view.kind === 'failed') return view
    answer = plan(view.value, body, schedule)
    const primacy = primacyOf(view.value)
    if (answer.refusal !== null || answer.to === null || primacy === null) break
    const replaced = pendingOf(view.value)
    const request = requestOf(context, body, answer.to, primacy)
    const written = await context.store.requestSwitchover(request, {
      primacy: primacy.revision,
      request: replaced?.revision ?? null,
    })
    if (written.kind !== 'ok') return afterStore(written)
    if (!written.value) continue
    tell(context, request)
    return { kind: 'ok', value: { ...answer, accepted: true } }
  }
  return answer === null || answer.refusal === null
    ? {
        kind: 'failed',
        code: 'store-unreachable',
        reason: 'primacy changes faster than the request can be written',
      }
    : { kind: 'ok', value: answer }
}

function requestOf(
  context: ControlContext,
  body: SwitchoverBody,
  to: string,
  primacy: Versioned<Primacy>,
): SwitchoverRequest {
  return {
    to,
    epoch: primacy.value.epoch,
    session: body.at === undefined ? context.session : null,
    at: body.at ?? null,
    by: body.by ?? SOMEBODY,
    requestedAt: context.clock.timestamp(),
  }
}

function tell(context: ControlContext, { to, by, at, epoch }: SwitchoverRequest): void {
  if (at === null) context.chronicle.requestTaken(epoch)
  context.events.add({
    kind: at === null ? 'switchover-requested' : 'switchover-scheduled',
    message: `${by} asks for a switchover to ${to}${at === null ? '' : ` at ${at}`}`,
    epoch,
  })
  context.wake()
}

/** The preflight, with what the store holds and what the operator has seen. */
function plan(view: ClusterView, body: SwitchoverBody, schedule: Check | null): SwitchoverAnswer {
  const primacy = primacyOf(view)
  const to = body.to ?? bestCandidate(view)
  const checks: Check[] = [
    ...(body.epoch === undefined ? [] : [epochCheck(body.epoch, primacy?.value ?? null)]),
    ...(schedule === null ? [] : [schedule]),
    ...candidateChecks(view, to),
  ]
  if (refusalOf(checks) === null) checks.push(pendingCheck(pendingOf(view), primacy))
  return {
    from: view.self,
    to,
    epoch: primacy?.value.epoch ?? null,
    at: body.at ?? null,
    checks,
    accepted: false,
    refusal: refusalBody(refusalOf(checks)),
  }
}

function candidateChecks(view: ClusterView, to: string | null): readonly Check[] {
  if (to !== null) return switchoverChecks(view, to)
  // Of anybody: what is in the way of every node is told, else why each of them is refused.
  const others = view.spec.members.filter(({ name }) => name !== view.self)
  const reasons = others.flatMap(({ name }) => refusalOf(switchoverChecks(view, name)) ?? [])
  const general = reasons.find(({ code }) => GENERAL.has(code))
  if (general !== undefined) return [failed('primary', general.code, general.message, general.hint)]
  const each = reasons.map(({ message }) => message).join('; ')
  return [
    failed(
      'candidate',
      'no-candidate',
      `nobody can be the primary instead: ${each || 'there is no other node'}`,
    ),
  ]
}

const GENERAL: ReadonlySet<Refusal['code']> = new Set([
  'store-unreachable',
  'election-running',
  'not-primary',
  'failover-paused',
])

function epochCheck(seen: number, primacy: Primacy | null): Check {
  if (seen === primacy?.epoch) return passed('epoch', `it is still epoch ${seen}`)
  const now = primacy === null ? 'none' : `epoch ${primacy.epoch} (${primacy.reason})`
  return failed('epoch', 'stale-epoch', `you saw epoch ${seen}, and this is ${now}`)
}

/** One of an older epoch is void and is replaced. */
function pendingCheck(
  pending: Versioned<SwitchoverRequest> | null,
  primacy: Versioned<Primacy> | null,
): Check {
  const check = 'no-request'
  if (pending === null || pending.value.epoch !== primacy?.value.epoch)
    return passed(check, 'no other switchover was asked for')
  const { to, by, at, requestedAt, session } = pending.value
  if (session === null)
    return failed(
      check,
      'request-running',
      `a switchover to ${to} at ${at} was scheduled by ${by} at ${requestedAt}`,
      'Take it back first: `understudy switchover --cancel`.',
    )
  return failed(check, 'request-running', `a switchover to ${to} was asked for by ${by} at ${requestedAt}`)
}

function pendingOf(view: ClusterView): Versioned<SwitchoverRequest> | null {
  return view.store.kind === 'read' ? view.store.facts.switchover : null
}

function primacyOf(view: ClusterView): Versioned<Primacy> | null {
  return view.store.kind === 'read' ? view.store.facts.primacy : null
}

function scheduleCheck(at: string, now: string): Check {
  const check = 'schedule'
  const zoned = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/.test(at)
  const inMs = Date.parse(at) - Date.parse(now)
  if (!zoned || Number.isNaN(inMs)) return failed(check, 'bad-time', `${at} is no time with a time zone`)
  if (inMs <= 0) return failed(check, 'bad-time', `${at} has passed: here it is ${now}`)
  if (inMs > FURTHEST_MS)
    return failed(check, 'bad-time', `${at} is more than ${FURTHEST_MS / DAY_MS} days away`)
  return passed(
    check,
    `it would begin at ${at}, by the clock of the primary’s agent, or within a minute after`,
  )
}

/** Any agent can do it. */
export async function cancelSwitchover(context: ControlContext, by: string): Promise<Outcome<CancelAnswer>> {
  const view = await context.fresh()
  if (view.kind === 'failed') return view
  const pending = pendingOf(view.value)
  const gone = {
    kind: 'failed',
    code: 'no-request',
    reason: 'no switchover waits to be carried out',
  } as const
  if (pending === null) return gone
  const dropped = await context.store.dropRequest('switchover', pending.revision)
  if (dropped.kind !== 'ok') return afterStore(dropped)
  if (!dropped.value) return gone
  const { to, at } = pending.value
  context.events.add({
    kind: 'switchover-cancelled',
    message: `${by} takes back the switchover to ${to} that ${pending.value.by} asked for`,
  })
  return { kind: 'ok', value: { to, at, by: pending.value.by } }
}

/** Whether the schedule is due. Time of day is only ever used here: for a person's wish, with a limit (it jumps). */
export async function keepSchedule(context: ControlContext): Promise<void> {
  const view = context.view()
  const pending = view === null ? null : pendingOf(view)
  const primacy = view === null ? null : primacyOf(view)
  if (view === null || pending === null || pending.value.session !== null || pending.value.at === null) return
  // What is of another epoch the decision removes.
  if (primacy?.value.primary !== view.self || primacy.value.phase !== 'steady') return
  if (primacy.value.epoch !== pending.value.epoch) return
  const lateMs = Date.parse(context.clock.timestamp()) - Date.parse(pending.value.at)
  if (lateMs < 0) return
  const { to, by, epoch } = pending.value
  const taken =
    lateMs > STALE_MS
      ? { refused: `its time was ${pending.value.at}, more than ${STALE_MS / 1_000} s ago` }
      : await begin(context, pending, primacy.revision)
  if (taken === null) return
  await context.store.dropRequest('switchover', pending.revision)
  context.events.add({
    kind: 'switchover-refused',
    message: `the switchover to ${to} that ${by} had scheduled is not carried out: ${taken.refused}`,
    epoch,
  })
}

/** null: it goes on as any other request does. */
async function begin(
  context: ControlContext,
  { value, revision }: Versioned<SwitchoverRequest>,
  primacy: bigint,
): Promise<{ readonly refused: string } | null> {
  const view = context.view()
  const refusal = view === null ? null : refusalOf(switchoverChecks(view, value.to))
  if (refusal !== null) return { refused: refusal.message }
  await context.checkpoint(CHECKPOINT_DEADLINE_MS)
  const due = { ...value, session: context.session }
  await withProxiesHeld(context, holdOf(value.epoch, value.to), async () => {
    const written = await context.store.requestSwitchover(due, { primacy, request: revision })
    const begun = written.kind === 'ok' && written.value
    if (begun) {
      context.chronicle.requestTaken(value.epoch)
      context.wake()
    }
    return { begun, value: null }
  })
  // Not written: primacy has moved, and the next look tries again until it is too late.
  return null
}

function starting(): Outcome<never> {
  return { kind: 'failed', code: 'timeout', reason: 'the agent has just started' }
}
