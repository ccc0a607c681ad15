/**
 * The agent's HTTP API. Every answer comes from the last snapshot, never from a question to PostgreSQL inside a request, so that a
 * hung database cannot hang the health of its own node.
 */
import { Hono } from 'hono'
import { streamSSE } from 'hono/streaming'
import type { HistoryRecord } from '../core/history.ts'
import type { ClusterEvent, ClusterStatus, NodeDetail, SeenHealth, Why } from './contract.ts'
import { type ControlSource, declareControls } from './controls.ts'
import { errorBody } from './failures.ts'
import { declareHealth, isStale } from './health.ts'
import { historyEntries } from './history.ts'
import { type ApiTls, type Listening, serveApp } from './listen.ts'
import { type MetricsInput, renderMetrics } from './metrics.ts'
import { declarePositions, type PositionSource } from './positions.ts'
import { METRICS_CONTENT_TYPE } from './prometheus.ts'

/** What the API tells; the agent behind it. */
export interface ApiSource extends ControlSource {
  /** null during the first moments, before the first cycle has ended. */
  node(): NodeDetail | null
  why(): Why
  cluster(): Promise<ClusterStatus>
  eventsAfter(id: number): readonly ClusterEvent[]
  subscribe(listener: (event: ClusterEvent) => void): () => void
  history(): Promise<readonly HistoryRecord[]>
  /** null during the first moments. */
  health(): SeenHealth | null
  metrics(): MetricsInput
  readonly positions: PositionSource
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
  // Answered from memory. One whose loop is stuck, on a disk that hangs for one, does nothing that the others could wait for.
  app.get('/v1/alive', (context) => {
    const seen = source.health()
    return context.body(null, seen !== null && isStale(seen) ? 503 : 204)
  })
  app.get('/v1/why', (context) => context.json(source.why()))
  app.get('/v1/events', (context) => {
    const after = Number(context.req.query('after') ?? context.req.header('last-event-id') ?? 0)
    const from = Number.isSafeInteger(after) && after >= 0 ? after : 0
    if (context.req.header('accept')?.includes('text/event-stream') !== true) {
      return context.json(source.eventsAfter(from))
    }
    return streamSSE(context, (stream) => streamEvents(source, stream, from))
  })
  app.get('/v1/history', async (context) => {
    const epoch = context.req.query('epoch')
    const entries = historyEntries(await source.history())
    return context.json(entries.filter((each) => epoch === undefined || String(each.epoch) === epoch))
  })
  app.get('/metrics', (context) =>
    context.body(renderMetrics(source.metrics()), 200, { 'content-type': METRICS_CONTENT_TYPE }),
  )
  declareHealth(app, () => source.health())
  declarePositions(app, source.positions)
  declareControls(app, source, token)
  app.notFound((context) => context.json(errorBody('usage', `there is nothing at ${context.req.path}`), 404))
  app.onError((error, context) => context.json(errorBody('internal', error.message), 500))
  return app
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

export interface ServeOptions {
  readonly node: string
  /** Addresses of this machine; '*' is every one. */
  readonly listen: readonly string[]
  readonly port: number
  readonly token: string
  /** null: HTTP without TLS. */
  readonly tls: ApiTls | null
}

/** Errors: port-taken, wrong-host. */
export function serveApi(source: ApiSource, options: ServeOptions): Promise<Listening> {
  const { node, token, ...where } = options
  return serveApp(createApi(source, token), { ...where, what: { owner: 'the agent', listener: node } })
}
