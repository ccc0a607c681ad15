/** Says of each hold when nothing is under way at this worker any more, unless the route has changed before. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Route, Routing } from '../ports/proxy.ts'

export interface DrainOptions {
  readonly routing: Routing
  /** How many statements and transactions are under way on servers. */
  readonly underWay: () => number
  /** `hold` names the hold. */
  readonly onDrained: (hold: string) => void
}

const LOOK_MS = 5

export class Drain {
  readonly #options: DrainOptions
  readonly #unsubscribe: () => void
  #stopped = false

  constructor(options: DrainOptions) {
    this.#options = options
    this.#unsubscribe = options.routing.subscribe((route) => void this.#drain(route))
    void this.#drain(options.routing.current)
  }

  stop(): void {
    this.#stopped = true
    this.#unsubscribe()
  }

  async #drain(route: Route): Promise<void> {
    if (route.kind !== 'held' || route.hold === undefined) return
    const { routing, underWay, onDrained } = this.#options
    while (underWay() > 0) {
      await sleep(LOOK_MS)
      if (routing.current !== route || this.#stopped) return
    }
    onDrained(route.hold)
  }
}
