/**
 * Fuzzes a running proxy with real servers behind it. Differential clients compare what comes through the proxy with what comes from the
 * server, in any split; others send nonsense, flood, stop reading and vanish; witnesses see that nobody's bytes reach anybody else, and
 * that all goes on. Whoever runs it looks at the process.
 */
import { connect, type Socket } from 'node:net'
import { query } from '../../src/protocol/frontend-messages.ts'
import { shown, WireClient, type WireMessage } from '../support/wire-client.ts'
import { drawBeginning, drawNonsense } from './garbage.ts'
import { Random } from './random.ts'
import { drawExchanges, type Exchange } from './scripts.ts'

export interface FuzzTarget {
  /** Of the proxies, by name. */
  readonly proxies: Readonly<Record<string, number>>
  /** Of the server itself, which takes TLS only. */
  readonly serverPort: number
}

export interface FuzzCounts {
  exchanges: number
  messagesCompared: number
  nonsense: number
  beginnings: number
  vanished: number
  slowReaders: number
  witnessed: number
}

const ROUNDS_PER_CLIENT = 3
const MARKER = /fz\d+z/g

export class Fuzzer {
  readonly counts: FuzzCounts = {
    exchanges: 0,
    messagesCompared: 0,
    nonsense: 0,
    beginnings: 0,
    vanished: 0,
    slowReaders: 0,
    witnessed: 0,
  }
  /** What is wrong, in words; the run goes on. */
  readonly findings: string[] = []
  readonly #target: FuzzTarget
  readonly #random: Random
  #markers = 0
  #stopping = false

  constructor(target: FuzzTarget, seed: number) {
    this.#target = target
    this.#random = new Random(seed)
  }

  /** Ends when `signal` says so and what is under way has ended. */
  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => {
      this.#stopping = true
    })
    await Promise.all(
      Object.entries(this.#target.proxies).flatMap(([name, port]) => [
        this.#repeat((random) => this.#compare(name, port, random)),
        this.#repeat((random) => this.#compare(name, port, random)),
        this.#repeat((random) => this.#talkNonsense(port, random)),
        this.#repeat((random) => this.#talkNonsense(port, random)),
        this.#repeat((random) => this.#begin(port, random)),
        this.#repeat((random) => this.#readSlowly(port, random)),
        this.#witness(name, port),
      ]),
    )
  }

  async #repeat(once: (random: Random) => Promise<void>): Promise<void> {
    while (!this.#stopping && this.findings.length < 20) {
      try {
        await once(this.#random.fork())
      } catch (error) {
        this.findings.push(
          `unforeseen: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
        )
      }
    }
  }

  #marker(): string {
    this.#markers++
    return `fz${this.#markers}z`
  }

  async #compare(name: string, port: number, random: Random): Promise<void> {
    const marker = this.#marker()
    const parameters = { application_name: marker }
    const proxied = await WireClient.login({ port, tls: random.chance(2), parameters })
    const direct = await WireClient.login({ port: this.#target.serverPort, tls: true, parameters })
    try {
      const exchanges = Array.from({ length: ROUNDS_PER_CLIENT }, () => drawExchanges(random, marker)).flat()
      for (const exchange of exchanges) {
        const [got, wanted] = await Promise.all([
          this.#exchange(proxied, exchange, random.pieces(exchange.bytes)),
          this.#exchange(direct, exchange, [exchange.bytes]),
        ])
        this.counts.exchanges++
        this.counts.messagesCompared += wanted.length
        this.#lookForOthers(marker, got)
        const [through, from] = [shown(got), shown(wanted)].map((text) => text.split(' ')) as [
          string[],
          string[],
        ]
        if (isTheSame(through, from)) continue
        const [sent, proxy, server] = [readable(exchange.bytes), short(through), short(from)]
        this.findings.push(
          `${name}: other answers through the proxy\n  sent     ${sent}\n  proxy    ${proxy}\n  server   ${server}`,
        )
        return
      }
    } finally {
      proxied.close()
      direct.close()
    }
  }

  async #exchange(
    client: WireClient,
    { end }: Exchange,
    pieces: readonly Buffer[],
  ): Promise<readonly WireMessage[]> {
    for (const piece of pieces) {
      client.send(piece)
      if (pieces.length > 1) await new Promise((resolve) => setImmediate(resolve))
    }
    const all: WireMessage[] = []
    for (let ended = false; ; ) {
      const message = await client.next()
      all.push(message)
      if (message.type === 'D' && message.body.includes(end)) ended = true
      if (message.type === 'Z' && ended) return all
    }
  }

  /** Bytes of anybody else's text. */
  #lookForOthers(marker: string, messages: readonly WireMessage[]): void {
    for (const { type, body } of messages) {
      for (const [found] of body.toString('latin1').matchAll(MARKER))
        if (found !== marker) this.findings.push(`${marker} was given ${found} in a message of type ${type}`)
    }
  }

  async #talkNonsense(port: number, random: Random): Promise<void> {
    const marker = this.#marker()
    const client = await WireClient.login({ port, parameters: { application_name: marker } })
    const { socket } = client
    socket.removeAllListeners('data')
    const heard = listen(socket)
    for (let left = 1 + random.below(3); left > 0 && !socket.destroyed; left--) {
      for (const piece of random.pieces(drawNonsense(random, marker))) {
        socket.write(piece)
        if (random.chance(4)) await new Promise((resolve) => setImmediate(resolve))
      }
      this.counts.nonsense++
    }
    if (random.chance(2)) await quiet(socket, heard)
    else this.counts.vanished++
    for (const [found] of heard.text().matchAll(MARKER))
      if (found !== marker) this.findings.push(`${marker}, which talks nonsense, was given ${found}`)
    socket.destroy()
  }

  async #begin(port: number, random: Random): Promise<void> {
    const marker = this.#marker()
    const socket = connect({ host: '127.0.0.1', port, noDelay: true })
    const heard = listen(socket)
    await new Promise((resolve) => socket.once('connect', resolve).once('error', resolve))
    for (const piece of random.pieces(drawBeginning(random, marker))) {
      socket.write(piece)
      if (random.chance(3)) await new Promise((resolve) => setImmediate(resolve))
    }
    if (random.chance(3)) await quiet(socket, heard)
    for (const [found] of heard.text().matchAll(MARKER))
      if (found !== marker) this.findings.push(`${marker}, which is nobody yet, was given ${found}`)
    socket.destroy()
    this.counts.beginnings++
    await new Promise((resolve) => setTimeout(resolve, 5))
  }

  /** Asks for much and does not read it, or reads a little and leaves. */
  async #readSlowly(port: number, random: Random): Promise<void> {
    const marker = this.#marker()
    const client = await WireClient.login({ port, parameters: { application_name: marker } })
    const { socket } = client
    socket.removeAllListeners('data')
    const heard = listen(socket)
    socket.pause()
    socket.write(
      query(`SELECT repeat('${marker}', 1000) FROM generate_series(1, ${1 + random.below(10_000)})`),
    )
    for (let i = 0; i < 3 && !this.#stopping; i++) {
      await new Promise((resolve) => setTimeout(resolve, 20 + random.below(200)))
      if (random.chance(2)) socket.resume()
      else socket.pause()
    }
    socket.resume()
    if (random.chance(2)) await quiet(socket, heard)
    for (const [found] of heard.text().matchAll(MARKER))
      if (found !== marker) this.findings.push(`${marker}, which reads slowly, was given ${found}`)
    socket.destroy()
    this.counts.slowReaders++
  }

  /** An honest client, which must not notice anything. */
  async #witness(name: string, port: number): Promise<void> {
    const marker = this.#marker()
    try {
      const client = await WireClient.login({ port, parameters: { application_name: marker } })
      while (!this.#stopping) {
        const answer = await client.ask(
          `SELECT '${marker} ${this.counts.witnessed}', current_setting('work_mem')`,
        )
        if (!/^T D\(fz\w+z \d+,4MB\) C\(SELECT 1\) Z\(I\)$/.test(answer) || !answer.includes(marker))
          this.findings.push(`${name}: a witness was told ${answer.slice(0, 300)}`)
        this.counts.witnessed++
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
      client.close()
    } catch (error) {
      this.findings.push(`${name}: a witness failed: ${String(error)}`)
    }
  }
}

/**
 * A name that is taken is an error for the proxy before the server has looked at the text, which may be wrong, too: then it is another
 * error, and nothing else differs.
 */
function isTheSame(through: readonly string[], from: readonly string[]): boolean {
  if (through.length !== from.length) return false
  return through.every(
    (each, i) => each === from[i] || (each === 'E(42P05)' && from[i]?.startsWith('E(') === true),
  )
}

function short(tokens: readonly string[]): string {
  return tokens.map((token) => (token.length > 60 ? `${token.slice(0, 57)}...` : token)).join(' ')
}

interface Heard {
  text(): string
  readonly bytes: number
}

const KEPT_BYTES = 4 * 1024 * 1024

function listen(socket: Socket): Heard {
  const chunks: Buffer[] = []
  let bytes = 0
  socket.on('error', () => undefined)
  socket.on('data', (chunk: Buffer) => {
    if (bytes < KEPT_BYTES) chunks.push(chunk)
    bytes += chunk.length
  })
  return {
    text: () => Buffer.concat(chunks).toString('latin1'),
    get bytes() {
      return bytes
    },
  }
}

/** Until it has ended, or nothing came for a little while. */
async function quiet(socket: Socket, heard: Heard): Promise<void> {
  for (let before = -1; !socket.destroyed && before !== heard.bytes; ) {
    before = heard.bytes
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

/** Messages in short, to be read by a person. */
function readable(bytes: Buffer): string {
  const found: string[] = []
  for (let at = 0; at + 5 <= bytes.length; at += 1 + bytes.readInt32BE(at + 1)) {
    const body = bytes.toString('latin1', at + 5, at + 1 + bytes.readInt32BE(at + 1)).slice(0, 60)
    found.push(
      `${String.fromCharCode(bytes[at] ?? 0)}(${body.replaceAll('\0', '|').replace(/[^\x20-\x7e]/g, '.')})`,
    )
  }
  return found.join(' ')
}
