/**
 * An agent as the command line sees it: an HTTP server that answers the contract's questions from what a test puts into it. It can
 * hang after the connection, hang in the middle of an answer, and answer nonsense.
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { ClusterEvent, ClusterStatus, HistoryEntry, NodeDetail, Why } from '../../src/api/contract.ts'

export type Behaviour = 'answers' | 'hangs' | 'hangsHalfway' | 'nonsense' | 'stranger'

export class FakeAgent {
  behaviour: Behaviour = 'answers'
  cluster: ClusterStatus | null = null
  node: NodeDetail | null = null
  why: Why | null = null
  events: ClusterEvent[] = []
  history: HistoryEntry[] = []
  /** What it answers to requests that change something; 200 unless the value has an `error`. */
  control: (method: string, path: string, body: Record<string, unknown>) => object = () => ({})
  /** Those requests, in order. */
  readonly changes: { readonly method: string; readonly path: string; readonly body: unknown }[] = []
  /** Paths that were asked for, in order. */
  readonly asked: string[] = []
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #streams = new Set<ServerResponse>()

  private constructor(server: Server) {
    this.#server = server
    server.on('connection', (socket) => {
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
    })
    server.on('request', (question, response) => {
      if (question.method === 'GET') this.#answer(question.url ?? '', question.headers.accept ?? '', response)
      else void this.#change(question, response)
    })
  }

  static async start(): Promise<FakeAgent> {
    const server = createServer()
    const agent = new FakeAgent(server)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return agent
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** Adds an event and tells those that follow. */
  emit(event: ClusterEvent): void {
    this.events.push(event)
    for (const stream of this.#streams) stream.write(eventText(event))
  }

  get followers(): number {
    return this.#streams.size
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    if (!this.#server.listening) return
    this.#server.close()
    await once(this.#server, 'close')
  }

  #answer(url: string, accept: string, response: ServerResponse): void {
    this.asked.push(url)
    if (this.behaviour === 'hangs') return
    const path = url.split('?')[0]
    if (path === '/v1/events' && accept === 'text/event-stream') {
      this.#stream(url, response)
      return
    }
    const values: Record<string, unknown> = {
      '/v1/cluster': this.cluster,
      '/v1/node': this.node,
      '/v1/why': this.why,
      '/v1/events': this.events,
      '/v1/history': this.history,
    }
    const text = JSON.stringify(values[path ?? ''])
    response.writeHead(200, { 'content-type': 'application/json' })
    if (this.behaviour === 'hangsHalfway') response.write(text.slice(0, 10))
    else if (this.behaviour === 'nonsense') response.end('<html>not json</html>')
    else if (this.behaviour === 'stranger') response.end('{"some":"other program"}')
    else response.end(text)
  }

  async #change(question: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of question) chunks.push(chunk as Buffer)
    const { method = '', url = '' } = question
    const body = JSON.parse(Buffer.concat(chunks).toString('utf8') || '{}') as Record<string, unknown>
    this.changes.push({ method, path: url, body })
    const value = this.control(method, url, body)
    response.writeHead('error' in value ? 409 : 200, { 'content-type': 'application/json' })
    response.end(JSON.stringify(value))
  }

  #stream(url: string, response: ServerResponse): void {
    const after = Number(new URL(url, 'http://agent').searchParams.get('after') ?? 0)
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write(': hello\n\n')
    for (const event of this.events) if (event.id > after) response.write(eventText(event))
    this.#streams.add(response)
    response.on('close', () => this.#streams.delete(response))
  }
}

function eventText(event: ClusterEvent): string {
  return `id: ${event.id}\nevent: ${event.kind}\ndata: ${JSON.stringify(event)}\n\n`
}
