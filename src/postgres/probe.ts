/**
 * Probes of another node's PostgreSQL. A question that any client may ask before it says who it is: does the server want GSSAPI
 * encryption (manual: 55.2.10)? One byte is the answer, nothing is logged, no password is checked. And a held-open session of the
 * agent's role, which breaks the moment the server's process dies.
 */
import { connect } from 'node:net'
import { Client } from 'pg'
import type { ProbeResult, ProbeTarget } from '../ports/prober.ts'
import { AGENT_DATABASE, AGENT_ROLE } from './layout.ts'

const GSSENC_REQUEST = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30])

export function probePostgres(target: ProbeTarget, deadlineMs: number): Promise<ProbeResult> {
  return new Promise((resolve) => {
    const socket = connect({ host: target.host, port: target.port })
    const end = (result: ProbeResult): void => {
      clearTimeout(timer)
      socket.destroy()
      resolve(result)
    }
    const timer = setTimeout(() => end('silent'), deadlineMs)
    socket.on('connect', () => socket.write(GSSENC_REQUEST))
    socket.on('data', () => end('answers'))
    // A process that dies resets what it had not accepted yet, and one without a process behind it closes what it accepted.
    socket.on('error', (error: NodeJS.ErrnoException) =>
      end(error.code === 'ECONNREFUSED' || error.code === 'ECONNRESET' ? 'refused' : 'silent'),
    )
    socket.on('close', () => end('refused'))
  })
}

export interface HoldOptions {
  readonly password: string
  readonly caPem: string
  readonly node: string
}

/** Calls back at most once each; what cannot be opened has ended. */
export function holdPostgres(
  target: ProbeTarget,
  options: HoldOptions,
  onOpen: () => void,
  onEnd: () => void,
): () => void {
  const client = new Client({
    host: target.host,
    port: target.port,
    user: AGENT_ROLE,
    database: AGENT_DATABASE,
    password: options.password,
    ssl: { ca: options.caPem },
    application_name: `understudy watch ${options.node}`,
    connectionTimeoutMillis: 3_000,
    keepAlive: true,
  })
  let ended = false
  const end = (): void => {
    if (ended) return
    ended = true
    onEnd()
  }
  client.on('error', end)
  client.on('end', end)
  client.connect().then(() => {
    if (!ended) onOpen()
  }, end)
  return () => {
    ended = true
    client.end().catch(() => undefined)
  }
}
