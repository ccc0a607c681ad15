/** The requests that change the cluster: each asks for the token, takes a body of known shape, and answers with what came of it. */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { Context, Hono } from 'hono'
import type { z } from 'zod'
import type { Outcome } from '../ports/postgres.ts'
import {
  bundleBody,
  cancelBody,
  failoverBody,
  memberBody,
  pauseBody,
  readBody,
  recoverStoreBody,
  reinitBody,
  resumeBody,
  switchoverBody,
} from './bodies.ts'
import type {
  BundleAnswer,
  BundleBody,
  CancelAnswer,
  ChangeAnswer,
  FailoverAnswer,
  FailoverBody,
  MemberAnswer,
  PauseAnswer,
  PauseBody,
  RecoverStoreAnswer,
  RecoverStoreBody,
  ReinitAnswer,
  ReinitBody,
  SwitchoverAnswer,
  SwitchoverBody,
} from './contract.ts'
import { errorBody } from './failures.ts'

/** The agent behind it. Failures are outcomes with a code; a preflight that refuses is an answer. */
export interface ControlSource {
  switchover(body: SwitchoverBody): Promise<Outcome<SwitchoverAnswer>>
  cancelSwitchover(by: string | undefined): Promise<Outcome<CancelAnswer>>
  failover(body: FailoverBody): Promise<Outcome<FailoverAnswer>>
  recoverStore(body: RecoverStoreBody): Promise<Outcome<RecoverStoreAnswer>>
  pause(body: PauseBody): Promise<Outcome<PauseAnswer>>
  reinit(body: ReinitBody): Promise<Outcome<ReinitAnswer>>
  retireMember(node: string, by: string | undefined): Promise<Outcome<MemberAnswer>>
  admitMember(node: string, by: string | undefined): Promise<Outcome<MemberAnswer>>
  bundle(body: BundleBody): Promise<Outcome<BundleAnswer>>
}

/** Whatever changes the cluster asks for the token: reading is open to who reaches the port, commanding is not. */
export function declareControls(app: Hono, source: ControlSource, token: string): void {
  app.use('/v1/*', async (context, next) => {
    if (['GET', 'HEAD', 'OPTIONS'].includes(context.req.method)) return next()
    const given = context.req.header('authorization') ?? ''
    if (sameText(given, `Bearer ${token}`)) return next()
    return context.json(errorBody('auth-failed', 'this request needs the token of the agents'), 401)
  })
  app.post('/v1/switchover', (context) => change(context, switchoverBody, (body) => source.switchover(body)))
  app.delete('/v1/switchover', (context) =>
    answer(context, cancelBody, ({ by }) => source.cancelSwitchover(by)),
  )
  app.post('/v1/failover', (context) => change(context, failoverBody, (body) => source.failover(body)))
  app.post('/v1/recover-store', (context) =>
    change(context, recoverStoreBody, (body) => source.recoverStore(body)),
  )
  app.post('/v1/pause', (context) => answer(context, pauseBody, (body) => source.pause(body)))
  app.post('/v1/resume', (context) =>
    answer(context, resumeBody, ({ by }) => source.pause({ reason: null, by })),
  )
  app.post('/v1/members/:node', (context) =>
    answer(context, memberBody, ({ by }) => source.admitMember(context.req.param('node'), by)),
  )
  app.delete('/v1/members/:node', (context) =>
    answer(context, memberBody, ({ by }) => source.retireMember(context.req.param('node'), by)),
  )
  app.put('/v1/bundle', (context) => answer(context, bundleBody, (body) => source.bundle(body)))
  app.post('/v1/reinit', (context) => change(context, reinitBody, (body) => source.reinit(body)))
}

/** What was refused is 409 with everything that was looked at, unless only a look was asked for. */
async function change<Body extends { readonly dryRun?: boolean | undefined }>(
  context: Context,
  schema: z.ZodType<Body>,
  carryOut: (body: Body) => Promise<Outcome<ChangeAnswer>>,
): Promise<Response> {
  const body = readBody(schema, await context.req.text())
  if (body.kind === 'wrong') return context.json(errorBody('usage', body.reason), 400)
  const outcome = await carryOut(body.value)
  if (outcome.kind === 'failed') return context.json(failureOf(outcome), 409)
  const { refusal } = outcome.value
  if (refusal === null || body.value.dryRun === true) return context.json(outcome.value)
  return context.json({ ...outcome.value, error: refusal }, 409)
}

async function answer<Body>(
  context: Context,
  schema: z.ZodType<Body>,
  carryOut: (body: Body) => Promise<Outcome<object>>,
): Promise<Response> {
  const body = readBody(schema, await context.req.text())
  if (body.kind === 'wrong') return context.json(errorBody('usage', body.reason), 400)
  const outcome = await carryOut(body.value)
  return outcome.kind === 'ok' ? context.json(outcome.value) : context.json(failureOf(outcome), 409)
}

function failureOf(outcome: Extract<Outcome, { kind: 'failed' }>): ReturnType<typeof errorBody> {
  const body = errorBody(outcome.code, outcome.reason)
  return { error: { ...body.error, hint: outcome.hint ?? body.error.hint } }
}

/** In constant time: how much of a guess was right must not show. */
function sameText(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(a), digest(b))
}
