/**
 * The one client of the store: etcd's HTTP/JSON gateway, as etcd >= 3.4 serves it and as the embedded store imitates it.
 * Message shapes: etcd's api/etcdserverpb/rpc.proto; traps of the gateway: the header of wire.ts, gateway/answers.ts and gateway/watch.ts.
 */
import { UnderstudyError } from '../errors/codes.ts'
import type {
  KeyValue,
  LeaseGrant,
  LeaseRenewal,
  Listing,
  Store,
  StoreResult,
  Transaction,
  TransactionResult,
  WatchListener,
} from '../ports/store.ts'
import { Authenticator, type Credentials } from './gateway/authenticator.ts'
import { Endpoints } from './gateway/endpoints.ts'
import {
  parseListing,
  parseRevision,
  parseTransaction,
  rangeOfKey,
  rangeOfPrefix,
  readsOnly,
  transactionMessage,
} from './gateway/messages.ts'
import { type Reply, Session } from './gateway/session.ts'
import { Transport, type TransportTls } from './gateway/transport.ts'
import { Watch } from './gateway/watch.ts'
import { isToken, type JsonObject, parseInt64 } from './wire.ts'

export interface StoreClientOptions {
  /** `http://host:port` or `https://host:port`, one per member. */
  readonly endpoints: readonly string[]
  /** A token is sent as it is (the embedded store); name and password fetch one (etcd). */
  readonly credentials: Credentials
  /** PEM texts; for https endpoints. */
  readonly tls?: TransportTls
  /** Every request ends by then, with an answer or as `unavailable`. */
  readonly requestTimeoutMs: number
  /** A monotonic clock (performance.now). */
  readonly nowMs: () => number
  /** In [0, 1): jitter and the first endpoint. */
  readonly random?: () => number
  /** Silence on a watch, in spite of asking, that ends its connection (6 s). */
  readonly watchSilenceMs?: number
  /** Larger answers count as nonsense (16 Mi characters). */
  readonly maxAnswerLength?: number
}

const DEFAULT_WATCH_SILENCE_MS = 6_000
const DEFAULT_MAX_ANSWER_LENGTH = 16 * 1024 * 1024

/** Throws 'config-invalid' or 'tls-failed' for options that can never work; connects to nothing yet. */
export function createStoreClient(options: StoreClientOptions): Store {
  return new GatewayStore(options)
}

class GatewayStore implements Store {
  readonly #options: StoreClientOptions
  readonly #random: () => number
  readonly #session: Session
  readonly #watches = new Set<Watch>()
  #closed = false

  constructor(options: StoreClientOptions) {
    const { credentials, tls, nowMs, requestTimeoutMs } = options
    if (credentials !== 'none' && 'token' in credentials && !isToken(credentials.token)) {
      throw new UnderstudyError(
        'config-invalid',
        'the store token is empty or holds characters that cannot be sent',
      )
    }
    this.#options = options
    this.#random = options.random ?? Math.random
    const maxAnswerLength = options.maxAnswerLength ?? DEFAULT_MAX_ANSWER_LENGTH
    this.#session = new Session({
      endpoints: new Endpoints(options.endpoints, this.#random),
      authenticator: new Authenticator(credentials),
      transport: new Transport({ tls, maxAnswerLength }),
      nowMs,
      requestTimeoutMs,
    })
  }

  async get(key: string): Promise<StoreResult<KeyValue | null>> {
    const listing = await this.#range(rangeOfKey(key))
    return listing.kind === 'ok' ? ok(listing.value.entries[0] ?? null) : listing
  }

  list(prefix: string): Promise<StoreResult<Listing>> {
    return this.#range(rangeOfPrefix(prefix))
  }

  async transact(transaction: Transaction): Promise<StoreResult<TransactionResult>> {
    const reply = await this.#session.call({
      path: '/v3/kv/txn',
      body: transactionMessage(transaction),
      purpose: 'request',
      repeat: readsOnly(transaction) ? 'unanswered' : 'unsent',
      parse: (answer) => parseTransaction(answer, transaction),
    })
    return replyValue(reply)
  }

  /** The gateway counts in whole seconds, and etcd has a minimum of its own: `ttlMs` in the answer is what holds. */
  async grantLease(ttlMs: number): Promise<StoreResult<LeaseGrant>> {
    const reply = await this.#session.call({
      path: '/v3/lease/grant',
      body: { TTL: String(Math.max(1, Math.ceil(ttlMs / 1000))) },
      purpose: 'lease',
      repeat: 'unsent',
      parse: (answer) => {
        const leaseId = parseInt64(answer['ID'])
        const grantedMs = parseTtlMs(answer)
        return leaseId === null || leaseId === 0n || grantedMs === null || grantedMs <= 0
          ? null
          : { leaseId, ttlMs: grantedMs }
      },
    })
    return reply.kind === 'ok' ? ok({ ...reply.value.value, sentAtMs: reply.value.sentAtMs }) : reply
  }

  /** A dead lease is answered with status 200 and no TTL. */
  async renewLease(leaseId: bigint): Promise<StoreResult<LeaseRenewal>> {
    const reply = await this.#session.call({
      path: '/v3/lease/keepalive',
      body: { ID: String(leaseId) },
      purpose: 'lease',
      repeat: 'unanswered',
      // An answer about another lease, or none, must not keep this one alive nor end it.
      parse: (answer) => (parseInt64(answer['ID']) === leaseId ? parseTtlMs(answer) : null),
    })
    if (reply.kind !== 'ok') return reply
    const { value: ttlMs, sentAtMs } = reply.value
    return ok(ttlMs > 0 ? { alive: true, ttlMs, sentAtMs } : { alive: false })
  }

  async revokeLease(leaseId: bigint): Promise<StoreResult<null>> {
    const reply = await this.#session.call({
      path: '/v3/lease/revoke',
      body: { ID: String(leaseId) },
      purpose: 'lease',
      repeat: 'unanswered',
      parse: parseRevision,
    })
    const gone = reply.kind === 'ok' || (reply.kind === 'refused' && reply.code === 'lease-lost')
    return gone ? ok(null) : reply
  }

  watch(prefix: string, fromRevision: bigint, listener: WatchListener, signal: AbortSignal): void {
    if (this.#closed || signal.aborted) return
    const watch = new Watch({
      session: this.#session,
      prefix,
      fromRevision,
      listener,
      random: this.#random,
      silenceMs: this.#options.watchSilenceMs ?? DEFAULT_WATCH_SILENCE_MS,
      maxFrameLength: this.#options.maxAnswerLength ?? DEFAULT_MAX_ANSWER_LENGTH,
    })
    const stop = (): void => watch.stop()
    this.#watches.add(watch)
    signal.addEventListener('abort', stop, { once: true })
    void watch.run().finally(() => {
      signal.removeEventListener('abort', stop)
      this.#watches.delete(watch)
    })
  }

  close(): void {
    this.#closed = true
    for (const watch of this.#watches) watch.stop()
    this.#session.close()
  }

  async #range(body: JsonObject): Promise<StoreResult<Listing>> {
    const reply = await this.#session.call({
      path: '/v3/kv/range',
      body,
      purpose: 'request',
      repeat: 'unanswered',
      parse: parseListing,
    })
    return replyValue(reply)
  }
}

/** 0 when left out. */
function parseTtlMs(answer: JsonObject): number | null {
  const seconds = parseInt64(answer['TTL'])
  return seconds === null ? null : Number(seconds) * 1000
}

function ok<T>(value: T): StoreResult<T> {
  return { kind: 'ok', value }
}

function replyValue<T>(reply: StoreResult<Reply<T>>): StoreResult<T> {
  return reply.kind === 'ok' ? ok(reply.value.value) : reply
}
