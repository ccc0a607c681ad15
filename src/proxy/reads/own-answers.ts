/**
 * Answers SET and SHOW of the proxy's own settings as PostgreSQL would, in the simple and in the extended protocol; no server hears of them
 * (manual: "Message Flow"). One batch: what it cannot be is known before.
 */
import {
  bindComplete,
  closeComplete,
  commandComplete,
  dataRow,
  type ErrorText,
  errorResponse,
  noData,
  noticeResponse,
  parameterDescription,
  parseComplete,
  readyForQuery,
  rowDescription,
} from '../../protocol/backend-builders.ts'
import { FRONTEND } from '../../protocol/message-types.ts'
import type { Verdict } from '../classify/verdict.ts'

type Own = Extract<Verdict, { kind: 'setOwn' | 'showOwn' }>

export interface OwnAnswersOptions {
  readonly own: Own
  /** Carries it out; gives a value to show, or an error. */
  readonly run: (own: Own) => {
    readonly shown?: string
    readonly error?: ErrorText
    readonly warning?: ErrorText
  }
  readonly reply: (bytes: Buffer) => void
  /** The client gives it a name, or throws that away; the Parse's body behind the name. */
  readonly prepared: (name: string, rest: Buffer) => void
  readonly closed: (name: string) => void
}

const TEXT_OID = 25

export class OwnAnswers {
  readonly #options: OwnAnswersOptions
  #skipping = false
  #isOver = false

  constructor(options: OwnAnswersOptions) {
    this.#options = options
  }

  get isOver(): boolean {
    return this.#isOver
  }

  take(type: number, body: Buffer): void {
    const { reply } = this.#options
    if (type === FRONTEND.Sync || type === FRONTEND.Query) {
      if (type === FRONTEND.Query) this.#run(true)
      reply(readyForQuery('I'))
      this.#isOver = true
    } else if (!this.#skipping) {
      this.#extended(type, body)
    }
  }

  #extended(type: number, body: Buffer): void {
    const { reply, prepared, closed } = this.#options
    switch (type) {
      case FRONTEND.Parse: {
        const end = body.indexOf(0)
        prepared(body.toString('utf8', 0, end), body.subarray(end + 1))
        reply(parseComplete())
        return
      }
      case FRONTEND.Bind:
        reply(bindComplete())
        return
      case FRONTEND.Describe:
        if (body[0] === 0x53) reply(parameterDescription([]))
        reply(this.#options.own.kind === 'showOwn' ? this.#description() : noData())
        return
      case FRONTEND.Execute:
        this.#run(false)
        return
      case FRONTEND.Close:
        if (body[0] === 0x53) closed(body.toString('utf8', 1, body.indexOf(0, 1)))
        reply(closeComplete())
        return
      default:
    }
  }

  #run(isSimple: boolean): void {
    const { own, run, reply } = this.#options
    const { shown, error, warning } = run(own)
    if (error !== undefined) {
      this.#skipping = true
      reply(errorResponse(error))
      return
    }
    if (warning !== undefined) reply(noticeResponse(warning))
    if (own.kind === 'setOwn') {
      reply(commandComplete(own.value === null ? 'RESET' : 'SET'))
      return
    }
    if (isSimple) reply(this.#description())
    reply(dataRow([Buffer.from(shown ?? '', 'utf8')]))
    reply(commandComplete('SHOW'))
  }

  #description(): Buffer {
    return rowDescription([{ name: this.#options.own.name, oid: TEXT_OID, bytes: -1, format: 0 }])
  }
}
