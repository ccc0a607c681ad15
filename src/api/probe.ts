/** Probes of another node's agent: a request that is answered from memory, and an event stream that breaks when the agent dies. */
import type { ProbeResult, ProbeTarget } from '../ports/prober.ts'
import { request } from './request.ts'

export function probeAgent(target: ProbeTarget, deadlineMs: number): Promise<ProbeResult> {
  return new Promise((resolve) => {
    const { host, apiPort: port, apiCaFile: caFile } = target
    const sent = request({ host, port, caFile, unverified: true, path: '/v1/alive', agent: false })
    const timer = setTimeout(() => end('silent'), deadlineMs)
    const end = (result: ProbeResult): void => {
      clearTimeout(timer)
      sent.destroy()
      resolve(result)
    }
    sent.on('response', ({ statusCode }) => end(statusCode === 503 ? 'silent' : 'answers'))
    sent.on('error', (error: NodeJS.ErrnoException) => {
      end(error.code === 'ECONNREFUSED' || error.code === 'ECONNRESET' ? 'refused' : 'silent')
    })
    sent.end()
  })
}

/** Calls back at most once each; what cannot be opened has ended. */
export function holdAgent(target: ProbeTarget, onOpen: () => void, onEnd: () => void): () => void {
  let ended = false
  const end = (): void => {
    if (ended) return
    ended = true
    onEnd()
  }
  const sent = request({
    host: target.host,
    port: target.apiPort,
    caFile: target.apiCaFile,
    // A certificate that has expired must not make a living agent look dead.
    unverified: true,
    path: `/v1/events?after=${Number.MAX_SAFE_INTEGER}`,
    headers: { accept: 'text/event-stream' },
    agent: false,
    timeout: 0,
  })
  sent.on('response', (response) => {
    if (!ended) onOpen()
    response.on('close', end)
    response.on('error', end)
    response.resume()
  })
  sent.on('error', end)
  sent.on('close', end)
  sent.end()
  return () => {
    ended = true
    sent.destroy()
  }
}
