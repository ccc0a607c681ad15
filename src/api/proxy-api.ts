/**
 * What a proxy tells over HTTP, at a port of its own: its metrics, whether it lives, and whether clients can write through it. Nobody changes
 * anything here, and no statement or name of a client is shown.
 */
import { Hono } from 'hono'
import type { ProxyFleet, WorkerView } from '../ports/proxy-view.ts'
import { errorBody } from './failures.ts'
import { METRICS_CONTENT_TYPE } from './prometheus.ts'
import { type ProxyMetricsInput, renderProxyMetrics } from './proxy-metrics.ts'

export interface ProxyApiSource extends Pick<ProxyMetricsInput, 'cluster' | 'node' | 'version'> {
  readonly fleet: ProxyFleet
  /** How many workers there are to be. */
  readonly workers: number
  /** Of the primary process where there is one, in bytes; null: the worker is the whole proxy. */
  readonly ownMemory: () => number | null
}

export function createProxyApi(source: ProxyApiSource): Hono {
  const app = new Hono()
  const look = (): Promise<readonly WorkerView[]> => source.fleet.ask('look', { sessions: false })
  app.get('/metrics', async (context) => {
    const { cluster, node, version, workers, ownMemory } = source
    const input = { cluster, node, version, expected: workers, ownMemory: ownMemory(), workers: await look() }
    return context.body(renderProxyMetrics(input), 200, { 'content-type': METRICS_CONTENT_TYPE })
  })
  // A worker answers: the ports are served.
  app.on(['GET', 'HEAD', 'OPTIONS'], ['/v1/alive', '/liveness'], async (context) =>
    (await look()).length > 0 ? context.body(null, 204) : context.body(null, 503),
  )
  // All of them, and they know a primary that takes writes.
  app.on(['GET', 'HEAD', 'OPTIONS'], ['/', '/primary', '/read-write', '/readiness'], async (context) => {
    const workers = await look()
    const open = workers.length === source.workers && workers.every(({ route }) => route.kind === 'open')
    const reason = workers.find(({ route }) => route.kind === 'held')?.route.reason ?? ''
    const epoch = workers.length === 0 ? null : Math.min(...workers.map(({ route }) => route.epoch))
    return context.json({ workers: workers.length, epoch, open, reason }, open ? 200 : 503)
  })
  app.notFound((context) => context.json(errorBody('usage', `there is nothing at ${context.req.path}`), 404))
  app.onError((error, context) => context.json(errorBody('internal', error.message), 500))
  return app
}
