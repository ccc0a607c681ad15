/** Every pool of a proxy process, the route that they follow, and the statements that they share. */
import type { Route, Routing } from '../ports/proxy.ts'
import type { ScramLoginKeys } from '../protocol/scram.ts'
import { sendCancel } from './cancel.ts'
import type { OpenTarget } from './open-target.ts'
import { Pool, type PoolContext, type PoolKey } from './pool.ts'
import { ServerConnection } from './server-connection.ts'
import { loginToServer } from './server-login.ts'
import type { ProxySettings } from './settings.ts'
import { StatementRegistry } from './statements.ts'

/** Of all pools together; the ones over it are forgotten when they are unused. */
const MAX_STATEMENTS = 10_000

export class Pools {
  readonly registry = new StatementRegistry(MAX_STATEMENTS)
  readonly waiting = { count: 0 }
  readonly #settings: ProxySettings
  readonly #routing: Routing
  readonly #openTarget: OpenTarget
  readonly #pools = new Map<string, Pool>()
  readonly #context: PoolContext
  readonly #unsubscribe: () => void

  constructor(settings: ProxySettings, routing: Routing, openTarget: OpenTarget) {
    this.#settings = settings
    this.#routing = routing
    this.#openTarget = openTarget
    this.#context = {
      size: settings.defaultPoolSize,
      maxWaiting: settings.maxWaiting,
      holdTimeoutMs: settings.holdTimeoutMs,
      serverIdleTimeoutMs: settings.serverIdleTimeoutMs,
      serverLifetimeMs: settings.serverLifetimeMs,
      route: () => routing.current,
      waiting: this.waiting,
      cancel: (server) => void sendCancel(openTarget, server),
      connect: (key, keys, onClosed) => this.#connect(key, keys, onClosed),
    }
    this.#unsubscribe = routing.subscribe((route) => this.#routeChanged(route))
  }

  /** The pool of a login that was proven; made when there is none. */
  poolOf(key: PoolKey, keys: ScramLoginKeys): Pool {
    const name = poolName(key)
    const known = this.#pools.get(name)
    if (known !== undefined) {
      known.useKeys(keys)
      return known
    }
    const pool = new Pool(key, keys, this.#context)
    this.#pools.set(name, pool)
    return pool
  }

  get size(): number {
    return this.#pools.size
  }

  sweep(nowMs: number): void {
    for (const pool of this.#pools.values()) pool.sweep(nowMs)
  }

  /** Those that no session can be of any more. */
  forgetUnused(inUse: (pool: Pool) => boolean): void {
    for (const [name, pool] of this.#pools) if (pool.isUnused && !inUse(pool)) this.#pools.delete(name)
  }

  close(why: string): void {
    this.#unsubscribe()
    for (const pool of this.#pools.values()) pool.close(why)
  }

  #routeChanged(route: Route): void {
    for (const pool of this.#pools.values()) pool.routeChanged(route)
  }

  async #connect(
    key: PoolKey,
    keys: ScramLoginKeys,
    onClosed: (server: ServerConnection) => void,
  ): Promise<ServerConnection> {
    const route = this.#routing.current
    if (route.kind !== 'open') throw new Error(route.reason)
    const { serverConnectTimeoutMs: timeoutMs } = this.#settings
    const late = new AbortController()
    const timer = setTimeout(
      () => late.abort(new Error(`${route.primary.name} did not answer within ${timeoutMs} ms`)),
      timeoutMs,
    )
    try {
      const socket = await this.#openTarget(route.primary, late.signal)
      try {
        const login = await loginToServer(socket, { ...key, keys }, late.signal)
        return new ServerConnection(socket, login, { epoch: route.epoch, node: route.primary, onClosed })
      } catch (error) {
        socket.destroy()
        throw error
      }
    } finally {
      clearTimeout(timer)
    }
  }
}

function poolName({ user, database, startup }: PoolKey): string {
  const parameters = [...startup].sort(([a], [b]) => (a < b ? -1 : 1)).flat()
  return [user, database, ...parameters].join('\0')
}
