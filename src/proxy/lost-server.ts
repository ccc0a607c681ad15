/**
 * The contract when a server is lost under a client (docs/proxy.md): what is certain is said as certain, what may have happened is never
 * sent twice. Pure.
 */
import {
  commandComplete,
  type ErrorText,
  errorResponse,
  readyForQuery,
} from '../protocol/backend-builders.ts'
import { FRONTEND } from '../protocol/message-types.ts'
import { CLIENT_ERRORS } from './client-errors.ts'
import type { Resolved } from './commit-resolver.ts'
import type { LocalState } from './local-answers.ts'
import type { RequestQueue } from './request-queue.ts'
import type { SessionState } from './session-state.ts'
import type { PoolMode } from './settings.ts'

/** What is known of a server at its end. */
export interface LostServer {
  /** Of the last ReadyForQuery. */
  readonly status: 'I' | 'T' | 'E'
  readonly requests: Pick<RequestQueue, 'owed' | 'isOpen'>
  readonly mayCommit: boolean
  /** A message had begun to pass to the client. */
  readonly cutOff: boolean
  readonly state: Pick<SessionState, 'held'>
}

export type Loss =
  /** The client is told and goes on; `next`: who answers it until it gets another server. */
  | { readonly kind: 'answers'; readonly answers: readonly Buffer[]; readonly next: LocalState | null }
  | { readonly kind: 'fatal'; readonly error: ErrorText }
  /** In the middle of a message nothing can be said any more. */
  | { readonly kind: 'cutOff' }

/** `onlyRead`: what is under way cannot have changed anything. */
export function lossOf(server: LostServer, mode: PoolMode, why: string, onlyRead = false): Loss {
  if (server.cutOff) return { kind: 'cutOff' }
  const held = server.state.held
  if (mode === 'session' && held !== null) return { kind: 'fatal', error: CLIENT_ERRORS.stateLost(held, why) }
  if (server.status !== 'I') {
    const { requests, status } = server
    return insideTransaction({ requests, status, mayCommit: server.mayCommit && !onlyRead }, why)
  }
  const error = onlyRead ? CLIENT_ERRORS.transactionLost(why) : CLIENT_ERRORS.outcomeUnknown(why)
  return outsideTransaction(server, error)
}

/** To a COMMIT, as a simple query, that was looked up afterwards. */
export function answersToCommit(outcome: Resolved, why: string): readonly Buffer[] {
  if (outcome === 'committed') return [commandComplete('COMMIT'), readyForQuery('I')]
  const error =
    outcome === 'notCommitted' ? CLIENT_ERRORS.transactionLost(why) : CLIENT_ERRORS.outcomeUnknown(why)
  return [errorResponse(error), readyForQuery('I')]
}

function outsideTransaction({ requests }: LostServer, error: ErrorText): Loss {
  const answers = Array.from({ length: requests.owed }, () => [
    errorResponse(error),
    readyForQuery('I'),
  ]).flat()
  if (!requests.isOpen) return { kind: 'answers', answers, next: null }
  // Extended messages without their Sync: the error now, and nothing more until it comes.
  answers.push(errorResponse(error))
  return { kind: 'answers', answers, next: { error: null, inTransaction: false, skipping: true } }
}

function insideTransaction(
  { requests, mayCommit, status }: Pick<LostServer, 'requests' | 'mayCommit' | 'status'>,
  why: string,
): Loss {
  const underWay = requests.owed > 0 || requests.isOpen
  if (!underWay) {
    const error = status === 'T' ? CLIENT_ERRORS.transactionLost(why) : null
    return { kind: 'answers', answers: [], next: { error, inTransaction: true, skipping: false } }
  }
  const first = mayCommit ? CLIENT_ERRORS.outcomeUnknown(why) : CLIENT_ERRORS.transactionLost(why)
  // Whether a commit happened is unknown, and that the transaction is over is certain.
  const inTransaction = !mayCommit
  const answers: Buffer[] = []
  for (let i = 0; i < requests.owed; i++) {
    answers.push(errorResponse(i === 0 ? first : following(mayCommit, why)))
    answers.push(readyForQuery(inTransaction ? 'E' : 'I'))
  }
  if (requests.isOpen) answers.push(errorResponse(requests.owed === 0 ? first : following(mayCommit, why)))
  if (!requests.isOpen && !inTransaction) return { kind: 'answers', answers, next: null }
  return { kind: 'answers', answers, next: { error: null, inTransaction, skipping: requests.isOpen } }
}

const BEGINS = /^\s*(?:begin|start\s+transaction)\b[^;]*;?\s*$/i
const HEADER_BYTES = 5
/** A text that only begins a transaction is short. */
const MAX_BEGIN_BYTES = 200

/** Whether this, all that was sent, certainly did nothing: a transaction that has only begun is gone with its server. */
export function onlyBegins(sent: Buffer): boolean {
  if (sent.length <= HEADER_BYTES || sent.length > MAX_BEGIN_BYTES) return false
  const isOne = sent[0] === FRONTEND.Query && 1 + sent.readInt32BE(1) === sent.length
  return isOne && BEGINS.test(sent.toString('latin1', HEADER_BYTES, sent.length - 1))
}

function following(mayCommit: boolean, why: string): ErrorText {
  return mayCommit ? CLIENT_ERRORS.outcomeUnknown(why) : CLIENT_ERRORS.inFailedTransaction()
}
