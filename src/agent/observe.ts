/** Builds the immutable view of one cycle: the store, the files, the process, SQL, all asked at the same time. */
import type { ClusterView, LocalView, NodeReport, StoreFacts, StoreView } from '../core/cluster-view.ts'
import type { ServerFacts } from '../core/facts.ts'
import type { Clock } from '../ports/clock.ts'
import type { ClusterFacts, ClusterStore } from '../ports/cluster-store.ts'
import type { Postgres } from '../ports/postgres.ts'
import type { StoreResult } from '../ports/store.ts'
import type { AgentOptions } from './dependencies.ts'

const SQL_DEADLINE_MS = 1_000
/** Reports of the others are hints: the watch says when they change, this is how long a lost event may cost. */
const NODES_EVERY_MS = 5_000

export class Observer {
  readonly #options: AgentOptions
  readonly #store: ClusterStore
  readonly #postgres: Postgres
  readonly #clock: Clock
  #nodes: ReadonlyMap<string, NodeReport> = new Map()
  #nodesReadAtMs = Number.NEGATIVE_INFINITY
  #last: StoreFacts | null = null
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

  async observe(local: Omit<LocalView, 'directory' | 'postmaster' | 'server'>): Promise<ClusterView> {
    const [store, directory, { postmaster, server }] = await Promise.all([
      this.#observeStore(),
      this.#postgres.inspectDirectory(),
      this.#observeServer(),
    ])
    return {
      now: this.#clock.nowMs(),
      self: this.#options.node,
      spec: this.#options.spec,
      store,
      local: { ...local, directory, postmaster, server },
    }
  }

  async #observeServer(): Promise<Pick<LocalView, 'postmaster' | 'server'>> {
    const postmaster = await this.#postgres.inspectPostmaster()
    if (postmaster.kind !== 'running' || postmaster.status === 'starting') return { postmaster, server: null }
    const seen = await this.#postgres.observe(SQL_DEADLINE_MS)
    const server: ServerFacts | null = seen.kind === 'ok' ? seen.value : null
    return { postmaster, server }
  }

  async #observeStore(): Promise<StoreView> {
    const facts = await this.#store.readFacts()
    if (facts.kind !== 'ok') return this.#unreachable(facts)
    this.#unreachableSinceMs = null
    await this.#refreshNodes()
    this.#last = { ...facts.value, nodes: this.#nodes }
    return { kind: 'read', facts: this.#last }
  }

  async #refreshNodes(): Promise<void> {
    const startedAtMs = this.#clock.nowMs()
    if (startedAtMs - this.#nodesReadAtMs < NODES_EVERY_MS) return
    const nodes = await this.#store.readNodes()
    if (nodes.kind !== 'ok') return
    this.#nodes = nodes.value
    this.#nodesReadAtMs = startedAtMs
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
