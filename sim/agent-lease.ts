/** The lease of I10 at its holder, as src/agent/primary-lease.ts: renewed by the loop, its deadline watched by a timer of its own. */
import { timersOf } from '../src/core/timers.ts'
import type { SimAgent } from './agent.ts'
import type { SimNode } from './node.ts'
import type { World } from './world.ts'

export class AgentLease {
  readonly #world: World
  readonly #node: () => SimNode
  readonly #agent: SimAgent
  #renewedAtMs = Number.NEGATIVE_INFINITY

  constructor(world: World, node: () => SimNode, agent: SimAgent) {
    this.#world = world
    this.#node = node
    this.#agent = agent
  }

  boot(): void {
    const node = this.#node()
    // Of another boot of the machine: its clock says nothing about this one's.
    if (node.state.lease?.boot !== node.clock.boot) node.state.lease = null
    this.#renewedAtMs = Number.NEGATIVE_INFINITY
    if (node.state.lease !== null) this.#watch(node.state.lease.untilMs)
  }

  take(expected: bigint, done: (ok: boolean) => void): void {
    const { store } = this.#world
    const ttlMs = timersOf(this.#world.rtoMs).primaryLeaseMs
    const sentAtMs = this.#agent.now()
    this.#agent.request(
      () => store.takeLease(this.#agent.name, expected, ttlMs),
      (id) => {
        if (id !== null) this.#hold(id, sentAtMs)
        done(id !== null)
      },
    )
  }

  /** A renewal that gets no answer leaves the old end as it is: it was promised until then. */
  renew(done: () => void): void {
    const { store } = this.#world
    const { state } = this.#node()
    const ttlMs = timersOf(this.#world.rtoMs).primaryLeaseMs
    const { lease } = state
    const sentAtMs = this.#agent.now()
    if (lease === null || sentAtMs - this.#renewedAtMs < ttlMs / 4) {
      done()
      return
    }
    this.#agent.request(
      () => store.renewLease(lease.id, ttlMs),
      (renewed) => {
        if (renewed === true && state.lease?.id === lease.id) this.#hold(lease.id, sentAtMs)
        done()
      },
    )
  }

  drop(): void {
    const { store } = this.#world
    const { state } = this.#node()
    const { lease } = state
    state.lease = null
    if (lease === null) return
    this.#agent.request(
      () => store.dropLease(lease.id),
      () => {},
    )
  }

  #hold(id: number, sentAtMs: number): void {
    const node = this.#node()
    const untilMs = sentAtMs + timersOf(this.#world.rtoMs).primaryLeaseMs
    this.#renewedAtMs = sentAtMs
    node.state.lease = { id, untilMs, boot: node.clock.boot }
    this.#watch(untilMs)
  }

  #watch(untilMs: number): void {
    const world = this.#world
    const leftMs = untilMs - timersOf(world.rtoMs).selfFenceMarginMs - this.#agent.now()
    const work = this.#agent.guard(() => {
      if (this.#node().state.lease?.untilMs === untilMs) this.#agent.fenceAtDeadline()
    })
    world.loop.after(Math.max(0, leftMs) + 2, work)
  }
}
