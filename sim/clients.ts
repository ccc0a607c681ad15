/** Clients: each appends something unique at whatever writable node it reaches, and notes what was acknowledged. */
import { CLIENT } from './network.ts'
import type { SimNode } from './node.ts'
import { commit } from './postgres.ts'
import type { World } from './world.ts'

export class Clients {
  readonly #world: World
  /** Mean pause between two commits of one client. */
  pauseMs = 600
  lastAcknowledgedAtMs = 0
  #shift = 0

  constructor(world: World) {
    this.#world = world
  }

  start(count: number): void {
    this.#shift++
    for (let i = 0; i < count; i++) this.#next(this.#shift)
  }

  stop(): void {
    this.#shift++
  }

  #next(shift: number): void {
    const { loop, random } = this.#world
    loop.after(random.exponential(this.pauseMs), () => {
      if (shift !== this.#shift) return
      this.#write()
      this.#next(shift)
    })
  }

  #write(): void {
    const { random, nodes, network } = this.#world
    const writable = nodes.filter(
      (node) =>
        node.run?.status === 'ready' &&
        !node.run.inRecovery &&
        !node.postgresFrozen &&
        network.connects(CLIENT, node.name),
    )
    if (writable.length === 0) return
    const burst = 1 + (random.chance(0.1) ? random.int(5) : 0)
    const node = random.pick(writable)
    for (let i = 0; i < burst; i++) this.#commit(node)
  }

  #commit(node: SimNode): void {
    const { network, checks, loop } = this.#world
    commit(this.#world, node, 'commit', (record) => {
      if (!network.connects(CLIENT, node.name)) return
      checks.acknowledge(node, record)
      this.lastAcknowledgedAtMs = loop.now
    })
  }
}
