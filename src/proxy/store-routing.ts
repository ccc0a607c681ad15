/**
 * Who may be written to, from `primacy` in the store (docs/failover.md, I9). A watch tells of a change at once, and the document is read
 * after every hint and now and then; an older epoch never replaces a newer one.
 *
 * When the store does not answer, the last known route stays: without the store nobody can be promoted, and under a quorum an old primary
 * that is cut off can acknowledge nothing.
 */
import type { TimelineHistory } from '../core/timeline.ts'
import type { Clock } from '../ports/clock.ts'
import type { ClusterFacts, ClusterStore, Hold } from '../ports/cluster-store.ts'
import type { Log } from '../ports/log.ts'
import type { ReadableCluster, Route, RoutedNode, Routing } from '../ports/proxy.ts'

const LOOK_EVERY_MS = 1_000
/** The store may be lost while it says that everything shall wait. */
const HOLD_AT_MOST_MS = 5_000

type RoutedStore = Pick<ClusterStore, 'readFacts' | 'readHold' | 'watch'>

export interface StoreRoutingOptions {
  readonly store: RoutedStore
  readonly members: readonly RoutedNode[]
  readonly log: Log
  readonly clock: Pick<Clock, 'nowMs'>
}

export class StoreRouting implements Routing {
  readonly #store: RoutedStore
  #members: readonly RoutedNode[]
  readonly #log: Log
  readonly #clock: Pick<Clock, 'nowMs'>
  readonly #listeners = new Set<(route: Route) => void>()
  readonly #ended = new AbortController()
  #route: Route = { kind: 'held', epoch: 0, reason: 'the store has not answered yet' }
  #timer: NodeJS.Timeout | null = null
  #looking = false
  #lookAgain = false
  #unreachable = false
  #hold: { readonly id: string; readonly sinceMs: number } | null = null
  #facts: RoutedFacts | null = null

  constructor({ store, members, log, clock }: StoreRoutingOptions) {
    this.#store = store
    this.#clock = clock
    this.#members = members
    this.#log = log
  }

  get current(): Route {
    return this.#route
  }

  subscribe(listener: (route: Route) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  start(): void {
    this.#store.watch((what) => {
      if (what === 'primacy' || what === 'gap' || what === 'hold') void this.#look()
    }, this.#ended.signal)
    this.#timer = setInterval(() => {
      this.#endHold()
      void this.#look()
    }, LOOK_EVERY_MS)
    void this.#look()
  }

  /** As the configuration has them now. */
  setMembers(members: readonly RoutedNode[]): void {
    this.#members = members
    void this.#look()
  }

  stop(): void {
    this.#ended.abort()
    if (this.#timer !== null) clearInterval(this.#timer)
  }

  /** One at a time; a hint that comes meanwhile makes another one, for it may be about something newer. */
  async #look(): Promise<void> {
    if (this.#looking) {
      this.#lookAgain = true
      return
    }
    this.#looking = true
    try {
      do {
        this.#lookAgain = false
        // In this order: a hold that has been taken back belongs to what the facts say after it.
        const hold = await this.#store.readHold()
        const read = hold.kind === 'ok' ? await this.#store.readFacts() : hold
        if (this.#ended.signal.aborted) return
        if (hold.kind === 'ok' && read.kind === 'ok') this.#take(read.value, hold.value)
        this.#tellReachable(read.kind === 'ok' ? null : read.reason)
      } while (this.#lookAgain)
    } finally {
      this.#looking = false
    }
  }

  /** A hold that nobody has taken back ends by itself, though the store has nothing to say any more. */
  #endHold(): void {
    const { kind, epoch } = this.#route
    if (this.#facts === null || kind !== 'held' || this.#route.hold === undefined) return
    this.#take(this.#facts, { id: this.#route.hold, epoch, reason: this.#route.reason })
  }

  #holdInForce(hold: Hold | null): Hold | null {
    if (hold === null) {
      this.#hold = null
      return null
    }
    const now = this.#clock.nowMs()
    if (this.#hold?.id !== hold.id) this.#hold = { id: hold.id, sinceMs: now }
    return now - this.#hold.sinceMs < HOLD_AT_MOST_MS ? hold : null
  }

  #take(facts: RoutedFacts, hold: Hold | null): void {
    this.#facts = facts
    const route = routeOf(facts, this.#members, this.#holdInForce(hold))
    const before = this.#route
    if (route === null || route.epoch < before.epoch || sameRoute(route, before)) return
    this.#route = route
    this.#log.info(
      route.kind === 'open'
        ? `${route.primary.name} takes writes in epoch ${route.epoch}`
        : `writes are held in epoch ${route.epoch}: ${route.reason}`,
    )
    for (const listener of this.#listeners) listener(route)
  }

  #tellReachable(problem: string | null): void {
    if ((problem !== null) === this.#unreachable) return
    this.#unreachable = problem !== null
    if (problem === null) this.#log.info('the store answers again')
    else this.#log.warn('the store does not answer; what is known stays in force', { reason: problem })
  }
}

type RoutedFacts = Pick<ClusterFacts, 'primacy' | 'identity'>

/** null: nothing is known of this cluster yet. */
export function routeOf(
  { primacy, identity }: RoutedFacts,
  members: readonly RoutedNode[],
  hold: Hold | null = null,
): Route | null {
  if (primacy === null) return null
  const { epoch, phase, primary, reason, nextXid, history } = primacy.value
  const cluster = readableOf(identity, history, members)
  const held = (why: string): Route => ({ kind: 'held', epoch, reason: why, ...cluster })
  if (phase !== 'steady')
    return held(`a new primary is being ${phase === 'electing' ? 'elected' : 'promoted'}: ${reason}`)
  const member = members.find(({ name }) => name === primary)
  if (member === undefined) return held(`${primary} is not in the proxy's configuration`)
  // One of an older epoch has done what it was for.
  if (hold?.epoch === epoch) return { kind: 'held', epoch, reason: hold.reason, hold: hold.id, ...cluster }
  return { kind: 'open', epoch, primary: member, nextXid, ...cluster }
}

function readableOf(
  identity: RoutedFacts['identity'],
  history: TimelineHistory,
  members: readonly RoutedNode[],
): { readonly cluster?: ReadableCluster } {
  if (identity === null) return {}
  return { cluster: { line: { systemIdentifier: identity.systemIdentifier, history }, members } }
}

/** What can change of a route without an epoch. */
function sameRoute(a: Route, b: Route): boolean {
  if (a.epoch !== b.epoch || !sameCluster(a.cluster, b.cluster)) return false
  if (a.kind === 'open') return b.kind === 'open' && sameNode(a.primary, b.primary) && a.nextXid === b.nextXid
  return b.kind === 'held' && a.reason === b.reason && a.hold === b.hold
}

function sameCluster(a: ReadableCluster | undefined, b: ReadableCluster | undefined): boolean {
  if (a === undefined || b === undefined) return a === b
  return (
    a.line.systemIdentifier === b.line.systemIdentifier &&
    sameHistory(a.line.history, b.line.history) &&
    a.members.length === b.members.length &&
    a.members.every((member, i) => sameNode(member, b.members[i]))
  )
}

function sameHistory(a: TimelineHistory, b: TimelineHistory): boolean {
  return (
    a.timelineId === b.timelineId &&
    a.ancestors.length === b.ancestors.length &&
    a.ancestors.every((each, i) => each.switchpointLsn === b.ancestors[i]?.switchpointLsn)
  )
}

function sameNode(a: RoutedNode, b: RoutedNode | undefined): boolean {
  return a.name === b?.name && a.host === b.host && a.port === b.port
}
