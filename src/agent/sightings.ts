/**
 * Where the nodes were last seen: when one is lost, this is all that can be said of what it had. From the reports in the store, at most
 * some seconds old; a hint for people, and nothing is decided by it.
 */
import type { NodePosition, Sighting } from '../api/contract.ts'
import type { ClusterView } from '../core/cluster-view.ts'
import type { Clock } from '../ports/clock.ts'

export class Sightings {
  readonly #clock: Clock
  readonly #seen = new Map<string, Sighting>()
  #streaming = false
  #streamEndedAt: string | null = null
  /** Monotonic; null while it streams, and before the first look. */
  #silentSinceMs: number | null = null

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get all(): readonly Sighting[] {
    return [...this.#seen.values()]
  }

  /** Of this node's own stream; null while it streams, or never has under this agent. */
  get streamEndedAt(): string | null {
    return this.#streamEndedAt
  }

  /** For how long this node has got no WAL, as far as this agent has seen; 0 while it does. */
  notStreamingMs(nowMs: number): number {
    return this.#silentSinceMs === null ? 0 : nowMs - this.#silentSinceMs
  }

  note(view: ClusterView): void {
    this.#noteStream(view)
    if (view.store.kind !== 'read') return
    for (const report of view.store.facts.nodes.values()) {
      const { name, timelineId, flushLsn } = report
      if (name === view.self || timelineId === null || flushLsn === null) continue
      if (!samePosition(this.#seen.get(name), { timelineId, lsn: flushLsn }))
        this.#seen.set(name, { node: name, timelineId, lsn: flushLsn, at: this.#clock.timestamp() })
    }
  }

  #noteStream({ local, now }: ClusterView): void {
    const streams = local.server?.walreceiver?.status === 'streaming'
    this.#silentSinceMs = streams ? null : (this.#silentSinceMs ?? now)
    if (streams) this.#streamEndedAt = null
    else if (this.#streaming) this.#streamEndedAt = this.#clock.timestamp()
    this.#streaming = streams
  }
}

function samePosition(a: NodePosition | undefined, b: NodePosition): boolean {
  return a?.timelineId === b.timelineId && a.lsn === b.lsn
}
