/** An HTTP server that answers as a test tells it to, and remembers what it was asked. */
import * as http from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Asked {
  readonly path: string
  readonly body: string
  readonly authorization: string | undefined
  readonly headers: http.IncomingHttpHeaders
}

export type Script = (asked: Asked, response: http.ServerResponse, request: http.IncomingMessage) => void

export class ScriptedServer {
  readonly asked: Asked[] = []
  readonly #server: http.Server
  #script: Script

  private constructor(script: Script) {
    this.#script = script
    this.#server = http.createServer((request, response) => this.#serve(request, response))
  }

  static async start(script: Script): Promise<ScriptedServer> {
    const scripted = new ScriptedServer(script)
    await new Promise<void>((resolve) => scripted.#server.listen(0, '127.0.0.1', resolve))
    return scripted
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  use(script: Script): void {
    this.#script = script
  }

  paths(): readonly string[] {
    return this.asked.map(({ path }) => path)
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  /** A streaming request is handed over at its first line, any other when its body is complete. */
  #serve(request: http.IncomingMessage, response: http.ServerResponse): void {
    let body = ''
    let handed = false
    const hand = (): void => {
      if (handed) return
      handed = true
      const asked = {
        path: request.url ?? '',
        body,
        authorization: request.headers.authorization,
        headers: request.headers,
      }
      this.asked.push(asked)
      this.#script(asked, response, request)
    }
    request.setEncoding('utf8')
    request.on('error', () => {})
    response.on('error', () => {})
    request.on('data', (chunk: string) => {
      body += chunk
      if (request.headers['transfer-encoding'] === 'chunked' && body.includes('\n')) hand()
    })
    request.on('end', hand)
  }
}

/** A script that always gives this answer. */
export function answer(status: number, body: unknown): Script {
  return (_, response) => {
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(typeof body === 'string' ? body : JSON.stringify(body))
  }
}
