/** Asks other agents over HTTP, within a deadline: a hung agent is an agent that does not answer. */
import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import type { ClusterStatus, NodeDetail } from './contract.ts'
import { request } from './request.ts'

const MAX_BODY_BYTES = 1_000_000
const KEPT = { keepAlive: true, maxSockets: 2, timeout: 10_000 }

export interface Peer {
  readonly host: string
  readonly apiPort: number
  readonly apiCaFile?: string | null
}

export class PeerClient {
  readonly #plain = new HttpAgent(KEPT)
  readonly #secure = new HttpsAgent(KEPT)

  /** null when there is no whole and sensible answer in time; so for both. */
  nodeDetail(peer: Peer, deadlineMs: number): Promise<NodeDetail | null> {
    return this.#ask(peer, '/v1/node', deadlineMs)
  }

  clusterStatus(peer: Peer, deadlineMs: number): Promise<ClusterStatus | null> {
    return this.#ask(peer, '/v1/cluster', deadlineMs)
  }

  async #ask<T>(peer: Peer, path: string, deadlineMs: number): Promise<T | null> {
    try {
      return JSON.parse(await this.#get(peer, path, deadlineMs)) as T
    } catch {
      return null
    }
  }

  close(): void {
    this.#plain.destroy()
    this.#secure.destroy()
  }

  #get({ host, apiPort, apiCaFile: caFile }: Peer, path: string, deadlineMs: number): Promise<string> {
    return new Promise((resolve, reject) => {
      const signal = AbortSignal.timeout(deadlineMs)
      const agent = caFile == null ? this.#plain : this.#secure
      const sent = request({ host, port: apiPort, path, caFile, agent, signal }, (response) => {
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
