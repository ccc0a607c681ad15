/**
 * A TCP proxy that misbehaves on command: late, frozen in one direction or both, cut off with a reset, half closed, or talking garbage.
 * `up` is from the client to the server, `down` is back.
 */
import * as net from 'node:net'

export type Direction = 'up' | 'down'

export interface ChaosProxyOptions {
  readonly targetPort: number
  /** 127.0.0.1 unless said otherwise. */
  readonly targetHost?: string
  /** Where it listens: 127.0.0.1, and a free port, unless said otherwise. */
  readonly listenHost?: string
  readonly listenPort?: number
  /** The address that the target sees its clients come from. */
  readonly localAddress?: string
}

interface Link {
  readonly client: net.Socket
  readonly server: net.Socket
  readonly late: Record<Direction, LatePieces>
}

export class ChaosProxy {
  readonly #options: ChaosProxyOptions
  readonly #listener: net.Server
  readonly #links = new Set<Link>()
  readonly #frozen = new Set<Direction>()
  #delayMs = 0
  #refusing = false
  #garbage: Buffer | null = null
  #accepted = 0

  private constructor(options: ChaosProxyOptions) {
    this.#options = options
    this.#listener = net.createServer({ allowHalfOpen: true }, (client) => this.#accept(client))
  }

  /** A number is the port of a target on 127.0.0.1. Passes everything on until told otherwise. */
  static async start(target: number | ChaosProxyOptions): Promise<ChaosProxy> {
    const options = typeof target === 'number' ? { targetPort: target } : target
    const proxy = new ChaosProxy(options)
    const { listenHost = '127.0.0.1', listenPort = 0 } = options
    await new Promise<void>((resolve, reject) => {
      proxy.#listener.once('error', reject)
      proxy.#listener.listen(listenPort, listenHost, resolve)
    })
    return proxy
  }

  get port(): number {
    return (this.#listener.address() as net.AddressInfo).port
  }

  get url(): string {
    return `http://${this.#options.listenHost ?? '127.0.0.1'}:${this.port}`
  }

  /** How many connections were made so far. */
  get accepted(): number {
    return this.#accepted
  }

  /** How many connections are open now. */
  get open(): number {
    return this.#links.size
  }

  /** Every piece, both ways, arrives this much later. */
  delay(ms: number): void {
    this.#delayMs = ms
  }

  /** Nothing more arrives in these directions, on old and new connections, which stay open: a cable that was pulled. */
  freeze(...directions: readonly Direction[]): void {
    for (const direction of directions) this.#frozen.add(direction)
    for (const link of this.#links) this.#flow(link)
  }

  /** In these directions only, or in both. */
  thaw(...directions: readonly Direction[]): void {
    if (directions.length === 0) this.#frozen.clear()
    for (const direction of directions) this.#frozen.delete(direction)
    for (const link of this.#links) this.#flow(link)
  }

  /** Every open connection ends with a reset, on both sides. */
  reset(): void {
    for (const { client, server } of this.#links) {
      breakOff(client)
      breakOff(server)
    }
  }

  /** As if nobody listened: new connections are reset at once, and so are the open ones. false: as before. */
  refuse(refusing: boolean): void {
    this.#refusing = refusing
    if (refusing) this.reset()
  }

  /** Tells every client that nothing more will come, and goes on listening to it. */
  halfClose(): void {
    for (const { client } of this.#links) client.end()
  }

  /** From now on clients get these bytes, whatever they say, instead of the server; null: the server again. */
  garbage(bytes: string | Buffer | null): void {
    this.#garbage = bytes === null ? null : Buffer.from(bytes)
  }

  async close(): Promise<void> {
    this.reset()
    await new Promise<void>((resolve) => this.#listener.close(() => resolve()))
  }

  #accept(client: net.Socket): void {
    this.#accepted++
    client.on('error', () => {})
    if (this.#refusing) {
      breakOff(client)
      return
    }
    const { targetPort, targetHost = '127.0.0.1', localAddress } = this.#options
    const server = net.connect({
      port: targetPort,
      host: targetHost,
      ...(localAddress === undefined ? {} : { localAddress }),
    })
    const late = { up: new LatePieces(server), down: new LatePieces(client) }
    const link: Link = { client, server, late }
    this.#links.add(link)
    // A server that is not there must look so to the client, and not like one that said goodbye.
    server.on('error', () => breakOff(client))
    for (const socket of [client, server]) {
      socket.setNoDelay(true)
      socket.on('close', () => {
        this.#links.delete(link)
        for (const pieces of [late.up, late.down]) pieces.drop()
        client.destroy()
        server.destroy()
      })
    }
    this.#pass('up', client, link)
    this.#pass('down', server, link)
    this.#flow(link)
  }

  #pass(direction: Direction, from: net.Socket, link: Link): void {
    const pieces = link.late[direction]
    from.on('data', (chunk) => {
      const garbage = this.#garbage
      if (garbage === null) pieces.send(chunk, this.#delayMs)
      else if (direction === 'up') from.write(garbage)
    })
    from.on('end', () => pieces.send(null, this.#delayMs))
  }

  /** A frozen direction is one that is not read, and whose late pieces stay: the kernels' buffers fill, as behind a host that hangs. */
  #flow(link: Link): void {
    const set = (socket: net.Socket, direction: Direction): void => {
      const frozen = this.#frozen.has(direction)
      link.late[direction].hold(frozen)
      if (frozen) socket.pause()
      else socket.resume()
    }
    set(link.client, 'up')
    set(link.server, 'down')
  }
}

/**
 * With a reset where Node can: resetAndDestroy ends the stream first, which waits for ever when a peer that is frozen reads no more, and
 * libuv refuses to reset, and leaves open, what is just being shut down.
 */
function breakOff(socket: net.Socket): void {
  if (socket.connecting || socket.writableLength > 0 || socket.writableEnded) socket.destroy()
  else socket.resetAndDestroy()
}

/** What is on its way in one direction, in order, also when the delay changes while something is. null is the end. */
class LatePieces {
  readonly #to: net.Socket
  readonly #waiting: { readonly piece: Buffer | null; readonly dueAtMs: number }[] = []
  #timer: NodeJS.Timeout | null = null
  #held = false

  constructor(to: net.Socket) {
    this.#to = to
  }

  send(piece: Buffer | null, delayMs: number): void {
    if (delayMs === 0 && this.#waiting.length === 0 && !this.#held) {
      this.#write(piece)
      return
    }
    this.#waiting.push({ piece, dueAtMs: performance.now() + delayMs })
    this.#plan()
  }

  hold(held: boolean): void {
    this.#held = held
    this.#plan()
  }

  drop(): void {
    this.#waiting.length = 0
    if (this.#timer !== null) clearTimeout(this.#timer)
  }

  #plan(): void {
    const [next] = this.#waiting
    if (next === undefined || this.#timer !== null || this.#held) return
    this.#timer = setTimeout(() => this.#deliver(), Math.max(0, next.dueAtMs - performance.now()))
  }

  #deliver(): void {
    this.#timer = null
    while (!this.#held) {
      const [next] = this.#waiting
      if (next === undefined || next.dueAtMs > performance.now()) break
      this.#waiting.shift()
      this.#write(next.piece)
    }
    this.#plan()
  }

  #write(piece: Buffer | null): void {
    if (piece === null) this.#to.end()
    else this.#to.write(piece)
  }
}
