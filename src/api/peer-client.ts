/** Asks other agents over HTTP, within a deadline: a hung agent is an agent that does not answer. */
import { Agent as HttpAgent, request } from 'node:http'
import type { ClusterStatus, NodeDetail } from './contract.ts'

const MAX_BODY_BYTES = 1_000_000

export class PeerClient {
  readonly #connections = new HttpAgent({ keepAlive: true, maxSockets: 2, timeout: 10_000 })

  /** null when there is no whole and sensible answer in time; so for both. */
  nodeDetail(host: string, apiPort: number, deadlineMs: number): Promise<NodeDetail | null> {
    return this.#ask(host, apiPort, '/v1/node', deadlineMs)
  }

  clusterStatus(host: string, apiPort: number, deadlineMs: number): Promise<ClusterStatus | null> {
    return this.#ask(host, apiPort, '/v1/cluster', deadlineMs)
  }

  async #ask<T>(host: string, apiPort: number, path: string, deadlineMs: number): Promise<T | null> {
    try {
      return JSON.parse(await this.#get(host, apiPort, path, deadlineMs)) as T
    } catch {
      return null
    }
  }

  close(): void {
    this.#connections.destroy()
  }

  #get(host: string, port: number, path: string, deadlineMs: number): Promise<string> {
    return new Promise((resolve, reject) => {
      const signal = AbortSignal.timeout(deadlineMs)
      const sent = request({ host, port, path, agent: this.#connections, signal }, (response) => {
        const chunks: Buffer[] = []
        let bytes = 0
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length
          if (bytes > MAX_BODY_BYTES) sent.destroy(new Error('too long'))
          chunks.push(chunk)
        })
        response.on('error', reject)
        response.on('end', () => {
          if (response.statusCode === 200) resolve(Buffer.concat(chunks).toString('utf8'))
          else reject(new Error(`status ${response.statusCode}`))
        })
      })
      sent.on('error', reject)
      sent.end()
    })
  }
}
