/**
 * A TCP proxy that misbehaves on command: late, frozen in one direction or both, cut off with a reset, half closed, or talking garbage.
 * `up` is from the client to the server, `down` is back.
 */
import * as net from 'node:net'

export type Direction = 'up' | 'down'

interface Link {
  readonly client: net.Socket
  readonly server: net.Socket
}

export class ChaosProxy {
  readonly #targetPort: number
  readonly #listener: net.Server
  readonly #links = new Set<Link>()
  readonly #frozen = new Set<Direction>()
  #delayMs = 0
  #garbage: Buffer | null = null
  #accepted = 0

  private constructor(targetPort: number) {
    this.#targetPort = targetPort
    this.#listener = net.createServer({ allowHalfOpen: true }, (client) => this.#accept(client))
  }

  /** Listens on a free port of 127.0.0.1 and passes everything on. */
  static async start(targetPort: number): Promise<ChaosProxy> {
    const proxy = new ChaosProxy(targetPort)
    await new Promise<void>((resolve) => proxy.#listener.listen(0, '127.0.0.1', resolve))
    return proxy
  }

  get port(): number {
    return (this.#listener.address() as net.AddressInfo).port
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
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

  thaw(): void {
    this.#frozen.clear()
    for (const link of this.#links) this.#flow(link)
  }

  /** Every open connection ends with a reset, on both sides. */
  reset(): void {
    for (const { client, server } of this.#links) {
      client.resetAndDestroy()
      server.resetAndDestroy()
    }
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
    const server = net.connect(this.#targetPort, '127.0.0.1')
    const link: Link = { client, server }
    this.#links.add(link)
    for (const socket of [client, server]) {
      socket.setNoDelay(true)
      socket.on('error', () => {})
      socket.on('close', () => {
        this.#links.delete(link)
        client.destroy()
        server.destroy()
      })
    }
    this.#pass('up', client, server)
    this.#pass('down', server, client)
    this.#flow(link)
  }

  #pass(direction: Direction, from: net.Socket, to: net.Socket): void {
    from.on('data', (chunk) => {
      const garbage = this.#garbage
      if (garbage !== null) {
        if (direction === 'up') from.write(garbage)
        return
      }
      if (this.#delayMs === 0) to.write(chunk)
      else setTimeout(() => to.write(chunk), this.#delayMs)
    })
    from.on('end', () => setTimeout(() => to.end(), this.#delayMs))
  }

  /** A frozen direction is one that is not read: the kernels' buffers fill, as behind a host that hangs. */
  #flow(link: Link): void {
    const set = (socket: net.Socket, direction: Direction): void => {
      if (this.#frozen.has(direction)) socket.pause()
      else socket.resume()
    }
    set(link.client, 'up')
    set(link.server, 'down')
  }
}
