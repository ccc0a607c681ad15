/**
 * A client of the console: PostgreSQL's protocol, simple and extended, with commands in the place of SQL. One message after the other; what
 * comes meanwhile waits.
 */
import type { Socket } from 'node:net'
import type { ProxyFleet } from '../../ports/proxy-view.ts'
import {
  bindComplete,
  closeComplete,
  commandComplete,
  dataRow,
  type ErrorText,
  emptyQueryResponse,
  errorResponse,
  noData,
  noticeResponse,
  parameterDescription,
  parseComplete,
  readyForQuery,
  rowDescription,
} from '../../protocol/backend-builders.ts'
import { FrameReader } from '../../protocol/frame-reader.ts'
import { FRONTEND } from '../../protocol/message-types.ts'
import type { Cancellable } from '../cancel.ts'
import { CLIENT_ERRORS } from '../client-errors.ts'
import { type Command, parseCommands } from './commands.ts'
import type { ConsoleFacts } from './context.ts'
import { runCommand } from './run.ts'
import { type Cell, type Column, columnsOf, ROUTE_COLUMNS } from './tables.ts'

export interface ConsoleOptions {
  readonly socket: Socket
  readonly user: string
  readonly fleet: ProxyFleet
  readonly facts: ConsoleFacts
  readonly onEnd: () => void
}

interface Message {
  readonly type: number
  readonly body: Buffer
}

interface Portal {
  readonly command: Command | null
  /** Format codes of the result's columns: one for all, or one each; none is text. */
  readonly formats: readonly number[]
}

const MAX_MESSAGE_BYTES = 64 * 1024
/** Of a client that asks without waiting for answers. */
const MAX_QUEUED = 100
const TYPES = { text: { oid: 25, bytes: -1 }, int8: { oid: 20, bytes: 8 } } as const
const BINARY = 1

export class ConsoleSession implements Cancellable {
  readonly busyServer = null
  readonly #options: ConsoleOptions
  readonly #socket: Socket
  readonly #queue: Message[] = []
  readonly #statements = new Map<string, Command | null>()
  readonly #portals = new Map<string, Portal>()
  readonly #reader = new FrameReader(
    { frame: (type, body) => this.#queue.push({ type, body: Buffer.from(body) }) },
    { maxBodyBytes: MAX_MESSAGE_BYTES },
  )
  #working = false
  #skipping = false
  #ended = false
  #cancel = new AbortController()

  constructor(options: ConsoleOptions) {
    this.#options = options
    this.#socket = options.socket
    this.#socket.on('data', (chunk: Buffer) => this.take(chunk))
    this.#socket.on('error', () => this.#end())
    this.#socket.on('close', () => this.#end())
  }

  take(chunk: Buffer): void {
    try {
      this.#reader.push(chunk)
    } catch (error) {
      this.end(CLIENT_ERRORS.protocolViolation((error as Error).message))
      return
    }
    if (this.#queue.length > MAX_QUEUED)
      this.end(CLIENT_ERRORS.protocolViolation('too many messages at once'))
    void this.#work()
  }

  /** Says why, and ends the session. */
  end(error: ErrorText): void {
    if (this.#ended) return
    this.#write(errorResponse({ ...error, severity: 'FATAL' }))
    this.#end()
  }

  cancelWaiting(): void {
    this.#cancel.abort()
  }

  cancelled(): void {}

  async #work(): Promise<void> {
    if (this.#working) return
    this.#working = true
    try {
      for (let next = this.#queue.shift(); next !== undefined && !this.#ended; next = this.#queue.shift())
        await this.#message(next)
    } catch (error) {
      this.end({ severity: 'FATAL', code: 'XX000', message: `the console failed: ${String(error)}` })
    } finally {
      this.#working = false
    }
  }

  async #message({ type, body }: Message): Promise<void> {
    if (type === FRONTEND.Terminate) {
      this.#end()
    } else if (type === FRONTEND.Sync) {
      this.#skipping = false
      this.#portals.clear()
      this.#write(readyForQuery('I'))
    } else if (!this.#skipping && type === FRONTEND.Query) {
      await this.#query(stringsOf(body)[0] ?? '')
    } else if (!this.#skipping && type !== FRONTEND.Flush) {
      await this.#extended(type, body)
    }
  }

  async #query(text: string): Promise<void> {
    const parsed = parseCommands(text)
    if (parsed.kind === 'error') this.#write(errorResponse(syntaxError(parsed.near)))
    else if (parsed.commands.length === 0) this.#write(emptyQueryResponse())
    else
      for (const command of parsed.commands)
        if (!(await this.#run(command, { command, formats: [] }, true))) break
    this.#write(readyForQuery('I'))
  }

  async #extended(type: number, body: Buffer): Promise<void> {
    switch (type) {
      case FRONTEND.Parse: {
        const [name = '', text = ''] = stringsOf(body)
        const parsed = parseCommands(text)
        if (parsed.kind === 'error' || parsed.commands.length > 1) {
          this.#fail(syntaxError(parsed.kind === 'error' ? parsed.near : ';'))
          return
        }
        this.#statements.set(name, parsed.commands[0] ?? null)
        this.#write(parseComplete())
        return
      }
      case FRONTEND.Bind:
        this.#bind(body)
        return
      case FRONTEND.Describe:
        this.#describe(body)
        return
      case FRONTEND.Execute: {
        const portal = this.#portals.get(stringsOf(body)[0] ?? '')
        if (portal === undefined) this.#fail(noSuch('34000', 'portal'))
        else if (portal.command === null) this.#write(emptyQueryResponse())
        else if (!(await this.#run(portal.command, portal, false))) this.#skipping = true
        return
      }
      case FRONTEND.Close: {
        const named = body[0] === 0x53 ? this.#statements : this.#portals
        named.delete(stringsOf(body.subarray(1))[0] ?? '')
        this.#write(closeComplete())
        return
      }
      default:
        this.#fail(CLIENT_ERRORS.protocolViolation('the console knows no such message'))
    }
  }

  #bind(body: Buffer): void {
    const [portal = '', statement = ''] = stringsOf(body)
    const command = this.#statements.get(statement)
    const formats = resultFormats(body, Buffer.byteLength(portal) + Buffer.byteLength(statement) + 2)
    if (command === undefined) this.#fail(noSuch('26000', 'prepared statement'))
    else if (formats === null)
      this.#fail({
        ...{ severity: 'ERROR', code: '0A000', message: 'the console takes no parameters' },
        hint: 'Write the values into the command.',
      })
    else {
      this.#portals.set(portal, { command, formats })
      this.#write(bindComplete())
    }
  }

  #describe(body: Buffer): void {
    const name = stringsOf(body.subarray(1))[0] ?? ''
    const isStatement = body[0] === 0x53
    const portal = this.#portals.get(name)
    const command = isStatement ? this.#statements.get(name) : portal?.command
    if (command === undefined) {
      this.#fail(isStatement ? noSuch('26000', 'prepared statement') : noSuch('34000', 'portal'))
      return
    }
    if (isStatement) this.#write(parameterDescription([]))
    const columns = command === null ? null : resultColumns(command)
    this.#write(columns === null ? noData() : described(columns, portal?.formats ?? []))
  }

  /** False when it failed. */
  async #run(command: Command, { formats }: Portal, describe: boolean): Promise<boolean> {
    this.#cancel = new AbortController()
    const { fleet, facts } = this.#options
    const result = await runCommand(command, { fleet, facts, cancelled: this.#cancel.signal })
    if (result.kind === 'error') {
      this.#write(errorResponse(result.error))
      return false
    }
    if (result.kind === 'done') {
      if (result.notice !== null)
        this.#write(noticeResponse({ severity: 'NOTICE', code: '00000', message: result.notice }))
      this.#write(commandComplete(result.tag))
      return true
    }
    const { columns, rows } = result.table
    const parts = rows.map((row) =>
      dataRow(row.map((cell, index) => encodeCell(cell, columns, formats, index))),
    )
    if (describe) parts.unshift(described(columns, formats))
    this.#write(Buffer.concat([...parts, commandComplete('SHOW')]))
    return true
  }

  #fail(error: ErrorText): void {
    this.#write(errorResponse(error))
    this.#skipping = true
  }

  #write(bytes: Buffer): void {
    if (!this.#ended) this.#socket.write(bytes)
  }

  #end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#cancel.abort()
    this.#socket.destroySoon()
    this.#options.onEnd()
  }
}

function syntaxError(near: string): ErrorText {
  return {
    ...{ severity: 'ERROR', code: '42601', message: `the console knows no command that begins so: ${near}` },
    hint: 'SHOW HELP lists what there is. Statements for a database go to a connection to that database.',
  }
}

function noSuch(code: string, what: string): ErrorText {
  return { severity: 'ERROR', code, message: `there is no such ${what}` }
}

function stringsOf(body: Buffer): readonly string[] {
  return body.toString('utf8').split('\0')
}

/** Of a Bind, from behind its two names. null: it carries parameters. */
function resultFormats(body: Buffer, from: number): readonly number[] | null {
  const parameterFormats = body.readInt16BE(from)
  const values = from + 2 + 2 * parameterFormats
  if (body.readInt16BE(values) !== 0) return null
  const count = body.readInt16BE(values + 2)
  return Array.from({ length: count }, (_, index) => body.readInt16BE(values + 4 + 2 * index))
}

/** null: it gives no rows. */
function resultColumns(command: Command): readonly Column[] | null {
  if (command.kind === 'show') return columnsOf(command.what)
  return command.kind === 'route' ? ROUTE_COLUMNS : null
}

function formatOf(formats: readonly number[], index: number): number {
  return (formats.length === 1 ? formats[0] : formats[index]) ?? 0
}

function described(columns: readonly Column[], formats: readonly number[]): Buffer {
  return rowDescription(
    columns.map(({ name, type }, index) => ({ name, ...TYPES[type], format: formatOf(formats, index) })),
  )
}

function encodeCell(
  cell: Cell,
  columns: readonly Column[],
  formats: readonly number[],
  index: number,
): Buffer | null {
  if (cell === null) return null
  if (columns[index]?.type !== 'int8' || formatOf(formats, index) !== BINARY)
    return Buffer.from(typeof cell === 'number' ? String(Math.round(cell)) : cell, 'utf8')
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64BE(BigInt(Math.round(Number(cell))))
  return bytes
}
