/** Every pool of a proxy process, the route that they follow, and the statements that they share. */
import type { Routing } from '../ports/proxy.ts'
import type { ScramLoginKeys } from '../protocol/scram.ts'
import { sendCancel } from './cancel.ts'
import type { OpenTarget } from './open-target.ts'
import { type Destination, Pool, type PoolContext, type PoolKey, type Waiting } from './pool.ts'
import type { ReadRouter } from './reads/read-router.ts'
import { ServerConnection } from './server-connection.ts'
import { loginToServer } from './server-login.ts'
import type { ProxySettings } from './settings.ts'
import { poolSizeOf } from './shares.ts'
import { StatementRegistry } from './statements.ts'

/** Of all pools together; the ones over it are forgotten when they are unused. */
const MAX_STATEMENTS = 10_000
const NO_STANDBYS: Destination = { kind: 'held', epoch: 0, reason: 'no standby is read from' }

export class Pools {
  readonly registry = new StatementRegistry(MAX_STATEMENTS)
  readonly waiting: Waiting = { count: 0, bytes: 0, refused: 0 }
  readonly #paused = new Set<string>()
  #allPaused = false
  readonly #settings: ProxySettings
  readonly #routing: Routing
  readonly #reads: ReadRouter | null
  readonly #openTarget: OpenTarget
  readonly #pools = new Map<string, Pool>()
  readonly #context: PoolContext
  readonly #unsubscribe: readonly (() => void)[]

  /** `settings` may change while it runs; what they say now counts. `reads` null: no standby is read from. */
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
      size: ({ database, user }) => poolSizeOf(settings, { database, user }),
      get maxWaiting() {
        return settings.maxWaiting
      },
      get maxWaitingBytes() {
        return settings.maxWaitingBytes
      },
      get holdTimeoutMs() {
        return settings.holdTimeoutMs
      },
      get serverIdleTimeoutMs() {
        return settings.serverIdleTimeoutMs
      },
      get serverLifetimeMs() {
        return settings.serverLifetimeMs
      },
      role: 'primary',
      ofStandby: (node) => this.#ofStandby(node),
      destination: () => this.#primary(),
      isPaused: (database) => this.isPaused(database),
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

  /** Those of standbys, too. */
  get all(): readonly Pool[] {
    return [...this.#pools.values()].flatMap((pool) => [pool, ...pool.standbys.values()])
  }

  isPaused(database: string): boolean {
    return this.#allPaused || this.#paused.has(database)
  }

  /** Nobody gets a server there any more; gives how many are not released yet. Can be called again. null: everywhere. */
  pause(database: string | null): number {
    if (database === null) this.#allPaused = true
    else this.#paused.add(database)
    return this.#of(database).reduce((left, pool) => left + pool.pause(), 0)
  }

  /** False: it was not paused, or everything is and not this one alone. */
  resume(database: string | null): boolean {
    const was = database === null ? this.#allPaused || this.#paused.size > 0 : this.#paused.has(database)
    if (database === null) {
      this.#allPaused = false
      this.#paused.clear()
    } else {
      this.#paused.delete(database)
    }
    for (const pool of this.#of(database)) pool.resume()
    return was
  }

  /** Every server connection is made anew as soon as it is free. */
  reconnect(database: string | null): number {
    return this.#of(database).reduce((servers, pool) => servers + pool.reconnect(), 0)
  }

  #of(database: string | null): readonly Pool[] {
    return this.all.filter((pool) => database === null || pool.key.database === database)
  }

  sweep(nowMs: number): void {
    for (const pool of this.all) pool.sweep(nowMs)
  }

  /** Those that no session can be of any more. */
  forgetUnused(inUse: (pool: Pool) => boolean): void {
    for (const [name, pool] of this.#pools) if (pool.isUnused && !inUse(pool)) this.#pools.delete(name)
  }

  close(why: string): void {
    for (const unsubscribe of this.#unsubscribe) unsubscribe()
    for (const pool of this.all) pool.close(why)
  }

  #primary(): Destination {
    const route = this.#routing.current
    return route.kind === 'open' ? { kind: 'open', epoch: route.epoch, node: route.primary } : route
  }

  /** What else it says is asked of the primary's, for it may change. */
  #ofStandby(node: string): PoolContext {
    return Object.setPrototypeOf(
      { role: 'standby', destination: () => this.#reads?.destination(node) ?? NO_STANDBYS },
      this.#context,
    ) as PoolContext
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
