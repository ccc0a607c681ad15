/**
 * Answers a client in place of a server that is not there: refuses a statement that could not be sent, and keeps a transaction that was
 * lost with its server in the failed state until the client ends it (manual: "Message Flow"). It speaks as PostgreSQL would, to the
 * messages in order, so that any driver stays in step.
 */
import {
  bindComplete,
  closeComplete,
  commandComplete,
  type ErrorText,
  errorResponse,
  noData,
  parameterDescription,
  parseComplete,
  readyForQuery,
} from '../protocol/backend-builders.ts'
import { FRONTEND } from '../protocol/message-types.ts'
import { CLIENT_ERRORS } from './client-errors.ts'
import type { ClientStatements } from './client-statements.ts'
import { textOf } from './statements.ts'

export interface LocalState {
  /** Told once, to the first statement; null: it was told already. */
  readonly error: ErrorText | null
  /** A failed transaction, which the client has to end; false: one refusal, and then it goes on as usual. */
  readonly inTransaction: boolean
  /** An error was told in the middle of extended messages: nothing is answered up to the next Sync. */
  readonly skipping: boolean
}

/** AND CHAIN does not: what the client sends next is meant for a transaction, and there is none. */
const ENDS =
  /^\s*(?:commit|end|rollback|abort)\b(?!\s+(?:prepared|to|(?:work\s+|transaction\s+)?to)\b)(?![^;]*\band\s+chain\b)[^;]*;?\s*$/i
const COMMITS = /^\s*(?:commit|end)\b/i

export class LocalAnswers {
  readonly #reply: (bytes: Buffer) => void
  readonly #statements: ClientStatements
  #error: ErrorText | null
  #inTransaction: boolean
  #skipping: boolean
  #isOver = false
  /** The statement of the portal that was bound last: in a failed transaction there is nothing to do but to end it. */
  #bound: string | null = null
  /** What the client called '' last. */
  #unnamed: string | null = null

  constructor(state: LocalState, reply: (bytes: Buffer) => void, statements: ClientStatements) {
    this.#error = state.error
    this.#inTransaction = state.inTransaction
    this.#skipping = state.skipping
    this.#reply = reply
    this.#statements = statements
  }

  /** After a Sync or a query nothing keeps the client from a server any more. */
  get isOver(): boolean {
    return this.#isOver
  }

  /** One message; `body` may be only the beginning of a long one. */
  take(type: number, body: Buffer): void {
    if (type === FRONTEND.Sync) {
      this.#skipping = false
      this.#ready()
    } else if (this.#skipping) {
      return
    } else if (type === FRONTEND.Query) {
      this.#query(textOf(body.toString('latin1')))
    } else if (type === FRONTEND.FunctionCall) {
      this.#fail()
      this.#ready()
    } else {
      this.#extended(type, body)
    }
  }

  #query(text: string): void {
    this.#end(text)
    this.#ready()
  }

  #extended(type: number, body: Buffer): void {
    switch (type) {
      case FRONTEND.Parse: {
        const [name = '', text = ''] = body.toString('latin1').split('\0', 2)
        if (!this.#mayEnd(text) || name !== '') {
          this.#failAndSkip()
          return
        }
        this.#unnamed = text
        this.#reply(parseComplete())
        return
      }
      case FRONTEND.Bind: {
        const [, statement = ''] = body.toString('utf8').split('\0', 2)
        const text = this.#textOf(statement)
        if (text === null || !this.#mayEnd(text)) {
          this.#failAndSkip()
          return
        }
        this.#bound = text
        this.#reply(bindComplete())
        return
      }
      case FRONTEND.Describe: {
        if (this.#error !== null && !this.#inTransaction) {
          this.#failAndSkip()
          return
        }
        if (body[0] === 0x53) this.#reply(parameterDescription([]))
        this.#reply(noData())
        return
      }
      case FRONTEND.Close:
        if (body[0] === 0x53) this.#statements.close(body.toString('utf8', 1, body.indexOf(0)))
        this.#reply(closeComplete())
        return
      case FRONTEND.Execute:
        if (this.#bound === null || !this.#end(this.#bound)) this.#skipping = true
        return
      default:
    }
  }

  #textOf(statement: string): string | null {
    return statement === '' ? this.#unnamed : this.#statements.textOf(statement)
  }

  #mayEnd(text: string): boolean {
    return this.#inTransaction && ENDS.test(text)
  }

  /** True when it ended the transaction and the client heard no error. */
  #end(text: string): boolean {
    if (!this.#mayEnd(text)) {
      this.#fail()
      return false
    }
    this.#inTransaction = false
    // Who commits and was not told that all is lost must not read a success out of the answer.
    if (this.#error !== null && COMMITS.test(text)) {
      this.#fail()
      return false
    }
    this.#reply(commandComplete('ROLLBACK'))
    return true
  }

  #fail(): void {
    this.#reply(errorResponse(this.#error ?? CLIENT_ERRORS.inFailedTransaction()))
    this.#error = null
  }

  #failAndSkip(): void {
    this.#fail()
    this.#skipping = true
  }

  #ready(): void {
    this.#reply(readyForQuery(this.#inTransaction ? 'E' : 'I'))
    this.#isOver = !this.#inTransaction
  }
}
