/**
 * Keeps the `Catalog` of one database fresh while somebody asks for it: read anew every minute, soon after DDL was seen, and given up
 * (everything to the primary) when it cannot be read for long.
 */
import { createHash } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import type { Clock } from '../../ports/clock.ts'
import type { Log } from '../../ports/log.ts'
import { type Catalog, CatalogBuilder, type CatalogRow, type CatalogSource } from './catalog.ts'
import { CATALOG_SQL } from './catalog-sql.ts'
import { loadParser } from './parser.ts'

/**
 * Sends one message of the simple protocol to the primary, over a connection without a transaction, and gives the values of all rows as
 * text. Any role will do that may connect. Rejects when it fails, and after a time of its own: a query that hangs is never given up here.
 */
export type CatalogQuery = (sql: string) => Promise<readonly (readonly (string | null)[])[]>

export interface CatalogReaderOptions {
  readonly query: CatalogQuery
  readonly clock: Clock
  readonly log: Log
  readonly times?: CatalogTimes
}

export interface CatalogTimes {
  /** How old a snapshot gets before it is read again. */
  readonly intervalMs: number
  /** How long after DDL it is read again. */
  readonly afterDdlMs: number
  /** From which age on it is not believed any more, because reading it fails. */
  readonly believedMs: number
}

const TIMES: CatalogTimes = { intervalMs: 60_000, afterDdlMs: 1000, believedMs: 300_000 }

/** Reading takes at most one part in this many of a server's time, and of the time after DDL: 100,000 tables take three seconds. */
const REST = 50
const REST_AFTER_DDL = 10

/** How many rows of names are taken in before other work has its turn. */
const ROWS_PER_TURN = 8

export interface CatalogStatus {
  /** Null while there is none that is believed. */
  readonly ageMs: number | null
  readonly relations: number
  readonly functions: number
  /** How long the last reading took. */
  readonly tookMs: number | null
  /** Why the last reading failed. */
  readonly failure: string | null
}

interface Snapshot {
  readonly catalog: CatalogBuilder
  readonly digest: string
}

export class CatalogReader implements CatalogSource {
  readonly #options: CatalogReaderOptions
  readonly #times: CatalogTimes
  #snapshot: Snapshot | null = null
  /** When the reading began that the snapshot is of: what happened later it may not have. */
  #readAtMs = 0
  #tookMs: number | null = null
  #failure: string | null = null
  #failures = 0
  #timer: NodeJS.Timeout | null = null
  #reading = false
  /** DDL was seen that the reading which is under way, or due at once, may not have. */
  #readAgain = false
  #dueAtMs = 0
  #asked = false
  #closed = false

  constructor(options: CatalogReaderOptions) {
    this.#options = options
    this.#times = options.times ?? TIMES
  }

  /** The first question starts the reading; a database that nobody asks about is not read. */
  current(): Catalog | null {
    this.#asked = true
    if (this.#timer === null && !this.#reading && !this.#closed) this.#readIn(0)
    return this.#snapshot?.catalog ?? null
  }

  /**
   * Somebody changed the schema through this proxy, or is about to commit that: it is read again a little later. What was known stays in
   * force until then: at worst a statement is sent to a standby that cannot run it, which says so.
   */
  ddlSeen(): void {
    if (this.#closed || (this.#snapshot === null && this.#timer === null && !this.#reading)) return
    const nowMs = this.#options.clock.nowMs()
    const { afterDdlMs } = this.#times
    const waitMs = Math.max(afterDdlMs, this.#readAtMs + (this.#tookMs ?? 0) * REST_AFTER_DDL - nowMs)
    this.#asked = true
    // Never later than it is due: who changes the schema all the time would put it off for ever.
    if (!this.#reading && this.#dueAtMs > nowMs + waitMs) this.#readIn(waitMs)
    else if (this.#reading || this.#dueAtMs < nowMs + afterDdlMs) this.#readAgain = true
  }

  status(): CatalogStatus {
    const catalog = this.#snapshot?.catalog
    return {
      ageMs: catalog === undefined ? null : this.#options.clock.nowMs() - this.#readAtMs,
      relations: catalog?.relations.size ?? 0,
      functions: catalog?.functions.size ?? 0,
      tookMs: this.#tookMs,
      failure: this.#failure,
    }
  }

  /** Nothing is read any more, and nothing known. */
  close(): void {
    this.#closed = true
    this.#snapshot = null
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }

  #readIn(delayMs: number): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#dueAtMs = this.#options.clock.nowMs() + delayMs
    this.#timer = setTimeout(() => {
      this.#timer = null
      void this.#turn()
    }, delayMs)
    this.#timer.unref()
  }

  /** Never throws. */
  async #turn(): Promise<void> {
    if (!this.#asked) {
      // Whoever asks next waits for a new reading: this one may be hours old by then.
      this.#snapshot = null
      return
    }
    this.#asked = false
    this.#reading = true
    const beganAtMs = this.#options.clock.nowMs()
    try {
      const read = await readSnapshot(this.#options.query)
      if (this.#closed) return
      this.#tookMs = this.#options.clock.nowMs() - beganAtMs
      this.#readAtMs = beganAtMs
      // The same object as long as nothing has changed: what was decided upon it stays decided.
      if (read.digest !== this.#snapshot?.digest) this.#snapshot = read
      this.#failure = null
      this.#failures = 0
    } catch (error) {
      this.#fail(error)
    } finally {
      this.#reading = false
    }
    if (!this.#closed) this.#readIn(this.#pauseMs())
  }

  #pauseMs(): number {
    const tookMs = this.#tookMs ?? 0
    if (this.#failures > 0)
      return Math.min(this.#times.intervalMs, 1000 * 2 ** Math.min(this.#failures - 1, 6))
    if (this.#readAgain) {
      this.#readAgain = false
      this.#asked = true
      return Math.max(this.#times.afterDdlMs, tookMs * REST_AFTER_DDL)
    }
    return Math.max(this.#times.intervalMs, tookMs * REST)
  }

  #fail(error: unknown): void {
    this.#failures += 1
    this.#failure = error instanceof Error ? error.message : String(error)
    const ageMs = this.#options.clock.nowMs() - this.#readAtMs
    if (this.#snapshot !== null && ageMs > this.#times.believedMs) this.#snapshot = null
    // Once per row of failures: a primary that is being replaced is no news here.
    if (this.#failures === 3) {
      const message =
        'cannot read what the functions and relations of a database are; its reads stay on the primary'
      this.#options.log.warn(message, { reason: this.#failure })
    }
  }
}

async function readSnapshot(query: CatalogQuery): Promise<Snapshot> {
  // Nothing is a read before both are there.
  await loadParser()
  const rows = await query(CATALOG_SQL)
  const catalog = new CatalogBuilder()
  const hash = createHash('sha256')
  for (const [index, row] of rows.entries()) {
    if (index % ROWS_PER_TURN === ROWS_PER_TURN - 1) await setImmediate()
    const typed = rowOf(row)
    hash.update(JSON.stringify(typed))
    catalog.add(typed)
  }
  if (catalog.functions.size === 0) throw new Error('the answer had no functions')
  return { catalog, digest: hash.digest('hex') }
}

function rowOf(values: readonly (string | null)[]): CatalogRow {
  const [kind, names] = values
  if (typeof kind !== 'string' || typeof names !== 'string')
    throw new Error('the answer is not rows of names')
  return [kind, names]
}
