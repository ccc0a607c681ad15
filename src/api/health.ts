/**
 * The health paths of Patroni's REST API, with its meanings, so that a load balancer's configuration works unchanged: 200 or 503, for GET,
 * HEAD and OPTIONS. Answered from the agent's last look, which must be young.
 * Source: Patroni's documentation, "Patroni REST API", health check endpoints.
 */
import type { Context, Hono } from 'hono'
import type { NodeHealth } from '../core/health.ts'
import type { SeenHealth } from './contract.ts'
import { errorBody } from './failures.ts'

/** null during the first moments. */
export type HealthSource = () => SeenHealth | null

interface Asked {
  /** ?lag=: the most that a standby may be behind. */
  readonly maxLagBytes: number | null
  /** ?mode=: what the lag is counted of. */
  readonly mode: 'replayed' | 'received'
  /** ?replication_state=streaming */
  readonly mustStream: boolean
}

type Judge = (health: NodeHealth, asked: Asked) => boolean

const isStandby: Judge = (health, asked) =>
  health.standby && (!asked.mustStream || health.streaming) && isNear(health, asked)

const JUDGES: Readonly<Record<string, Judge>> = {
  // What `option httpchk` of HAProxy asks when it is told nothing more.
  '/': ({ primary }) => primary,
  '/primary': ({ primary }) => primary,
  '/read-write': ({ primary }) => primary,
  '/leader': ({ primary }) => primary,
  '/replica': isStandby,
  '/read-only': (health, asked) => health.primary || isStandby(health, asked),
  '/sync': (health) => health.standby && health.acknowledges === 'sync',
  '/synchronous': (health) => health.standby && health.acknowledges === 'sync',
  '/read-only-sync': (health) => health.primary || (health.standby && health.acknowledges === 'sync'),
  '/quorum': (health) => health.standby && health.acknowledges === 'quorum',
  '/read-only-quorum': (health) => health.primary || (health.standby && health.acknowledges === 'quorum'),
  '/async': (health, asked) => isStandby(health, asked) && health.acknowledges === 'async',
  '/asynchronous': (health, asked) => isStandby(health, asked) && health.acknowledges === 'async',
  // No cluster here follows another one.
  '/standby-leader': () => false,
  '/health': ({ running }) => running,
  '/readiness': (health, asked) =>
    health.primary || (health.standby && health.streaming && isNear(health, asked)),
}

function isNear({ lagBytes }: NodeHealth, { maxLagBytes, mode }: Asked): boolean {
  if (maxLagBytes === null) return true
  const behind = lagBytes[mode]
  return behind !== null && behind <= maxLagBytes
}

const METHODS = ['GET', 'HEAD', 'OPTIONS']

export function declareHealth(app: Hono, source: HealthSource): void {
  for (const [path, judge] of Object.entries(JUDGES))
    app.on(METHODS, path, (context) => answer(context, source(), judge))
  app.on(METHODS, '/liveness', (context) => {
    const seen = source()
    // A process that has just started lives; one whose loop stands still is better started again.
    return context.json({}, seen !== null && isStale(seen) ? 503 : 200)
  })
}

export function isStale({ ageMs, staleMs }: SeenHealth): boolean {
  return ageMs > staleMs
}

function answer(context: Context, seen: SeenHealth | null, judge: Judge): Response {
  const asked = readQuestion(context)
  if (typeof asked === 'string') return context.json(errorBody('usage', asked), 400)
  if (seen === null) return context.json(errorBody('timeout', 'the agent has just started'), 503)
  const { status, health, epoch, ageMs } = seen
  const good = !isStale(seen) && asked !== null && judge(health, asked)
  const reason = isStale(seen)
    ? `the agent has not looked for ${Math.round(ageMs)} ms`
    : asked === null
      ? 'a node has no such tag here'
      : health.reason
  const { name, role, state, timelineId } = status
  const { received, replayed } = health.lagBytes
  const body = {
    ...{ name, role, state, epoch, timelineId, streaming: health.streaming },
    ...{ receivedLagBytes: received, replayLagBytes: replayed, reason },
  }
  return context.json(body, good ? 200 : 503)
}

/** A sentence: it makes no sense. null: a tag is asked for, which no node has. */
function readQuestion(context: Context): Asked | string | null {
  const { lag: most, mode = 'apply', replication_state: state, ...others } = context.req.query()
  const maxLagBytes = most === undefined ? null : bytesOf(most)
  if (most !== undefined && maxLagBytes === null)
    return `lag: ${most} is no size such as 1048576, 64kB or 16MB`
  if (mode !== 'apply' && mode !== 'write') return `mode: ${mode} is neither apply nor write`
  const unknown = Object.keys(others).find((name) => !name.startsWith('tag_'))
  if (unknown !== undefined) return `${unknown} is not known: lag, mode, replication_state and tag_NAME are`
  if (Object.keys(others).length > 0) return null
  if (state !== undefined && state !== 'streaming') return null
  return {
    maxLagBytes,
    mode: mode === 'apply' ? 'replayed' : 'received',
    mustStream: state === 'streaming',
  }
}

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  kb: 1024,
  mb: 1024 ** 2,
  gb: 1024 ** 3,
  tb: 1024 ** 4,
}

function bytesOf(text: string): number | null {
  const parts = /^(\d{1,15})\s*([a-z]*)$/i.exec(text.trim())
  const unit = UNITS[(parts?.[2] ?? '').toLowerCase()]
  return parts === null || unit === undefined ? null : Number(parts[1]) * unit
}
