/**
 * Leads a session's batches to a standby or to the primary: looks at each before its first byte is sent, remembers where it went and what it
 * was, and sends it elsewhere when it came to nothing and nothing of an answer was passed on.
 */
import { parseLsn } from '../../core/lsn.ts'
import { satisfies } from '../../core/read-bound.ts'
import type { ErrorText } from '../../protocol/backend-builders.ts'
import { FRONTEND } from '../../protocol/message-types.ts'
import { ProtocolViolation } from '../../protocol/violation.ts'
import type { Verdict } from '../classify/verdict.ts'
import { CLIENT_ERRORS } from '../client-errors.ts'
import type { ClientStatements } from '../client-statements.ts'
import type { Parameters } from '../parameters.ts'
import type { Pool } from '../pool.ts'
import type { ServerConnection } from '../server-connection.ts'
import type { PoolMode } from '../settings.ts'
import type { Traffic } from '../traffic.ts'
import { type Batch, type BatchReader, MAX_BATCH_BYTES, readBatch } from './batch.ts'
import { OwnAnswers } from './own-answers.ts'
import { runOwn } from './own-commands.ts'
import type { ReadableStandby } from './rotation.ts'
import type { ReadDecision, SessionReads } from './session-reads.ts'
import { SAID_BY_STANDBYS, SAID_IN_CONFLICTS } from './withheld-answer.ts'

/** The session that it leads. */
export interface ReadingSession {
  readonly mode: PoolMode
  readonly parameters: Parameters
  readonly statements: ClientStatements
  readonly traffic: Traffic
  /** Of the primary's. */
  readonly pool: Pool
  /** From the beginning of a message on; null: there is none. */
  inHand(): Buffer | null
  /** The client is not read from, so that no more will be in hand. */
  readonly isHeldUp: boolean
  /** It waits for a server of this pool from now on. */
  acquire(pool: Pool): void
  /** What waits is refused. */
  refused(error: ErrorText): void
  /** What is in hand, up to its end. */
  answerWith(answers: OwnAnswers): void
  toClient(bytes: Buffer): void
  /** It was not used for anything. */
  letGo(server: ServerConnection): void
  leave(): void
  /** These bytes are the first in hand again. */
  putBack(bytes: Buffer): void
}

/** Where the session's server is, and what is sent there. */
interface Plan {
  /** null: whatever the client sends goes to the primary. */
  readonly decision: ReadDecision | null
  readonly batch: Batch | null
  /** null: the primary. */
  readonly standby: ReadableStandby | null
  /** The batch, as long as it may be sent again. */
  readonly kept: Buffer | null
  readonly scope: 'everything' | 'batch' | 'transaction'
}

/** Positions that were told of a server before it may have begun anew do not count for a connection that is younger. */
const YOUNG_MS = 2_000
const REPLAYED_SQL = 'SELECT pg_catalog.pg_last_wal_replay_lsn()'
const BEYOND_ASCII = /[^\0-\x7f]/

export class ReadPath implements BatchReader {
  readonly #session: ReadingSession
  readonly #reads: SessionReads
  #plan: Plan | null = null
  /** Outstanding at this node. */
  #counted: string | null = null
  #cancel: (() => void) | null = null
  #batchSent = false

  constructor(session: ReadingSession, reads: SessionReads) {
    this.#session = session
    this.#reads = reads
  }

  /** It waits to know where, and for no server yet. */
  get isPlacing(): boolean {
    return this.#cancel !== null
  }

  get isAtStandby(): boolean {
    return this.#plan?.standby != null
  }

  /** What is under way writes nothing. */
  get isReading(): boolean {
    return this.#plan?.decision != null && this.#plan.decision.scope !== 'session'
  }

  /** Nothing more is sent before the answer has come. */
  get isBatchSent(): boolean {
    return this.#batchSent
  }

  /** The session needs a server for what it has in hand. */
  seek(): void {
    const hand = this.#session.inHand()
    if (hand === null) return
    const batch = this.#read(hand)
    if (batch === null && hand.length <= MAX_BATCH_BYTES && !this.#session.isHeldUp) return
    if (batch?.kind === 'goodbye') {
      this.#session.leave()
      return
    }
    const decision = this.#reads.decide(batch ?? UNKNOWN, this.#session.mode === 'session')
    switch (decision.kind) {
      case 'primary':
        this.#toPrimary(null, batch)
        return
      case 'own':
        this.#answerOwn(batch)
        return
      case 'mixed':
        this.#session.refused(CLIENT_ERRORS.ownSettingNotAlone())
        return
      default: {
        const kept = decision.mayRepeat && batch !== null ? hand.subarray(0, batch.bytes) : null
        this.#place(decision, batch, kept, null)
      }
    }
  }

  /** Ends what `isPlacing` says. */
  cancelPlacing(): void {
    this.#cancel?.()
    this.#cancel = null
  }

  /** What it had in hand is refused. */
  dropped(): void {
    this.#forget()
  }

  /** The session leaves. */
  end(): void {
    this.cancelPlacing()
    this.#uncount()
  }

  /** Whether nothing may be sent behind this message before its answer; `isWhole`: all of it is in hand. */
  endsAt(type: number, isWhole: boolean): boolean {
    const plan = this.#plan
    if (plan === null || plan.scope === 'everything') return false
    if (type !== FRONTEND.Query && type !== FRONTEND.Sync && type !== FRONTEND.FunctionCall) return false
    if (!isWhole) {
      this.#plan = { ...plan, scope: 'everything' }
      return false
    }
    this.#batchSent = true
    return true
  }

  /** What was told of this server may be of the time before it began anew: only itself can say how far it is. */
  mustAsk(server: ServerConnection): boolean {
    const plan = this.#plan
    if (plan === null || plan.decision === null || plan.standby === null) return false
    if (performance.now() - server.startedAtMs > YOUNG_MS) return false
    const { level } = plan.decision
    return level === 'monotonic' || this.#reads.boundsAt(level).length > 0
  }

  /** `then`, unless it is not as far as it has to be: then another one is looked for. */
  ask(server: ServerConnection, then: () => void): void {
    const plan = this.#plan
    const { line } = this.#reads.options.router
    if (plan === null || plan.decision === null || plan.standby === null) {
      then()
      return
    }
    const { timelineId } = plan.standby
    const bounds = this.#reads.boundsAt(plan.decision.level)
    // Without a bound there is nothing to compare with: one is taken for the next look.
    if (bounds.length === 0) this.#reads.mayHaveGoneBack()
    server.askRows(REPLAYED_SQL, (rows) => {
      const lsn = 'code' in rows ? null : parseLsn(rows[0]?.[0] ?? '')
      const isFar =
        lsn !== null &&
        line !== null &&
        bounds.every((bound) => satisfies({ timelineId, lsn }, bound, line)) &&
        this.#reads.isCovered
      if (isFar) then()
      else this.#notFar(server)
    })
  }

  /** The bytes go to the server now. */
  sending(server: ServerConnection): void {
    const plan = this.#plan
    if (plan === null || plan.kept === null || plan.standby === null) return
    server.withhold(plan.decision?.mayTurnOut === true ? SAID_BY_STANDBYS : SAID_IN_CONFLICTS)
  }

  /** Everything is answered, and the server is free. */
  answered(server: ServerConnection): void {
    const plan = this.#plan
    this.#forget()
    if (plan === null) return
    const { decision, standby } = plan
    // One that has been promoted since may have done what a standby would have refused.
    if (standby !== null && decision !== null && server.isStandby) {
      this.#session.traffic.readsAtStandbys++
      this.#reads.readAt(decision.level, standby)
    } else if (decision !== null && decision.scope === 'batch' && standby === null) {
      this.#session.traffic.readsAtPrimary++
      this.#reads.readAtPrimary(decision.level)
    } else {
      this.#reads.wrote()
    }
  }

  /** Everything is answered, and the transaction goes on. */
  answeredInTransaction(): void {
    this.#batchSent = false
  }

  /** The server of this session is gone; true: what was sent is asked for elsewhere. */
  lost(server: ServerConnection): boolean {
    const plan = this.#plan
    this.#forget()
    if (plan === null) return false
    const { decision, standby, kept } = plan
    if (standby === null || decision === null) {
      this.#reads.wrote()
      return false
    }
    this.#reads.options.router.failed(standby.node)
    if (!server.isWithholding || kept === null) return false
    this.#again(plan, kept)
    this.#place(decision, plan.batch, kept, standby.node)
    return true
  }

  /** A standby could not do what another node can. */
  refusedByStandby(code: string): void {
    const plan = this.#plan
    this.#forget()
    if (plan === null || plan.kept === null) return
    this.#again(plan, plan.kept)
    const isWrite = code === '25006'
    const text = plan.batch?.statements.find(({ runs }) => runs)?.text
    if (isWrite && text !== undefined) this.#reads.options.classifier.learnWrite(text)
    const { decision } = plan
    if (decision === null || decision.atPrimary === 'never') {
      this.#session.refused(CLIENT_ERRORS.noStandby('the standbys could not answer it'))
      return
    }
    // Whoever goes there now may write.
    this.#toPrimary(isWrite ? null : decision, plan.batch)
  }

  /** The standby's pool has no server for it. */
  elsewhere(): void {
    const plan = this.#plan
    this.#forget()
    if (plan === null || plan.decision === null || plan.standby === null) return
    this.#reads.options.router.failed(plan.standby.node)
    this.#place(plan.decision, plan.batch, plan.kept, plan.standby.node)
  }

  textOf(name: string): string | null {
    const { statements } = this.#session
    const rest = name === '' ? (statements.unnamed?.rest ?? null) : (statements.get(name)?.rest ?? null)
    if (rest === null) return null
    return this.decode(rest, 0, rest.indexOf(0))
  }

  decode(chunk: Buffer, from: number, to: number): string | null {
    const { parameters } = this.#session
    const text = chunk.toString('utf8', from, to)
    if (parameters.get('client_encoding') === 'UTF8') return text
    // In some encodings a byte of a letter looks like a quote or a backslash.
    return BEYOND_ASCII.test(chunk.toString('latin1', from, to)) ? null : text
  }

  /** null: not all of it is there. */
  #read(hand: Buffer): Batch | null {
    // A backslash in a string then means something else than the classifier reads.
    if (this.#session.parameters.get('standard_conforming_strings') === 'off') return UNKNOWN
    try {
      return readBatch(hand, this)
    } catch (error) {
      // Whoever is sent it says so.
      if (error instanceof ProtocolViolation) return UNKNOWN
      throw error
    }
  }

  #toPrimary(decision: ReadDecision | null, batch: Batch | null): void {
    const scope = decision?.atPrimary === 'batch' ? 'batch' : 'everything'
    this.#plan = { decision: scope === 'batch' ? decision : null, batch, standby: null, kept: null, scope }
    this.#session.acquire(this.#session.pool)
  }

  #place(decision: ReadDecision, batch: Batch | null, kept: Buffer | null, avoid: string | null): void {
    const now = this.#reads.placeNow(decision, avoid)
    if (now !== undefined) {
      this.#placed(decision, batch, kept, now)
      return
    }
    let isDone = false
    const cancel = this.#reads.placeLater(decision, avoid, (standby) => {
      isDone = true
      this.#cancel = null
      this.#placed(decision, batch, kept, standby)
    })
    if (!isDone) this.#cancel = cancel
  }

  #placed(
    decision: ReadDecision,
    batch: Batch | null,
    kept: Buffer | null,
    standby: ReadableStandby | null,
  ): void {
    if (standby === null) {
      if (decision.atPrimary === 'never') this.#session.refused(CLIENT_ERRORS.noStandby(this.#whyNone()))
      else this.#toPrimary(decision, batch)
      return
    }
    const scope = decision.scope === 'session' ? 'everything' : decision.scope
    this.#plan = { decision, batch, standby, kept, scope }
    this.#counted = standby.node
    this.#reads.options.router.began(standby.node)
    this.#session.acquire(this.#session.pool.standby(standby.node))
  }

  #whyNone(): string {
    const out = this.#reads.options.router
      .entries()
      .flatMap(({ node, outBecause }) => (outBecause === null ? [] : [`${node}: ${outBecause}`]))
    return out.length === 0 ? 'none is as far as the session asks' : out.join('; ')
  }

  /** The server goes back, and another one is looked for. */
  #notFar(server: ServerConnection): void {
    const plan = this.#plan
    this.#forget()
    this.#session.letGo(server)
    if (plan === null || plan.decision === null || plan.standby === null) return
    this.#place(plan.decision, plan.batch, plan.kept, plan.standby.node)
  }

  #answerOwn(batch: Batch | null): void {
    const [statement] = batch?.statements ?? []
    const own = statement === undefined ? null : this.#reads.options.classifier.classify(statement.text)
    if (own === null || (own.kind !== 'setOwn' && own.kind !== 'showOwn')) return
    const { statements } = this.#session
    const answer = (): void => {
      this.#cancel = null
      this.#session.answerWith(
        new OwnAnswers({
          own,
          run: (each) => runOwn(this.#reads, each),
          reply: (bytes) => this.#session.toClient(bytes),
          prepared: (name, rest) => statements.keepOwn(name, rest),
          closed: (name) => statements.close(name),
        }),
      )
    }
    if (!needsSample(own)) {
      answer()
      return
    }
    let isDone = false
    const cancel = this.#reads.currentBound(() => {
      isDone = true
      answer()
    })
    if (!isDone) this.#cancel = cancel
  }

  /** As it was before: the names that the batch gave are free again. */
  #again({ batch }: Plan, kept: Buffer): void {
    this.#session.traffic.readsRepeated++
    for (const name of batch?.parsed ?? []) this.#session.statements.close(name)
    this.#session.putBack(kept)
  }

  #forget(): void {
    this.#plan = null
    this.#batchSent = false
    this.#uncount()
  }

  #uncount(): void {
    if (this.#counted !== null) this.#reads.options.router.ended(this.#counted)
    this.#counted = null
  }
}

const UNKNOWN: Batch = {
  ...{ kind: 'open', bytes: 0, isSimple: false },
  ...{ statements: [], parsed: [], closes: false },
}

function needsSample(own: Verdict): boolean {
  return own.kind === 'showOwn' && own.name === 'understudy.token'
}
