/**
 * One proxy for each ordered pair of places and each service: what `from` sends to `to` goes through its own, so that any pair can be late,
 * frozen in one direction, or cut. The proxy connects from the address under which `to` knows `from`.
 */
import { ChaosProxy, type Direction } from '../support/chaos-proxy.ts'
import type { Cut, Delay, Place, Service } from './network.ts'

export interface MeshOptions {
  readonly froms: readonly Place[]
  readonly services: readonly Service[]
  /** Where the proxy of a pair listens. */
  pairAddress(from: Place, to: Place): string
  /** Where the service really is. */
  realAddress(to: Place): string
  /** What the service sees its client come from; null: it does not matter. */
  clientAddress(from: Place, to: Place): string | null
}

interface Pair {
  readonly from: Place
  readonly to: Place
  readonly proxy: ChaosProxy
}

export class Mesh {
  readonly #pairs: readonly Pair[]

  private constructor(pairs: readonly Pair[]) {
    this.#pairs = pairs
  }

  static async start(options: MeshOptions): Promise<Mesh> {
    const wanted = options.froms.flatMap((from) =>
      options.services.filter(({ at }) => at !== from).map(({ at, port }) => ({ from, to: at, port })),
    )
    const pairs = await Promise.all(
      wanted.map(async ({ from, to, port }): Promise<Pair> => {
        const localAddress = options.clientAddress(from, to)
        const proxy = await ChaosProxy.start({
          listenHost: options.pairAddress(from, to),
          listenPort: port,
          targetHost: options.realAddress(to),
          targetPort: port,
          ...(localAddress === null ? {} : { localAddress }),
        })
        return { from, to, proxy }
      }),
    )
    return new Mesh(pairs)
  }

  /** From now on exactly these. A direction that is cut is frozen; a cut that rejects refuses connections. */
  cut(cuts: readonly Cut[]): void {
    const has = (from: Place, to: Place, how: Cut['how']): boolean =>
      cuts.some((cut) => cut.from === from && cut.to === to && cut.how === how)
    for (const { from, to, proxy } of this.#pairs) {
      proxy.refuse(has(from, to, 'reject'))
      flow(proxy, 'up', has(from, to, 'drop'))
      flow(proxy, 'down', has(to, from, 'drop'))
    }
  }

  /** From now on exactly these. */
  delay(delays: readonly Delay[]): void {
    for (const { from, to, proxy } of this.#pairs) {
      const ms = delays.filter((each) => each.from === from && each.to === to).map((each) => each.ms)
      proxy.delay(Math.max(0, ...ms))
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#pairs.map(({ proxy }) => proxy.close()))
  }
}

function flow(proxy: ChaosProxy, direction: Direction, frozen: boolean): void {
  if (frozen) proxy.freeze(direction)
  else proxy.thaw(direction)
}
