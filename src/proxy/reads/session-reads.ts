/**
 * What one session asks of its reads: the level, what it has written and was handed over, and so which standby may serve it. The bound is never
 * taken before a write was acknowledged, and only when somebody needs it.
 */
import { laterBound, type ReadBound, standingOf } from '../../core/read-bound.ts'
import type { Classifier, Level, Target, Verdict } from '../classify/verdict.ts'
import type { Batch } from './batch.ts'
import { nextMoment } from './bound-sampler.ts'
import type { Need, ReadRouter } from './read-router.ts'
import type { ReadableStandby } from './rotation.ts'

/** What a client may set, and what its port or its start-up parameters say to begin with. */
export interface ReadSettings {
  readonly target: Target
  readonly level: Level
  /** null: as the proxy's configuration has it. */
  readonly maxLagMs: number | null
}

export type Decision =
  /** Whatever the client sends, until the primary's server is free again. */
  | { readonly kind: 'primary' }
  /** One of the proxy's own settings: the proxy answers. */
  | { readonly kind: 'own' }
  /** Own settings beside something else: nobody could answer both. */
  | { readonly kind: 'mixed' }
  | {
      readonly kind: 'read'
      readonly level: Level
      /** `batch`: what comes behind it is decided anew. `transaction`: until that ends. `session`: until the client leaves. */
      readonly scope: 'batch' | 'transaction' | 'session'
      /** For when no standby may serve it. */
      readonly atPrimary: 'batch' | 'everything' | 'never'
      /** What only a standby refuses is asked of the primary. */
      readonly mayTurnOut: boolean
      /** As long as nothing of an answer was passed on, another node may be asked. */
      readonly mayRepeat: boolean
    }

export type ReadDecision = Extract<Decision, { kind: 'read' }>

const PRIMARY: Decision = { kind: 'primary' }
const OWN: Decision = { kind: 'own' }
const MIXED: Decision = { kind: 'mixed' }

export interface SessionReadsOptions {
  readonly router: ReadRouter
  readonly classifier: Classifier
  readonly settings: ReadSettings
  /** Its servers begin every transaction as a read-only one: the primary may serve what is no read, for it refuses writes. */
  readonly isReadOnly: boolean
  /** Whether a port for reads may be served by the primary when there is no standby. */
  readonly mayFallBack: boolean
  readonly holdTimeoutMs: number
}

export class SessionReads {
  readonly options: SessionReadsOptions
  settings: ReadSettings
  /** Handed over by the client; null: none. */
  token: ReadBound | null = null
  /** What it wrote itself, as far as a sample covers it. */
  #own: ReadBound | null = null
  /** Moment of the last acknowledgement that no sample covers; 0: there is none. */
  #since = 0
  /** At level `monotonic`: where it read last. */
  #seen: { readonly node: string; readonly incarnation: string } | null = null

  constructor(options: SessionReadsOptions) {
    this.options = options
    this.settings = options.settings
  }

  decide(batch: Batch, inSessionMode: boolean): Decision {
    if (inSessionMode) return this.#forSession()
    const { classifier } = this.options
    if (batch.kind !== 'whole') return this.#decided(null, batch)
    const [only] = batch.statements
    if (only !== undefined && batch.statements.length === 1)
      return this.#decided(classifier.classify(only.text), batch)
    return this.#decided(this.#joint(batch), batch)
  }

  /** The primary has answered something that may have been a write. */
  wrote(): void {
    this.#since = nextMoment()
  }

  /** The primary has answered a read. */
  readAtPrimary(level: Level): void {
    if (level === 'monotonic') this.#since = nextMoment()
  }

  readAt(level: Level, { node, incarnation }: ReadableStandby): void {
    if (level === 'monotonic') this.#seen = { node, incarnation }
  }

  /** At level `monotonic` it may not be as far any more as it was. */
  mayHaveGoneBack(): void {
    if (this.#seen !== null) this.#since = nextMoment()
    this.#seen = null
  }

  /** A standby that may serve it right now; null: nobody may, and no waiting helps; undefined: that is not known yet. */
  placeNow({ level }: ReadDecision, avoid: string | null): ReadableStandby | null | undefined {
    const { router } = this.options
    const need = this.#need(level, avoid)
    if (need === 'sample') return router.hasStandbys || this.#waitsForAny(level) ? undefined : null
    const standby = router.choose(need)
    const seen = level === 'monotonic' ? this.#seen : null
    if (seen !== null && (need.prefer === null || standby?.node !== need.prefer)) {
      // What it has seen there may not be anywhere else yet.
      this.mayHaveGoneBack()
      return undefined
    }
    if (standby !== null) return standby
    return router.mayCome(need) || this.#waitsForAny(level) ? undefined : null
  }

  /** Tells once which standby serves it; null: none in time. The returned function ends the waiting. */
  placeLater(
    decision: ReadDecision,
    avoid: string | null,
    told: (standby: ReadableStandby | null) => void,
  ): () => void {
    const { router, holdTimeoutMs } = this.options
    const waitMs = decision.atPrimary === 'never' ? holdTimeoutMs : router.waitMs
    let cancel = (): void => {}
    const wait = (): void => {
      const need = this.#need(decision.level, avoid)
      if (need === 'sample') {
        told(null)
        return
      }
      const standby = router.choose(need)
      if (standby !== null) told(standby)
      else if (decision.atPrimary === 'never' || router.mayCome(need))
        cancel = router.await(need, told, waitMs)
      else told(null)
    }
    if (this.#need(decision.level, avoid) === 'sample') cancel = this.#sampled(wait)
    else wait()
    return () => cancel()
  }

  /** Bounds that a server of this standby must be seen to have reached. */
  boundsAt(level: Level): readonly ReadBound[] {
    const need = this.#need(level, null)
    return need === 'sample' ? [] : need.bounds
  }

  /** What `SHOW understudy.token` gives; a sample is taken when one is needed. */
  currentBound(told: (bound: ReadBound | null) => void): () => void {
    const { line } = this.options.router
    const tell = (): void => told(line === null ? this.#own : laterBound(this.#own, this.token, line))
    if (this.#need('session', null) === 'sample') return this.#sampled(tell)
    tell()
    return () => {}
  }

  /** False: nobody could be asked, and what it wrote is still not covered. */
  get isCovered(): boolean {
    return this.#since === 0
  }

  #sampled(then: () => void): () => void {
    return this.options.router.sampler.ask(this.#since, (bound) => {
      if (bound !== null) {
        this.#own = bound
        this.#since = 0
      }
      then()
    })
  }

  #need(level: Level, avoid: string | null): Need | 'sample' {
    const { maxLagMs } = this.settings
    const prefer = level === 'monotonic' ? this.#seenStill() : null
    const need = (bounds: readonly ReadBound[]): Need => ({ bounds, maxLagMs, prefer, avoid })
    if (level === 'eventual') return need(NO_BOUNDS)
    if (level === 'token') return need(this.token === null ? NO_BOUNDS : [this.token])
    if (this.#since !== 0 && !this.#useKnown()) return 'sample'
    const own = this.#own
    const { line } = this.options.router
    if (own !== null && line !== null && standingOf(own, line) !== 'onLine') {
      // Behind where its timeline was left: some of what it wrote may be lost, and what there is now is at the new primary.
      this.#own = null
      this.#since = nextMoment()
      return 'sample'
    }
    if (own === null) return need(this.token === null ? NO_BOUNDS : [this.token])
    return need(this.token === null ? [own] : [own, this.token])
  }

  #useKnown(): boolean {
    const known = this.options.router.sampler.known(this.#since)
    if (known === null) return false
    this.#own = known
    this.#since = 0
    return true
  }

  /** The node where it read last, unless its server has begun anew since. */
  #seenStill(): string | null {
    const seen = this.#seen
    if (seen === null) return null
    return this.options.router.incarnationOf(seen.node) === seen.incarnation ? seen.node : null
  }

  #waitsForAny(level: Level): boolean {
    return this.settings.target === 'read-only' && !this.options.mayFallBack && level !== 'primary'
  }

  #decided(verdict: Verdict | 'mixed' | null, batch: Batch): Decision {
    if (verdict === 'mixed') return MIXED
    if (verdict?.kind === 'setOwn' || verdict?.kind === 'showOwn') return OWN
    const target = verdict?.hint?.target ?? this.settings.target
    const level = verdict?.hint?.level ?? this.settings.level
    if (target === 'read-write' || level === 'primary') return PRIMARY
    const isRead = verdict?.kind === 'read'
    const isReadTransaction = verdict?.kind === 'begin' && verdict.readOnly
    if (target === 'auto' && !isRead && !isReadTransaction) return PRIMARY
    return {
      ...{ kind: 'read', level },
      scope: isRead ? 'batch' : 'transaction',
      atPrimary: this.#atPrimary(target, isRead, isReadTransaction),
      mayTurnOut: target === 'auto',
      mayRepeat: isRead && !batch.closes,
    }
  }

  #atPrimary(target: Target, isRead: boolean, isReadTransaction: boolean): ReadDecision['atPrimary'] {
    if (target === 'read-only') {
      if (!this.options.mayFallBack) return 'never'
      // Without the servers' own guard nobody else would stop a write.
      if (!isRead && !isReadTransaction && !this.options.isReadOnly) return 'never'
    }
    return isRead ? 'batch' : 'everything'
  }

  /** A session that keeps its server may leave anything in it: on a port for everything that is the primary's. */
  #forSession(): Decision {
    const { target, level } = this.settings
    if (target !== 'read-only' || level === 'primary') return PRIMARY
    return {
      ...{ kind: 'read', level, scope: 'session', mayTurnOut: false, mayRepeat: false },
      atPrimary: this.options.mayFallBack && this.options.isReadOnly ? 'everything' : 'never',
    }
  }

  /** Of several statements: what all of them allow. */
  #joint({ statements }: Batch): Verdict | 'mixed' {
    let joint: Verdict = READ
    let own = 0
    for (const { text } of statements) {
      const verdict = this.options.classifier.classify(text)
      if (verdict.kind === 'setOwn' || verdict.kind === 'showOwn') own++
      if (verdict.kind === 'primary' || joint.kind === 'primary') joint = SOME_FOR_PRIMARY
      else if (verdict.kind !== 'read' || joint === READ) joint = verdict
    }
    if (own === 0) return joint
    const [first] = statements
    // Prepared and run in one batch it comes twice.
    return first !== undefined && statements.every(({ text }) => text === first.text)
      ? this.options.classifier.classify(first.text)
      : 'mixed'
  }
}

const NO_BOUNDS: readonly ReadBound[] = []
const READ: Verdict = { kind: 'read', hint: null }
const SOME_FOR_PRIMARY: Verdict = { kind: 'primary', reason: 'one of several is not a read', hint: null }
