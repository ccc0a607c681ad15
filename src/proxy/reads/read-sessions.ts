/** What the sessions of a worker share for their reads: who serves them, and one classifier per database. */
import type { Log } from '../../ports/log.ts'
import type { Positions, PrimaryPositions, Routing } from '../../ports/proxy.ts'
import { CatalogReader } from '../classify/catalog-reader.ts'
import { createClassifier } from '../classify/classifier.ts'
import { explainRoute } from '../classify/explain-route.ts'
import { loadParser } from '../classify/parser.ts'
import type { Classifier, Target } from '../classify/verdict.ts'
import type { Pool } from '../pool.ts'
import type { ProxySettings } from '../settings.ts'
import type { AskedReads } from './asked-reads.ts'
import { parseBound } from './own-settings.ts'
import { queryThrough, type Rows } from './pool-query.ts'
import { type Need, ReadRouter } from './read-router.ts'
import { SessionReads } from './session-reads.ts'

export interface ReadParts {
  readonly positions: Positions
  readonly primaryPositions: PrimaryPositions
  /** In the place of the one that reads the database's catalog. */
  readonly classifier?: Classifier
}

export interface ReadSessionsParts {
  readonly routing: Routing
  readonly log: Log
  readonly reads?: ReadParts | undefined
}

const ANY: Need = { bounds: [], maxLagMs: null, prefer: null, avoid: null }

export class ReadSessions {
  /** null: no standby is read from. */
  readonly router: ReadRouter | null
  readonly #settings: ProxySettings
  readonly #parts: ReadParts | null
  readonly #log: Log
  readonly #databases = new Map<
    string,
    { readonly catalog: CatalogReader; readonly classifier: Classifier }
  >()
  /** By database: a pool through which its catalog is asked; the newest, for others may be forgotten. */
  readonly #pools = new Map<string, Pool>()

  constructor(settings: ProxySettings, { routing, log, reads }: ReadSessionsParts) {
    this.#settings = settings
    this.#log = log
    this.#parts = reads ?? null
    this.router =
      reads === undefined
        ? null
        : new ReadRouter({
            ...{ routing, log, positions: reads.positions, primaryPositions: reads.primaryPositions },
            maxLagMs: settings.reads.maxLagMs,
            waitMs: settings.reads.waitMs,
            nowMs: () => performance.now(),
          })
  }

  async start(): Promise<void> {
    if (this.router === null) return
    const { auto, readOnly } = this.#settings.ports
    if (auto !== null || readOnly !== null) await loadParser()
    this.router.start()
  }

  stop(): void {
    this.router?.stop()
    for (const { catalog } of this.#databases.values()) catalog.close()
  }

  /** Through this proxy somebody changed what there is in a database. */
  schemaChanged(database: string): void {
    this.#databases.get(database)?.catalog.ddlSeen()
  }

  /** Where a statement may go on the port auto, by the catalogs of the databases that sessions of this worker read from. */
  explain(sql: string): readonly { readonly database: string; readonly sentence: string }[] {
    return [...this.#databases].map(([database, { classifier }]) => ({
      database,
      sentence: explainRoute(classifier, sql),
    }))
  }

  /** undefined: whatever it sends is the primary's. */
  begin({ settings, token }: AskedReads, pool: Pool): SessionReads | undefined {
    if (this.router === null || settings.target === 'read-write') return undefined
    const { database } = pool.key
    this.#pools.set(database, pool)
    const reads = new SessionReads({
      ...{ router: this.router, settings, classifier: this.#classifierOf(database) },
      isReadOnly: settings.target === 'read-only',
      mayFallBack: this.#settings.reads.readOnlyFallback,
      holdTimeoutMs: this.#settings.holdTimeoutMs,
    })
    const bound = parseBound(token, null)
    if (bound.kind === 'ok') reads.token = bound.value
    return reads
  }

  /** Whose parameters a client is greeted with. */
  poolToGreet(primary: Pool, target: Target): Pool {
    const standby = target === 'read-only' ? (this.router?.choose(ANY) ?? null) : null
    return standby === null ? primary : primary.standby(standby.node)
  }

  #classifierOf(database: string): Classifier {
    const given = this.#parts?.classifier
    if (given !== undefined) return given
    const known = this.#databases.get(database)
    if (known !== undefined) return known.classifier
    // A client of the port for writes may ask for another target, and be the first to need it.
    void loadParser()
    const catalog = new CatalogReader({
      query: (sql) => this.#query(database, sql),
      clock: { nowMs: () => performance.now(), timestamp: () => new Date().toISOString() },
      log: this.#log,
    })
    const classifier = createClassifier(catalog)
    this.#databases.set(database, { catalog, classifier })
    return classifier
  }

  #query(database: string, sql: string): Promise<Rows> {
    const pool = this.#pools.get(database)
    return pool === undefined ? Promise.reject(new Error('nobody is there')) : queryThrough(pool, sql)
  }
}
