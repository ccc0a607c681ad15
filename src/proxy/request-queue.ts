/**
 * What was sent to a server and is not answered yet, in order: the server's messages do not say what they answer, so that who wants to
 * leave one out, or to know that all is answered, has to count (manual: "Message Flow", "Extended Query", "Pipelining").
 *
 * After an error in the extended protocol the server ignores everything up to the next Sync, simple queries included. Inside COPY FROM
 * it ignores Sync. Both change what is still owed. Pure.
 */
import type { Statement, UnnamedStatement } from './statements.ts'

export const REQUEST = {
  Parse: 1,
  Bind: 2,
  Describe: 3,
  Execute: 4,
  Close: 5,
  Sync: 6,
  Query: 7,
  FunctionCall: 8,
  /** CopyDone or CopyFail: gets no answer of its own. */
  CopyEnd: 9,
} as const

const KEPT = 1_024

export type RequestKind = (typeof REQUEST)[keyof typeof REQUEST]

/** What the answer to a request means beyond itself. */
export type RequestNote =
  /** A statement was prepared; `hidden`: by the proxy, so its answer is not the client's. */
  | {
      readonly kind: 'prepared'
      readonly statement: Statement
      readonly hidden: boolean
      readonly name: string | null
    }
  /** A Close that stands for a Parse of a statement that this server has already. */
  | { readonly kind: 'known'; readonly name: string; readonly statement: Statement }
  /** The proxy closes one that it does not need any more. */
  | { readonly kind: 'hidden' }
  /** The unnamed one was prepared; `hidden`: by the proxy, because another server had it. */
  | { readonly kind: 'unnamed'; readonly hidden: boolean; readonly statement: UnnamedStatement }
  /** The client closes the statement that it called so. */
  | { readonly kind: 'closed'; readonly name: string; readonly statement: Statement | undefined }
  /** DEALLOCATE of one that the proxy keeps for the client; something else was sent in its place. */
  | { readonly kind: 'deallocated'; readonly name: string; readonly statement: Statement }
  /** It needs a statement of the proxy's. */
  | { readonly kind: 'uses'; readonly statement: Statement }
  /** Sent so that the server fails in its place; `error` is the error to tell. */
  | { readonly kind: 'refused'; readonly error: Buffer }

export class RequestQueue {
  readonly #onFailed: (note: RequestNote) => void
  /** What is owed lies in [head, tail); what is behind it is left over. Setting an array's length costs more than all else here. */
  #kinds: RequestKind[] = []
  #notes: (RequestNote | null)[] = []
  #head = 0
  #tail = 0
  #skipping = false
  /** What was sent behind the last Sync, answered or not: nothing of it counts before the next one. */
  #behindSync: 'nothing' | 'prepared' | 'executed' = 'nothing'

  /** `onFailed` hears of requests that the server did not carry out. */
  constructor(onFailed: (note: RequestNote) => void) {
    this.#onFailed = onFailed
  }

  get isEmpty(): boolean {
    return this.#head === this.#tail
  }

  /** Of the request that is being answered. */
  get current(): RequestNote | null {
    return this.#notes[this.#head] ?? null
  }

  /** How many ReadyForQuery the server owes. */
  get owed(): number {
    let count = 0
    for (let i = this.#head; i < this.#tail; i++) if (isEnd(this.#kinds[i])) count++
    return count
  }

  /** True when the server owes nothing and waits for no Sync: whoever comes next would be in no transaction of another. */
  get isSettled(): boolean {
    return this.isEmpty && !this.#skipping && this.#behindSync === 'nothing'
  }

  /** True when something that cannot be sent again elsewhere, or is not answered, stands behind the last Sync. */
  get isOpen(): boolean {
    if (this.#skipping || this.#behindSync === 'executed') return true
    return !this.isEmpty && !isEnd(this.#kinds[this.#tail - 1])
  }

  push(kind: RequestKind, note: RequestNote | null = null): void {
    if (this.#skipping) {
      if (kind !== REQUEST.Sync) {
        if (note !== null) this.#onFailed(note)
        return
      }
      this.#skipping = false
    }
    if (kind === REQUEST.CopyEnd && this.isEmpty) return
    if (isEnd(kind)) this.#behindSync = 'nothing'
    else if (kind === REQUEST.Execute) this.#behindSync = 'executed'
    else if (this.#behindSync === 'nothing' && kind !== REQUEST.CopyEnd) this.#behindSync = 'prepared'
    this.#kinds[this.#tail] = kind
    this.#notes[this.#tail] = note
    this.#tail++
  }

  /** An answer that ends a request of `kind`; anything else at the head stays (a simple query has many answers). */
  answered(kind: RequestKind): RequestNote | null {
    return !this.isEmpty && this.#kinds[this.#head] === kind ? this.#shift() : null
  }

  /**
   * An error: gives the note of the request that failed. Of the extended protocol's requests everything up to the next Sync fails with
   * it.
   */
  failed(): RequestNote | null {
    const kind = this.isEmpty ? null : this.#kinds[this.#head]
    const note = this.isEmpty ? null : (this.#notes[this.#head] ?? null)
    if (kind === REQUEST.Query || kind === REQUEST.FunctionCall) return note
    while (!this.isEmpty && this.#kinds[this.#head] !== REQUEST.Sync) this.#fail()
    this.#skipping = this.isEmpty
    return note
  }

  /** ReadyForQuery: everything up to a Sync or a query is over. */
  ready(): void {
    while (!this.isEmpty && !isEnd(this.#kinds[this.#head])) this.#fail()
    if (!this.isEmpty) this.#shift()
  }

  /**
   * CopyInResponse: a Sync that was sent before the end of the data is ignored. True when that end was not sent yet, so that what the
   * client sends now is data.
   */
  copyIn(): boolean {
    const next = this.#head + 1
    while (next < this.#tail) {
      const kind = this.#kinds[next]
      if (kind !== REQUEST.Sync && kind !== REQUEST.CopyEnd) return false
      this.#kinds.splice(next, 1)
      this.#notes.splice(next, 1)
      this.#tail--
      if (this.owed === 0) this.#behindSync = 'executed'
      if (kind === REQUEST.CopyEnd) return false
    }
    return true
  }

  #keep(kinds: RequestKind[], notes: (RequestNote | null)[]): void {
    this.#kinds = kinds
    this.#notes = notes
    this.#head = 0
    this.#tail = kinds.length
  }

  #fail(): void {
    const note = this.#shift()
    if (note !== null) this.#onFailed(note)
  }

  #shift(): RequestNote | null {
    const note = this.#notes[this.#head] ?? null
    this.#notes[this.#head] = null
    this.#head++
    while (!this.isEmpty && this.#kinds[this.#head] === REQUEST.CopyEnd) this.#head++
    if (this.isEmpty) {
      this.#head = 0
      this.#tail = 0
      // A client once sent thousands in a row: their room is not kept.
      if (this.#kinds.length > KEPT) this.#keep([], [])
    } else if (this.#head > KEPT) {
      this.#keep(this.#kinds.slice(this.#head, this.#tail), this.#notes.slice(this.#head, this.#tail))
    }
    return note
  }
}

function isEnd(kind: RequestKind | undefined): boolean {
  return kind === REQUEST.Sync || kind === REQUEST.Query || kind === REQUEST.FunctionCall
}
