/**
 * The agent's HTTP API. Every answer comes from the last snapshot, never from a question to PostgreSQL inside a request, so that a
 * hung database cannot hang the health of its own node.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { Server } from 'node:http'
import { serve } from '@hono/node-server'
import { Hono } from 'hono'
import { streamSSE } from 'hono/streaming'
import { ERRORS, type ErrorCode, UnderstudyError } from '../errors/codes.ts'
import type { Outcome } from '../ports/postgres.ts'
import type {
  ClusterEvent,
  ClusterStatus,
  ErrorBody,
  NodeDetail,
  SwitchoverAnswer,
  SwitchoverBody,
  Why,
} from './contract.ts'

/** What the API tells; the agent behind it. */
export interface ApiSource {
  /** null during the first moments, before the first cycle has ended. */
  node(): NodeDetail | null
  why(): Why
  cluster(): Promise<ClusterStatus>
  eventsAfter(id: number): readonly ClusterEvent[]
  subscribe(listener: (event: ClusterEvent) => void): () => void
  /** These change something: failures are outcomes with a code. */
  switchover(body: SwitchoverBody): Promise<Outcome<SwitchoverAnswer>>
  pause(reason: string | null): Promise<Outcome>
  reinit(): Promise<Outcome>
}

export interface RunningApi {
  stop(): Promise<void>
}

const HEARTBEAT_MS = 15_000

export function createApi(source: ApiSource, token: string): Hono {
  const app = new Hono()
  app.get('/v1/cluster', async (context) => context.json(await source.cluster()))
  app.get('/v1/node', (context) => {
    const detail = source.node()
    return detail === null
      ? context.json(errorBody('timeout', 'the agent has just started'), 503)
      : context.json(detail)
  })
  // Answered from nothing: whether this process lives.
  app.get('/v1/alive', (context) => context.body(null, 204))
  app.get('/v1/why', (context) => context.json(source.why()))
  app.get('/v1/events', (context) => {
    const after = Number(context.req.query('after') ?? context.req.header('last-event-id') ?? 0)
    const from = Number.isSafeInteger(after) && after >= 0 ? after : 0
    if (context.req.header('accept')?.includes('text/event-stream') !== true) {
      return context.json(source.eventsAfter(from))
    }
    return streamSSE(context, (stream) => streamEvents(source, stream, from))
  })
  declareControls(app, source, token)
  app.notFound((context) => context.json(errorBody('usage', `there is nothing at ${context.req.path}`), 404))
  app.onError((error, context) => context.json(errorBody('internal', error.message), 500))
  return app
}

/** Whatever changes the cluster asks for the token: reading is open to who reaches the port, commanding is not. */
function declareControls(app: Hono, source: ApiSource, token: string): void {
  app.use('/v1/*', async (context, next) => {
    if (context.req.method === 'GET' || context.req.method === 'HEAD') return next()
    const given = context.req.header('authorization') ?? ''
    if (sameText(given, `Bearer ${token}`)) return next()
    return context.json(errorBody('auth-failed', 'this request needs the token of the agents'), 401)
  })
  app.post('/v1/switchover', async (context) => {
    const body: unknown = await context.req.json().catch(() => null)
    if (!isSwitchover(body))
      return context.json(errorBody('usage', 'the body is { "to"?: NODE, "dryRun"?: true }'), 400)
    return answer(await source.switchover(body))
  })
  app.post('/v1/pause', async (context) => {
    const body = (await context.req.json().catch(() => null)) as { reason?: unknown } | null
    const reason = body?.reason
    if (reason !== null && typeof reason !== 'string') {
      return context.json(errorBody('usage', 'the body is { "reason": TEXT or null }'), 400)
    }
    return answer(await source.pause(reason))
  })
  app.post('/v1/reinit', async () => answer(await source.reinit()))
}

function isSwitchover(body: unknown): body is SwitchoverBody {
  if (typeof body !== 'object' || body === null) return false
  const { to, dryRun } = body as { to?: unknown; dryRun?: unknown }
  return (to === undefined || typeof to === 'string') && (dryRun === undefined || typeof dryRun === 'boolean')
}

function answer(outcome: Outcome<unknown>): Response {
  if (outcome.kind === 'ok') return Response.json(outcome.value ?? {})
  const body = errorBody(outcome.code, outcome.reason)
  const hint = outcome.hint ?? body.error.hint
  return Response.json({ error: { ...body.error, hint } }, { status: 409 })
}

/** In constant time: how much of a guess was right must not show. */
function sameText(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(a), digest(b))
}

type EventStream = Parameters<Parameters<typeof streamSSE>[1]>[0]

async function streamEvents(source: ApiSource, stream: EventStream, after: number): Promise<void> {
  const waiting: ClusterEvent[] = [...source.eventsAfter(after)]
  let wake: (() => void) | null = null
  const unsubscribe = source.subscribe((event) => {
    waiting.push(event)
    wake?.()
  })
  stream.onAbort(() => {
    unsubscribe()
    wake?.()
  })
  try {
    while (!stream.aborted) {
      for (const event of waiting.splice(0)) {
        await stream.writeSSE({ id: String(event.id), event: event.kind, data: JSON.stringify(event) })
      }
      const slept = await sleep(HEARTBEAT_MS, (resolve) => {
        wake = resolve
      })
      if (slept && !stream.aborted) await stream.write(': still here\n\n')
    }
  } finally {
    unsubscribe()
  }
}

/** true when the time has passed, false when woken before. */
function sleep(ms: number, onWaker: (wake: () => void) => void): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(true), ms)
    timer.unref()
    onWaker(() => {
      clearTimeout(timer)
      resolve(false)
    })
  })
}

function errorBody(code: ErrorCode, message: string): ErrorBody {
  return { error: { code, message, hint: ERRORS[code].hint } }
}

/** Errors: port-taken. */
export async function serveApi(
  source: ApiSource,
  options: { readonly host: string; readonly port: number; readonly token: string },
): Promise<RunningApi> {
  const app = createApi(source, options.token)
  const server = await new Promise<Server>((resolve, reject) => {
    const listening = serve({ fetch: app.fetch, hostname: options.host, port: options.port }, () =>
      resolve(listening as Server),
    )
    listening.on('error', (error: NodeJS.ErrnoException) => reject(classify(error, options.port)))
  })
  return {
    stop: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve())
        // Event streams never end by themselves.
        server.closeAllConnections()
      }),
  }
}

function classify(error: NodeJS.ErrnoException, port: number): Error {
  if (error.code !== 'EADDRINUSE') return error
  return new UnderstudyError('port-taken', `port ${port} for the agent is in use by another program`, {
    cause: error,
  })
}
