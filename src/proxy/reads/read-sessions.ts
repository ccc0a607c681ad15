/** What the sessions of a worker share for their reads: who serves them, and one classifier per database. */
import type { Log } from '../../ports/log.ts'
import type { Positions, PrimaryPositions, Routing } from '../../ports/proxy.ts'
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
  /** One for a database, with a way to ask its catalog. */
  readonly classifierOf?: (query: (sql: string) => Promise<Rows>) => Classifier
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
  readonly #classifiers = new Map<string, Classifier>()
  /** By database: a pool through which its catalog is asked; the newest, for others may be forgotten. */
  readonly #pools = new Map<string, Pool>()

  constructor(settings: ProxySettings, { routing, log, reads }: ReadSessionsParts) {
    this.#settings = settings
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

  start(): void {
    this.router?.start()
  }

  stop(): void {
    this.router?.stop()
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
    const known = this.#classifiers.get(database)
    if (known !== undefined) return known
    const classifier = (this.#parts?.classifierOf ?? everythingToPrimary)((sql) => {
      const pool = this.#pools.get(database)
      return pool === undefined ? Promise.reject(new Error('nobody is there')) : queryThrough(pool, sql)
    })
    this.#classifiers.set(database, classifier)
    return classifier
  }
}

function everythingToPrimary(): Classifier {
  return {
    classify: () => ({ kind: 'primary', reason: 'nothing is read from standbys', hint: null }),
    learnWrite: () => {},
  }
}
