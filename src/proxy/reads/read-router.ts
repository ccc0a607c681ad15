/**
 * Says which standby serves a read: of those in rotation that have replayed what the reader must see, the one with the least to do. When there
 * is none yet it waits a little for the first that will have it, and has the agents look as often as they can meanwhile.
 */
import { type Line, type ReadBound, standingOf } from '../../core/read-bound.ts'
import type { Log } from '../../ports/log.ts'
import type { Positions, PrimaryPositions, ReadableCluster, Route, Routing } from '../../ports/proxy.ts'
import type { Destination } from '../pool.ts'
import { BoundSampler } from './bound-sampler.ts'
import { type ReadableStandby, Rotation, type RotationEntry } from './rotation.ts'

/** What a read asks of a standby. */
export interface Need {
  readonly bounds: readonly ReadBound[]
  /** null: whatever the rotation allows. */
  readonly maxLagMs: number | null
  /** Taken when it is good enough, whatever it has to do. */
  readonly prefer: string | null
  /** It was tried, and did not answer. */
  readonly avoid: string | null
}

export interface ReadRouterOptions {
  readonly routing: Routing
  readonly positions: Positions
  readonly primaryPositions: PrimaryPositions
  readonly maxLagMs: number
  /** How long a read waits for a standby before it goes to the primary. */
  readonly waitMs: number
  readonly log: Log
  readonly nowMs: () => number
}

interface Waiting {
  readonly need: Need
  readonly done: (standby: ReadableStandby | null) => void
  readonly timer: NodeJS.Timeout
}

const LOOK_EVERY_MS = 100
/** After a server of it could not be had. */
const AVOIDED_FOR_MS = 1_000
const NO_STANDBY: Destination = { kind: 'held', epoch: 0, reason: 'it is not in rotation' }

export class ReadRouter {
  readonly sampler: BoundSampler
  readonly #options: ReadRouterOptions
  readonly #rotation: Rotation
  readonly #waiting = new Set<Waiting>()
  readonly #listeners = new Set<() => void>()
  readonly #outstanding = new Map<string, number>()
  readonly #avoidedUntilMs = new Map<string, number>()
  readonly #ends: (() => void)[] = []
  #cluster: ReadableCluster | null = null
  #inRotation = ''
  #timer: NodeJS.Timeout | null = null
  #turn = 0

  constructor(options: ReadRouterOptions) {
    this.#options = options
    this.#rotation = new Rotation({ maxLagMs: options.maxLagMs })
    this.sampler = new BoundSampler(options.primaryPositions, () => options.routing.current)
  }

  start(): void {
    const { routing, positions, nowMs } = this.#options
    this.#ends.push(
      routing.subscribe((route) => this.#routeChanged(route)),
      positions.subscribe((node, reading) => {
        this.#rotation.take(node, reading, nowMs())
        this.#looked()
      }),
    )
    this.#timer = setInterval(() => {
      this.#rotation.look(nowMs())
      this.#looked()
    }, LOOK_EVERY_MS)
    this.#routeChanged(routing.current)
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    for (const end of this.#ends.splice(0)) end()
    for (const waiting of [...this.#waiting]) this.#settle(waiting, null)
  }

  get line(): Line | null {
    return this.#cluster?.line ?? null
  }

  /** Called when a standby comes or goes. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Where the servers of a standby are; held while nobody may read there. */
  destination(name: string): Destination {
    const node = this.#cluster?.members.find((member) => member.name === name)
    if (node !== undefined && this.isInRotation(name)) return { kind: 'open', epoch: 0, node }
    const entry = this.entries().find((each) => each.node === name)
    if (entry === undefined || entry.outBecause === null) return NO_STANDBY
    return { kind: 'held', epoch: 0, reason: `${name}: ${entry.outBecause}`, isSilent: entry.isSilent }
  }

  get hasStandbys(): boolean {
    return this.#rotation.standbys.length > 0
  }

  get maxLagMs(): number {
    return this.#options.maxLagMs
  }

  get waitMs(): number {
    return this.#options.waitMs
  }

  /** null: it is not in rotation. */
  incarnationOf(name: string): string | null {
    return this.#rotation.standbys.find(({ node }) => node === name)?.incarnation ?? null
  }

  isInRotation(name: string): boolean {
    return this.#rotation.standbys.some(({ node }) => node === name)
  }

  entries(): readonly RotationEntry[] {
    return this.#rotation.entries(this.#options.nowMs())
  }

  /** The one that may serve it now; null: none. */
  choose(need: Need): ReadableStandby | null {
    const { standbys } = this.#rotation
    const { line } = this
    if (line === null) return null
    let best: ReadableStandby | null = null
    let least = Number.POSITIVE_INFINITY
    this.#turn++
    for (let i = 0; i < standbys.length; i++) {
      const standby = standbys[(i + this.#turn) % standbys.length]
      if (standby === undefined || !this.#serves(standby, need, line)) continue
      if (standby.node === need.prefer) return standby
      const outstanding = this.#outstanding.get(standby.node) ?? 0
      if (outstanding >= least) continue
      best = standby
      least = outstanding
    }
    return best
  }

  /** The first that may serve it, or null when none does within `waitMs`, or none will. The returned function ends the waiting. */
  await(
    need: Need,
    done: (standby: ReadableStandby | null) => void,
    waitMs = this.#options.waitMs,
  ): () => void {
    const waiting: Waiting = {
      ...{ need, done },
      timer: setTimeout(() => this.#settle(waiting, null), waitMs),
    }
    this.#waiting.add(waiting)
    this.#hurry()
    return () => {
      clearTimeout(waiting.timer)
      this.#waiting.delete(waiting)
    }
  }

  /** False when waiting is of no use: nobody is in rotation, or what is asked for can be reached by nobody. */
  mayCome({ bounds, avoid }: Need): boolean {
    const { line } = this
    if (line === null || bounds.some((bound) => standingOf(bound, line) !== 'onLine')) return false
    return this.#rotation.standbys.some(({ node }) => node !== avoid)
  }

  /** A session takes a server there, or waits for one. */
  began(node: string): void {
    this.#outstanding.set(node, (this.#outstanding.get(node) ?? 0) + 1)
  }

  ended(node: string): void {
    this.#outstanding.set(node, Math.max(0, (this.#outstanding.get(node) ?? 0) - 1))
  }

  /** No server of it could be had: others are tried first for a while. */
  failed(node: string): void {
    this.#avoidedUntilMs.set(node, this.#options.nowMs() + AVOIDED_FOR_MS)
  }

  #serves(standby: ReadableStandby, { bounds, maxLagMs, avoid }: Need, line: Line): boolean {
    if (standby.node === avoid) return false
    if (maxLagMs !== null && standby.replayLagMs > maxLagMs) return false
    for (const bound of bounds) {
      if (standby.replayLsn < bound.lsn || standingOf(bound, line) !== 'onLine') return false
    }
    const until = this.#avoidedUntilMs.get(standby.node)
    if (until === undefined) return true
    if (until > this.#options.nowMs()) return false
    this.#avoidedUntilMs.delete(standby.node)
    return true
  }

  #routeChanged(route: Route): void {
    this.#cluster = route.cluster ?? null
    const members = (route.cluster?.members ?? []).map(({ name }) => name)
    this.#options.positions.follow(members)
    const primary = route.kind === 'open' ? route.primary.name : null
    this.#rotation.cluster(primary, members, this.line, this.#options.nowMs())
    this.#looked()
  }

  #looked(): void {
    this.#tellChanges()
    for (const waiting of [...this.#waiting]) {
      const standby = this.choose(waiting.need)
      if (standby !== null) this.#settle(waiting, standby)
    }
    this.#hurry()
  }

  /** How often is left to whoever asks. */
  #hurry(): void {
    if (this.#waiting.size === 0) return
    for (const { node } of this.#rotation.standbys) this.#options.positions.hurry(node)
  }

  #settle(waiting: Waiting, standby: ReadableStandby | null): void {
    clearTimeout(waiting.timer)
    if (this.#waiting.delete(waiting)) waiting.done(standby)
  }

  #tellChanges(): void {
    const entries = this.#rotation.entries(this.#options.nowMs())
    const now = entries.map(({ node, outBecause }) => `${node}\0${outBecause === null}`).join('\n')
    if (now === this.#inRotation) return
    this.#inRotation = now
    const inside = entries.filter(({ outBecause }) => outBecause === null).map(({ node }) => node)
    const outside = entries.flatMap(({ node, outBecause }) =>
      outBecause === null ? [] : [`${node}: ${outBecause}`],
    )
    this.#options.log.info(
      `reads go to ${inside.length === 0 ? 'no standby' : inside.join(', ')}`,
      outside.length === 0 ? {} : { outOfRotation: outside },
    )
    for (const listener of this.#listeners) listener()
  }
}
