/** Finds out whether a COMMIT took place that was left without an answer: asks the primary as soon as there is one, as the client's own role. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Routing } from '../ports/proxy.ts'
import {
  type AskedServer,
  askLater,
  type CommitInDoubt,
  type CommitOutcome,
  outcomeOf,
  PROVE,
} from './commit-doubt.ts'
import type { Pool, WaitingClient } from './pool.ts'
import type { ServerConnection } from './server-connection.ts'

export interface ResolverOptions {
  readonly pool: Pool
  readonly routing: Pick<Routing, 'current'>
  /** Nobody waits for it any more. */
  readonly gone: AbortSignal
  readonly holdTimeoutMs: number
}

const AGAIN_MS = 100

export type Resolved = Exclude<CommitOutcome, 'inProgress'>

/** Ends within a few times what a client may be held; `unknown` when it has not been found out by then. */
export async function resolveCommit(
  doubt: CommitInDoubt,
  before: AskedServer,
  options: ResolverOptions,
): Promise<Resolved> {
  const untilMs = performance.now() + options.holdTimeoutMs
  while (!options.gone.aborted && performance.now() < untilMs) {
    const server = await acquire(options.pool, options.gone)
    if (server === null) return 'unknown'
    const late = setTimeout(
      () => server.close('it did not say in time what became of a COMMIT'),
      options.holdTimeoutMs,
    )
    const outcome = await askServer(server, doubt, before, options)
    clearTimeout(late)
    if (outcome !== 'inProgress') return outcome
    await sleep(AGAIN_MS)
  }
  return 'unknown'
}

async function askServer(
  server: ServerConnection,
  doubt: CommitInDoubt,
  before: AskedServer,
  { pool, routing }: ResolverOptions,
): Promise<CommitOutcome> {
  try {
    const answer = await server.ask(askLater(doubt))
    const route = routing.current
    const nextXid = route.kind === 'open' && route.epoch === server.epoch ? (route.nextXid ?? null) : null
    const at = { epoch: server.epoch, node: server.node.name }
    const outcome = outcomeOf(doubt, before, { ...answer, at, nextXid })
    if (outcome !== 'committed') return outcome
    // It is told as a commit, and has to be as safe as one.
    const proven = await server.ask(PROVE)
    return proven.code === null ? 'committed' : 'unknown'
  } finally {
    pool.release(server)
  }
}

/** null: nobody is to be had. */
function acquire(pool: Pool, gone: AbortSignal): Promise<ServerConnection | null> {
  return new Promise((resolve) => {
    const leave = (): void => {
      pool.leave(client)
      resolve(null)
    }
    const client: WaitingClient = {
      waitingSinceMs: 0,
      granted: (server) => {
        gone.removeEventListener('abort', leave)
        resolve(server)
      },
      refused: () => {
        gone.removeEventListener('abort', leave)
        resolve(null)
      },
      elsewhere: () => {},
    }
    gone.addEventListener('abort', leave, { once: true })
    pool.acquire(client)
  })
}
