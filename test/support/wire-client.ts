/**
 * A client of the PostgreSQL protocol for tests, message by message: it sends what it is told to, whatever a driver would do, and shows
 * every message that comes back.
 */
import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { type ErrorFields, parseErrorFields } from '../../src/protocol/error-fields.ts'
import { FrameReader } from '../../src/protocol/frame-reader.ts'
import {
  cancelRequest,
  frame,
  query,
  saslInitialResponse,
  saslResponse,
  sslRequest,
  startupMessage,
  terminate,
} from '../../src/protocol/frontend-messages.ts'
import { ScramClient } from '../../src/protocol/scram.ts'

export interface WireMessage {
  /** The type's letter. */
  readonly type: string
  readonly body: Buffer
}

export interface WireOptions {
  readonly port: number
  readonly user?: string
  readonly password?: string
  readonly database?: string
  readonly parameters?: Readonly<Record<string, string>>
  /** Instead of the start-up message. */
  readonly startup?: Buffer
  readonly tls?: boolean
}

const code = (letter: string): number => letter.charCodeAt(0)
const DEADLINE_MS = 20_000

export class WireClient {
  readonly parameters = new Map<string, string>()
  processId = 0
  secretKey: Buffer = Buffer.alloc(0)
  #socket: Socket
  readonly #messages: WireMessage[] = []
  #wake: (() => void) | null = null
  #ended = false
  readonly #reader = new FrameReader({
    frame: (type, body) => {
      this.#messages.push({ type: String.fromCharCode(type), body: Buffer.from(body) })
      this.#wake?.()
    },
  })

  constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', (chunk: Buffer) => this.#reader.push(chunk))
    socket.on('error', () => undefined)
    socket.on('close', () => {
      this.#ended = true
      this.#wake?.()
    })
  }

  /** Nothing is sent yet. */
  static async open(port: number): Promise<WireClient> {
    return new WireClient(await openTcp(port))
  }

  /** Logged in and ready. Throws with the server's words when it is refused. */
  static async login(options: WireOptions): Promise<WireClient> {
    const client =
      options.tls === true ? await WireClient.openTls(options.port) : await WireClient.open(options.port)
    const { user = 'app', password = 'secret', database = 'app' } = options
    client.send(options.startup ?? startupMessage({ user, database, ...options.parameters }))
    await client.authenticate(password)
    return client
  }

  static async openTls(port: number): Promise<WireClient> {
    const plain = await openTcp(port)
    plain.write(sslRequest())
    const answer = await new Promise<Buffer>((resolve) => plain.once('data', resolve))
    if (answer.toString() !== 'S') throw new Error(`no TLS: ${answer.toString()}`)
    plain.removeAllListeners('data')
    const secure = connectTls({ socket: plain, rejectUnauthorized: false })
    await new Promise<void>((resolve, reject) => secure.once('secureConnect', resolve).once('error', reject))
    return new WireClient(secure)
  }

  get isEnded(): boolean {
    return this.#ended
  }

  get socket(): Socket {
    return this.#socket
  }

  send(...messages: readonly Buffer[]): void {
    this.#socket.write(Buffer.concat(messages))
  }

  /** The next message; rejects when the connection ends before, or nothing comes. */
  async next(): Promise<WireMessage> {
    const late = performance.now() + DEADLINE_MS
    for (;;) {
      const message = this.#messages.shift()
      if (message !== undefined) return message
      if (this.#ended) throw new Error('the connection has ended')
      if (performance.now() > late) throw new Error('nothing came')
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, DEADLINE_MS)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }

  /** Everything up to so many ReadyForQuery. */
  async until(ready = 1): Promise<readonly WireMessage[]> {
    const all: WireMessage[] = []
    for (let left = ready; left > 0; ) {
      const message = await this.next()
      all.push(message)
      if (message.type === 'Z') left--
    }
    return all
  }

  /** One simple query, as a short text: see `shown`. */
  async ask(sql: string): Promise<string> {
    this.send(query(sql))
    return shown(await this.until())
  }

  async authenticate(password: string): Promise<void> {
    const scram = new ScramClient({ password })
    for (;;) {
      const { type, body } = await this.next()
      if (type === 'E') throw new WireError(parseErrorFields(body))
      if (type === 'Z') return
      if (type === 'S') {
        const [name = '', value = ''] = body.toString().split('\0')
        this.parameters.set(name, value)
      } else if (type === 'K') {
        this.processId = body.readInt32BE(0)
        this.secretKey = body.subarray(4)
      } else if (type === 'R') {
        const method = body.readInt32BE(0)
        if (method === 10) this.send(saslInitialResponse('SCRAM-SHA-256', scram.first()))
        if (method === 11) this.send(saslResponse(scram.proceed(body.subarray(4))))
        if (method === 12) scram.finish(body.subarray(4))
      }
    }
  }

  /** Resolves when the connection has ended. */
  async ended(): Promise<void> {
    while (!this.#ended) await new Promise<void>((resolve) => this.#socket.once('close', () => resolve()))
  }

  close(): void {
    this.#socket.end(terminate())
  }
}

export class WireError extends Error {
  readonly fields: ErrorFields

  constructor(fields: ErrorFields) {
    super(`${fields.severity} ${fields.code}: ${fields.message}`)
    this.fields = fields
  }
}

/** On a connection of its own, as a cancel is sent; ends when the other side has closed it. */
export async function sendCancelTo(port: number, processId: number, secretKey: Buffer): Promise<void> {
  const socket = await openTcp(port)
  socket.on('error', () => undefined)
  socket.resume()
  socket.write(cancelRequest(processId, secretKey))
  await new Promise((resolve) => socket.once('close', resolve))
}

function openTcp(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true })
    socket.once('error', reject)
    socket.once('connect', () => {
      socket.off('error', reject)
      resolve(socket)
    })
  })
}

/** Messages as a line that can be read and compared: `T D(1,x) C(SELECT 1) Z(I)`. */
export function shown(messages: readonly WireMessage[]): string {
  return messages
    .filter(({ type }) => type !== 'S' && type !== 'N')
    .map(showOne)
    .join(' ')
}

function showOne({ type, body }: WireMessage): string {
  switch (type) {
    case 'Z':
      return `Z(${body.toString('latin1')})`
    case 'C':
      return `C(${body.toString('utf8', 0, body.length - 1)})`
    case 'E': {
      const { code: state } = parseErrorFields(body)
      return `E(${state})`
    }
    case 'D':
      return `D(${valuesOf(body).join(',')})`
    default:
      return type
  }
}

function valuesOf(body: Buffer): readonly string[] {
  const values: string[] = []
  let offset = 2
  for (let i = body.readUInt16BE(0); i > 0; i--) {
    const length = body.readInt32BE(offset)
    offset += 4
    values.push(length < 0 ? 'null' : body.toString('utf8', offset, offset + length))
    offset += Math.max(0, length)
  }
  return values
}

export const parse = (name: string, text: string, types: readonly number[] = []): Buffer => {
  const oids = Buffer.alloc(2 + types.length * 4)
  oids.writeUInt16BE(types.length, 0)
  for (const [i, type] of types.entries()) oids.writeUInt32BE(type, 2 + i * 4)
  return frame(code('P'), Buffer.from(`${name}\0${text}\0`), oids)
}

/** Text parameters. */
export const bind = (portal: string, statement: string, values: readonly string[] = []): Buffer => {
  const parts = [Buffer.from(`${portal}\0${statement}\0`), int16(0), int16(values.length)]
  for (const value of values) {
    const text = Buffer.from(value)
    const length = Buffer.alloc(4)
    length.writeInt32BE(text.length, 0)
    parts.push(length, text)
  }
  return frame(code('B'), ...parts, int16(0))
}

export const describe = (kind: 'S' | 'P', name: string): Buffer =>
  frame(code('D'), Buffer.from(`${kind}${name}\0`))
export const close = (kind: 'S' | 'P', name: string): Buffer =>
  frame(code('C'), Buffer.from(`${kind}${name}\0`))
export const sync = (): Buffer => frame(code('S'))
export const flush = (): Buffer => frame(code('H'))

export const execute = (portal: string, rows = 0): Buffer => {
  const limit = Buffer.alloc(4)
  limit.writeInt32BE(rows, 0)
  return frame(code('E'), Buffer.from(`${portal}\0`), limit)
}

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeInt16BE(value, 0)
  return bytes
}
