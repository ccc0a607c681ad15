/** One command on its way: collects result sets, feeds COPY data to its sink, and ends at ReadyForQuery. */
import { UnderstudyError } from '../errors/codes.ts'
import type { BackendMessage } from '../protocol/backend-messages.ts'
import { ServerError } from './failures.ts'

export interface ResultSet {
  readonly columns: readonly string[]
  /** Text as the server sent it; the types differ between versions, so callers parse text. */
  readonly rows: readonly (readonly (string | null)[])[]
}

export interface CommandResult {
  readonly resultSets: readonly ResultSet[]
  /** CommandComplete's tags; a replication command may send more than one. */
  readonly tags: readonly string[]
}

/** Where COPY data goes. What it throws ends the connection and fails the command. */
export interface CopySink {
  /** The COPY begins; `resultSets` came before it. */
  begin(resultSets: readonly ResultSet[]): void
  /** The next slice of a CopyData message, as in FrameHandler; aliases the input. */
  part(part: Buffer, offset: number, total: number): void
}

export interface CommandOptions {
  readonly copy?: CopySink
  /** How long the server may bring nothing; the connection's default when left out. */
  readonly silenceTimeoutMs?: number
  readonly signal?: AbortSignal
}

interface OpenResultSet {
  readonly columns: readonly string[]
  readonly rows: (readonly (string | null)[])[]
}

export class Exchange {
  readonly result: Promise<CommandResult>
  readonly #options: CommandOptions
  readonly #transmitCopyDone: () => void
  readonly #resultSets: OpenResultSet[] = []
  readonly #tags: string[] = []
  #settle: { readonly done: (result: CommandResult) => void; readonly failed: (error: Error) => void } = {
    done: () => undefined,
    failed: () => undefined,
  }
  #serverError: ServerError | null = null
  #copying = false
  #both = false
  #copyDoneSent = false

  constructor(options: CommandOptions, transmitCopyDone: () => void) {
    this.#options = options
    this.#transmitCopyDone = transmitCopyDone
    this.result = new Promise((done, failed) => {
      this.#settle = { done, failed }
    })
  }

  message(message: BackendMessage): void {
    switch (message.name) {
      case 'RowDescription':
        this.#resultSets.push({ columns: message.fields.map((field) => field.name), rows: [] })
        return
      case 'DataRow':
        this.#resultSets.at(-1)?.rows.push(message.values.map((value) => value?.toString('utf8') ?? null))
        return
      case 'CommandComplete':
        this.#tags.push(message.tag)
        return
      case 'CopyOutResponse':
      case 'CopyBothResponse':
        this.#beginCopy(message.name === 'CopyBothResponse')
        return
      case 'CopyDone':
        this.#copying = false
        // In COPY BOTH each side ends for itself; the server goes on only when we have ended too.
        this.sendCopyDone()
        return
      case 'ErrorResponse':
        // The first one counts. START_REPLICATION may send CopyBothResponse and fail only then.
        this.#serverError ??= new ServerError(message.fields)
        return
      case 'ReadyForQuery':
        if (this.#serverError !== null) this.#settle.failed(this.#serverError)
        else this.#settle.done({ resultSets: this.#resultSets, tags: this.#tags })
        return
      case 'EmptyQueryResponse':
        return
      default:
        throw new UnderstudyError(
          'protocol-violation',
          `The server sent ${message.name} in answer to a command`,
        )
    }
  }

  copyPart(part: Buffer, offset: number, total: number): void {
    if (!this.#copying) {
      throw new UnderstudyError('protocol-violation', 'The server sent CopyData outside of a COPY')
    }
    this.#options.copy?.part(part, offset, total)
  }

  sendCopyDone(): void {
    if (!this.#both || this.#copyDoneSent) return
    this.#copyDoneSent = true
    this.#transmitCopyDone()
  }

  /** The connection is over. What the server said before (FATAL) tells more than that it closed the connection. */
  ended(failure: UnderstudyError): void {
    this.#settle.failed(this.#serverError ?? failure)
  }

  #beginCopy(both: boolean): void {
    const { copy } = this.#options
    if (copy === undefined) {
      throw new UnderstudyError('protocol-violation', 'The server began a COPY that nobody asked for')
    }
    this.#copying = true
    this.#both = both
    copy.begin(this.#resultSets)
  }
}
