/** Builds the immutable view of one cycle: the store, the files, the process, SQL, all asked at the same time. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { ClusterView, LocalView, NodeReport, StoreFacts, StoreView } from '../core/cluster-view.ts'
import type { DirectoryState, PostmasterState, ServerFacts } from '../core/facts.ts'
import { believed } from '../core/knowledge.ts'
import { hasFollowed } from '../core/rules/ladder.ts'
import { firstTimeline } from '../core/timeline.ts'
import type { Clock } from '../ports/clock.ts'
import type { ClusterFacts, ClusterStore, ExpectedVoters } from '../ports/cluster-store.ts'
import type { Postgres, StablePosition } from '../ports/postgres.ts'
import type { StoreResult } from '../ports/store.ts'
import type { AgentOptions } from './dependencies.ts'

const SQL_DEADLINE_MS = 1_000
/** At the end of a lease a disk that hangs is not waited for any longer. */
const GLANCE_MS = 50
/** Reports of the others are hints: the watch says when they change, this is how long a lost event may cost. */
const NODES_EVERY_MS = 5_000
/** After a vote the ballots alone are looked at for so long; then everything is again. */
const COUNT_FOR_MS = 200

const BLIND: readonly [PostmasterState, DirectoryState] = [
  { kind: 'running', pid: 0, status: 'starting' },
  { kind: 'absent' },
]

export type Remembered = Omit<
  LocalView,
  | 'directory'
  | 'postmaster'
  | 'server'
  | 'recovery'
  | 'position'
  | 'history'
  | 'promotionAsked'
  | 'newestHistory'
> & { readonly promotionAskedPid: number | null }

export class Observer {
  readonly #options: AgentOptions
  readonly #store: ClusterStore
  readonly #postgres: Postgres
  readonly #clock: Clock
  #nodes: ReadonlyMap<string, NodeReport> = new Map()
  #nodesReadAtMs = Number.NEGATIVE_INFINITY
  #drained: { readonly pid: number; readonly stable: StablePosition } | null = null
  #last: StoreFacts | null = null
  /** The last whole look. */
  #lastView: ClusterView | null = null
  #unreachableSinceMs: number | null = null

  constructor(options: AgentOptions, store: ClusterStore, postgres: Postgres, clock: Clock) {
    this.#options = options
    this.#store = store
    this.#postgres = postgres
    this.#clock = clock
  }

  /** The next cycle reads the other nodes' reports again. */
  nodesChanged(): void {
    this.#nodesReadAtMs = Number.NEGATIVE_INFINITY
  }

  /**
   * `remembered` is asked for at the end, so that what tasks and probes learned meanwhile is in the same view. But a task that ended while
   * this looked still counts as running: the files may have been seen before it ended, and a view with neither the task nor what it made
   * would begin it once more. Its end has woken the loop for another look.
   */
  async observe(asked: () => Remembered): Promise<ClusterView> {
    const { tasks: begun } = asked()
    const remembered = (): Remembered => {
      const now = asked()
      return { ...now, tasks: new Set([...begun, ...now.tasks]) }
    }
    const early = this.#onlyCounts() ? await this.#observeStore(asked) : null
    const counted = early === null ? null : this.#count(early, remembered)
    if (counted !== null) return counted
    const [store, directory, { postmaster, server, recovery }] = await Promise.all([
      early ?? this.#observeStore(asked),
      this.#postgres.inspectDirectory(),
      this.#observeServer(),
    ])
    const view = await this.#complete(store, { directory, postmaster, server, recovery }, remembered())
    this.#lastView = view
    return view
  }

  /**
   * A node that has voted changes nothing more until somebody is elected: only the ballots are looked at, for every other look would take
   * time from the count that clients wait for.
   */
  #onlyCounts(): boolean {
    const last = this.#lastView
    return last !== null && this.#clock.nowMs() - last.now < COUNT_FOR_MS && hasVoted(last)
  }

  /** With what was seen of the node just before; null when it is another epoch or phase by now, and a whole look is needed. */
  #count(store: StoreView, remembered: () => Remembered): ClusterView | null {
    const last = this.#lastView
    const primacy = store.kind === 'read' ? store.facts.primacy?.value : undefined
    if (last === null || primacy?.phase !== 'electing' || primacy.epoch !== electingEpoch(last)) return null
    const { promotionAskedPid: _, ...known } = remembered()
    return { ...last, now: this.#clock.nowMs(), store, local: { ...last.local, ...known } }
  }

  async #complete(
    store: StoreView,
    seen: Pick<LocalView, 'directory' | 'postmaster' | 'server' | 'recovery'>,
    { promotionAskedPid, ...known }: Remembered,
  ): Promise<ClusterView> {
    const { postmaster } = seen
    const local = { ...known, ...seen }
    const stable = await this.#observePosition(store, local)
    const promotionAsked = postmaster.kind === 'running' && postmaster.pid === promotionAskedPid
    const newestHistory = await this.#observeNewestHistory(store, seen)
    return {
      now: this.#clock.nowMs(),
      self: this.#options.node,
      spec: this.#options.spec,
      store,
      local: {
        ...local,
        promotionAsked,
        newestHistory,
        position: stable?.position ?? null,
        history: stable?.history ?? firstTimeline(),
      },
    }
  }

  /**
   * At the end of the lease of I10: what the process list and the files say now, and nothing that could be waited for. Of SQL and the store
   * it has what was seen last. When even the process list cannot be read, PostgreSQL is taken to run.
   */
  async glance(remembered: () => Remembered): Promise<ClusterView> {
    const seen = this.#lastView?.local
    const looked = Promise.all([this.#postgres.inspectPostmaster(), this.#postgres.inspectDirectory()])
    const [postmaster, directory] = await Promise.race([
      looked.catch(() => BLIND),
      sleep(GLANCE_MS, BLIND, { ref: false }),
    ])
    const { promotionAskedPid, ...known } = remembered()
    const now = this.#clock.nowMs()
    const same = postmaster.kind === 'running' && seen?.postmaster.kind === 'running'
    const server = same && seen.postmaster.pid === postmaster.pid ? seen.server : null
    return {
      now,
      self: this.#options.node,
      spec: this.#options.spec,
      store: { kind: 'unreachable', reason: 'it is not waited for', sinceMs: now, last: this.#last },
      local: {
        ...known,
        directory,
        postmaster,
        server,
        recovery: null,
        promotionAsked: postmaster.kind === 'running' && postmaster.pid === promotionAskedPid,
        newestHistory: 1,
        position: null,
        history: firstTimeline(),
      },
    }
  }

  /**
   * A whole directory is read for it, so only where it decides something: whether this elected node had begun its timeline (I6), and whether
   * a standby that gets no WAL goes for another timeline than its primary's.
   */
  async #observeNewestHistory(
    store: StoreView,
    { directory, server }: Pick<LocalView, 'directory' | 'server'>,
  ): Promise<number> {
    const primacy = store.kind === 'read' ? store.facts.primacy?.value : undefined
    if (primacy === undefined || directory.kind !== 'cluster') return 1
    const elected = primacy.phase === 'promoting' && primacy.primary === this.#options.node
    const getsNothing = server?.inRecovery === true && server.walreceiver?.status !== 'streaming'
    return elected || (getsNothing && primacy.phase !== 'electing') ? this.#postgres.newestHistory() : 1
  }

  async #observeServer(): Promise<Pick<LocalView, 'postmaster' | 'server' | 'recovery'>> {
    const postmaster = await this.#postgres.inspectPostmaster()
    if (postmaster.kind !== 'running') return { postmaster, server: null, recovery: null }
    if (postmaster.status === 'starting')
      return { postmaster, server: null, recovery: await this.#postgres.inspectRecovery(postmaster.pid) }
    const seen = await this.#postgres.observe(SQL_DEADLINE_MS)
    const server: ServerFacts | null = seen.kind === 'ok' ? seen.value : null
    return { postmaster, server, recovery: null }
  }

  /** Asked for only where it decides something: a node that streams in a steady epoch moves on all the time. */
  async #observePosition(
    store: StoreView,
    local: Pick<LocalView, 'postmaster' | 'server' | 'applied' | 'followedEpoch' | 'directory'>,
  ): Promise<StablePosition | null> {
    const primacy = store.kind === 'read' ? store.facts.primacy?.value : undefined
    if (primacy === undefined || local.postmaster.kind === 'foreign') return null
    const steadyPrimary = primacy.primary === this.#options.node && primacy.phase === 'steady'
    const follows = hasFollowed(local, primacy) && primacy.phase !== 'electing'
    if (steadyPrimary || follows || (local.server !== null && local.server.walreceiver !== null)) return null
    const { directory, postmaster } = local
    const stable = await this.#postgres.stablePosition({ directory, postmaster, deadlineMs: SQL_DEADLINE_MS })
    if (stable.kind !== 'ok') return null
    return this.#remember(local, stable.value)
  }

  /**
   * A standby that was stopped cleanly is where its replay had drained what is on disk, if nothing could stream since: what was seen so
   * right before is kept for as long as it stays stopped. After any other end only recovery can tell.
   */
  #remember(
    local: Pick<LocalView, 'postmaster' | 'applied'> & { readonly directory: DirectoryState },
    stable: StablePosition | null,
  ): StablePosition | null {
    const { postmaster, applied, directory } = local
    if (postmaster.kind === 'running') {
      const drained =
        stable?.position.complete === true && applied?.role === 'standby' && applied.upstream === null
      if (drained) this.#drained = { pid: postmaster.pid, stable }
      // Whoever may stream again has no position that stays.
      else if (this.#drained?.pid !== postmaster.pid || applied?.upstream !== null) this.#drained = null
      return stable
    }
    if (stable !== null) return stable
    const cleanly = directory.kind === 'cluster' && directory.control.state === 'shutDownInRecovery'
    return cleanly ? (this.#drained?.stable ?? null) : null
  }

  async #observeStore(asked: () => Remembered): Promise<StoreView> {
    const facts = await this.#store.readFacts(this.#expectedVoters())
    if (facts.kind !== 'ok') return this.#unreachable(facts)
    await this.#refreshNodes()
    const read: StoreFacts = { ...facts.value, nodes: this.#nodes }
    const { known, promisedEpoch } = asked()
    const store = believed(read, known, promisedEpoch, this.#unreachableSinceMs ?? this.#clock.nowMs())
    this.#unreachableSinceMs = store.kind === 'stale' ? store.sinceMs : null
    if (store.kind === 'read') this.#last = read
    return store
  }

  #expectedVoters(): ExpectedVoters | undefined {
    const primacy = this.#last?.primacy?.value
    if (primacy?.phase !== 'electing') return undefined
    return { epoch: primacy.epoch, nodes: this.#options.spec.members.map((member) => member.name) }
  }

  async #refreshNodes(): Promise<void> {
    const startedAtMs = this.#clock.nowMs()
    if (startedAtMs - this.#nodesReadAtMs < NODES_EVERY_MS) return
    this.#nodesReadAtMs = startedAtMs
    const nodes = await this.#store.readNodes()
    if (nodes.kind === 'ok') this.#nodes = nodes.value
    else this.nodesChanged()
  }

  #unreachable(result: Exclude<StoreResult<ClusterFacts>, { kind: 'ok' }>): StoreView {
    this.#unreachableSinceMs ??= this.#clock.nowMs()
    return {
      kind: 'unreachable',
      reason: result.reason,
      sinceMs: this.#unreachableSinceMs,
      last: this.#last,
    }
  }
}

/** The epoch that is being elected, as the view has it; null when none is. */
function electingEpoch(view: ClusterView): number | null {
  const primacy = view.store.kind === 'read' ? view.store.facts.primacy?.value : undefined
  return primacy?.phase === 'electing' ? primacy.epoch : null
}

export function hasVoted(view: ClusterView): boolean {
  const epoch = electingEpoch(view)
  if (epoch === null || view.store.kind !== 'read') return false
  return view.store.facts.ballots.some((ballot) => ballot.node === view.self && ballot.epoch === epoch)
}
