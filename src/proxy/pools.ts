/** Every pool of a proxy process, the route that they follow, and the statements that they share. */
import type { Routing } from '../ports/proxy.ts'
import type { ScramLoginKeys } from '../protocol/scram.ts'
import { sendCancel } from './cancel.ts'
import type { OpenTarget } from './open-target.ts'
import { type Destination, Pool, type PoolContext, type PoolKey } from './pool.ts'
import type { ReadRouter } from './reads/read-router.ts'
import { ServerConnection } from './server-connection.ts'
import { loginToServer } from './server-login.ts'
import type { ProxySettings } from './settings.ts'
import { StatementRegistry } from './statements.ts'

/** Of all pools together; the ones over it are forgotten when they are unused. */
const MAX_STATEMENTS = 10_000
const NO_STANDBYS: Destination = { kind: 'held', epoch: 0, reason: 'no standby is read from' }

export class Pools {
  readonly registry = new StatementRegistry(MAX_STATEMENTS)
  readonly waiting = { count: 0 }
  readonly #settings: ProxySettings
  readonly #routing: Routing
  readonly #reads: ReadRouter | null
  readonly #openTarget: OpenTarget
  readonly #pools = new Map<string, Pool>()
  readonly #context: PoolContext
  readonly #unsubscribe: readonly (() => void)[]

  /** `reads` null: no standby is read from. */
  constructor(
    settings: ProxySettings,
    routing: Routing,
    openTarget: OpenTarget,
    reads: ReadRouter | null = null,
  ) {
    this.#settings = settings
    this.#routing = routing
    this.#reads = reads
    this.#openTarget = openTarget
    this.#context = {
      size: settings.defaultPoolSize,
      maxWaiting: settings.maxWaiting,
      holdTimeoutMs: settings.holdTimeoutMs,
      serverIdleTimeoutMs: settings.serverIdleTimeoutMs,
      serverLifetimeMs: settings.serverLifetimeMs,
      role: 'primary',
      ofStandby: (node) => this.#ofStandby(node),
      destination: () => this.#primary(),
      waiting: this.waiting,
      cancel: (server) => void sendCancel(openTarget, server),
      connect: (destination, key, keys, onClosed) => this.#connect(destination, key, keys, onClosed),
    }
    this.#unsubscribe = [
      routing.subscribe(() => this.#routeChanged()),
      reads?.subscribe(() => this.#rotationChanged()) ?? (() => {}),
    ]
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
    for (const pool of this.#all()) pool.sweep(nowMs)
  }

  /** Those that no session can be of any more. */
  forgetUnused(inUse: (pool: Pool) => boolean): void {
    for (const [name, pool] of this.#pools) if (pool.isUnused && !inUse(pool)) this.#pools.delete(name)
  }

  close(why: string): void {
    for (const unsubscribe of this.#unsubscribe) unsubscribe()
    for (const pool of this.#all()) pool.close(why)
  }

  /** Those of standbys, too. */
  #all(): readonly Pool[] {
    return [...this.#pools.values()].flatMap((pool) => [pool, ...pool.standbys.values()])
  }

  #primary(): Destination {
    const route = this.#routing.current
    return route.kind === 'open' ? { kind: 'open', epoch: route.epoch, node: route.primary } : route
  }

  #ofStandby(node: string): PoolContext {
    return {
      ...this.#context,
      role: 'standby',
      destination: () => this.#reads?.destination(node) ?? NO_STANDBYS,
    }
  }

  #routeChanged(): void {
    for (const pool of this.#pools.values()) pool.destinationChanged()
  }

  #rotationChanged(): void {
    for (const pool of this.#pools.values())
      for (const standby of pool.standbys.values()) standby.destinationChanged()
  }

  async #connect(
    destination: Destination,
    key: PoolKey,
    keys: ScramLoginKeys,
    onClosed: (server: ServerConnection) => void,
  ): Promise<ServerConnection> {
    if (destination.kind !== 'open') throw new Error(destination.reason)
    const { node, epoch } = destination
    const { serverConnectTimeoutMs: timeoutMs } = this.#settings
    const late = new AbortController()
    const timer = setTimeout(
      () => late.abort(new Error(`${node.name} did not answer within ${timeoutMs} ms`)),
      timeoutMs,
    )
    try {
      const socket = await this.#openTarget(node, late.signal)
      try {
        const login = await loginToServer(socket, { ...key, keys }, late.signal)
        return new ServerConnection(socket, login, { epoch, node, onClosed })
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
