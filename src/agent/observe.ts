/** Builds the immutable view of one cycle: the store, the files, the process, SQL, all asked at the same time. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { ClusterView, LocalView, NodeReport, StoreFacts, StoreView } from '../core/cluster-view.ts'
import type { DirectoryState, PostmasterState, ServerFacts } from '../core/facts.ts'
import { firstTimeline } from '../core/timeline.ts'
import type { Clock } from '../ports/clock.ts'
import type { ClusterFacts, ClusterStore } from '../ports/cluster-store.ts'
import type { Postgres, StablePosition } from '../ports/postgres.ts'
import type { StoreResult } from '../ports/store.ts'
import type { AgentOptions } from './dependencies.ts'

const SQL_DEADLINE_MS = 1_000
/** At the end of a lease a disk that hangs is not waited for any longer. */
const GLANCE_MS = 50
/** Reports of the others are hints: the watch says when they change, this is how long a lost event may cost. */
const NODES_EVERY_MS = 5_000

const BLIND: readonly [PostmasterState, DirectoryState] = [
  { kind: 'running', pid: 0, status: 'starting' },
  { kind: 'absent' },
]

export type Remembered = Omit<
  LocalView,
  'directory' | 'postmaster' | 'server' | 'position' | 'history' | 'promotionAsked' | 'newestHistory'
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
  #lastLook: Pick<LocalView, 'directory' | 'postmaster' | 'server'> | null = null
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

  /** `remembered` is asked for at the end, so that what tasks and probes learned meanwhile is in the same view. */
  async observe(remembered: () => Remembered): Promise<ClusterView> {
    const [store, directory, { postmaster, server }] = await Promise.all([
      this.#observeStore(),
      this.#postgres.inspectDirectory(),
      this.#observeServer(),
    ])
    const { promotionAskedPid, ...known } = remembered()
    const local = { ...known, directory, postmaster, server }
    this.#lastLook = { directory, postmaster, server }
    const stable = await this.#observePosition(store, local)
    const promotionAsked = postmaster.kind === 'running' && postmaster.pid === promotionAskedPid
    const newestHistory = directory.kind === 'cluster' ? await this.#postgres.newestHistory() : 1
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
    const seen = this.#lastLook
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
        promotionAsked: postmaster.kind === 'running' && postmaster.pid === promotionAskedPid,
        newestHistory: 1,
        position: null,
        history: firstTimeline(),
      },
    }
  }

  async #observeServer(): Promise<Pick<LocalView, 'postmaster' | 'server'>> {
    const postmaster = await this.#postgres.inspectPostmaster()
    if (postmaster.kind !== 'running' || postmaster.status === 'starting') return { postmaster, server: null }
    const seen = await this.#postgres.observe(SQL_DEADLINE_MS)
    const server: ServerFacts | null = seen.kind === 'ok' ? seen.value : null
    return { postmaster, server }
  }

  /** Asked for only where it decides something: a node that streams in a steady epoch moves on all the time. */
  async #observePosition(
    store: StoreView,
    local: Pick<LocalView, 'postmaster' | 'server' | 'applied' | 'followedEpoch' | 'directory'>,
  ): Promise<StablePosition | null> {
    const primacy = store.kind === 'read' ? store.facts.primacy?.value : undefined
    if (primacy === undefined || local.postmaster.kind === 'foreign') return null
    const steadyPrimary = primacy.primary === this.#options.node && primacy.phase === 'steady'
    const follows = local.followedEpoch === primacy.epoch && primacy.phase !== 'electing'
    if (steadyPrimary || follows || (local.server !== null && local.server.walreceiver !== null)) return null
    const stable = await this.#postgres.stablePosition(SQL_DEADLINE_MS)
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

  async #observeStore(): Promise<StoreView> {
    const facts = await this.#store.readFacts()
    if (facts.kind !== 'ok') return this.#unreachable(facts)
    this.#unreachableSinceMs = null
    await this.#refreshNodes()
    const read: StoreFacts = { ...facts.value, nodes: this.#nodes }
    this.#last = read
    return { kind: 'read', facts: read }
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
