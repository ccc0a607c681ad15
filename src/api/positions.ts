/**
 * Replay positions over the agent's API: a stream of lines, one reading each, and a request that has the agent look as often as it can for
 * a moment. Both sides of it, so that they are read together.
 */
import { type ClientRequest, Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import type { Hono } from 'hono'
import { stream } from 'hono/streaming'
import { formatLsn, parseLsn } from '../core/lsn.ts'
import type { PositionReading, Positions } from '../ports/proxy.ts'
import { request } from './request.ts'

/** The agent's own server. */
export interface PositionSource {
  subscribe(listener: (reading: PositionReading) => void): () => void
  hurry(): void
}

export function declarePositions(app: Hono, source: PositionSource): void {
  app.get('/v1/positions', (context) => {
    context.header('content-type', 'application/x-ndjson')
    return stream(context, async (out) => {
      let newest: PositionReading | null = null
      let wake: (() => void) | null = null
      const unsubscribe = source.subscribe((reading) => {
        // Who reads slowly gets the newest only.
        newest = reading
        wake?.()
      })
      out.onAbort(() => {
        unsubscribe()
        wake?.()
      })
      try {
        while (!out.aborted) {
          if (newest === null)
            await new Promise<void>((resolve) => {
              wake = resolve
            })
          wake = null
          const reading: PositionReading | null = newest
          newest = null
          if (reading !== null) await out.write(`${readingToWire(reading)}\n`)
        }
      } finally {
        unsubscribe()
      }
    })
  })
  app.get('/v1/positions/soon', (context) => {
    source.hurry()
    return context.body(null, 204)
  })
}

export function readingToWire(reading: PositionReading): string {
  return JSON.stringify({ ...reading, lsn: reading.lsn === null ? null : formatLsn(reading.lsn) })
}

/** null: it is none. */
export function readingFromWire(text: string): PositionReading | null {
  try {
    const wire = JSON.parse(text) as Readonly<Record<string, unknown>>
    const { node, role, systemIdentifier, timelineId, lsn, streaming, heldBack, incarnation } = wire
    if (typeof node !== 'string' || (role !== 'primary' && role !== 'standby' && role !== 'unknown'))
      return null
    return {
      node,
      role,
      systemIdentifier: String(systemIdentifier),
      timelineId: typeof timelineId === 'number' ? timelineId : null,
      lsn: typeof lsn === 'string' ? parseLsn(lsn) : null,
      streaming: streaming === true,
      heldBack: heldBack === 'paused' || heldBack === 'delayed' ? heldBack : null,
      incarnation: String(incarnation),
    }
  } catch {
    return null
  }
}

export interface PositionPeer {
  readonly name: string
  readonly host: string
  readonly apiPort: number
  readonly apiCaFile: string | null
}

/** Readings come more often; whoever is silent so long is not heard. */
const SILENT_AFTER_MS = 1_000
const CONNECT_AFTER_MS = 200
const CONNECT_AT_MOST_AFTER_MS = 2_000
/** The agent goes on hurrying for longer than that. */
const HURRY_EVERY_MS = 30
const MAX_LINE_BYTES = 16 * 1024

/** Follows the agents of a cluster. */
export class AgentPositions implements Positions {
  readonly #peers: () => readonly PositionPeer[]
  readonly #followed = new Map<string, Followed>()
  readonly #listeners = new Set<(node: string, reading: PositionReading | null) => void>()
  readonly #plain = new HttpAgent({ keepAlive: true, maxSockets: 2 })
  readonly #secure = new HttpsAgent({ keepAlive: true, maxSockets: 2 })

  /** `peers` is asked each time: their addresses may change. */
  constructor(peers: () => readonly PositionPeer[]) {
    this.#peers = peers
  }

  follow(nodes: readonly string[]): void {
    for (const [name, followed] of this.#followed) {
      if (nodes.includes(name)) continue
      followed.stop()
      this.#followed.delete(name)
      this.#tell(name, null)
    }
    for (const name of nodes) {
      if (this.#followed.has(name)) continue
      this.#followed.set(
        name,
        new Followed(
          () => this.#peers().find((peer) => peer.name === name) ?? null,
          (reading) => this.#tell(name, reading),
        ),
      )
    }
  }

  subscribe(listener: (node: string, reading: PositionReading | null) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  hurry(node: string): void {
    const followed = this.#followed.get(node)
    const peer = this.#peers().find(({ name }) => name === node)
    if (followed === undefined || peer === undefined || !followed.mayHurry()) return
    const { host, apiPort: port, apiCaFile: caFile } = peer
    const agent = caFile === null ? this.#plain : this.#secure
    const signal = AbortSignal.timeout(SILENT_AFTER_MS)
    // Whether it comes through shows in the readings.
    const sent = request({ host, port, caFile, agent, signal, path: '/v1/positions/soon' }, (response) =>
      response.resume(),
    )
    sent.on('error', () => {})
    sent.end()
  }

  close(): void {
    this.follow([])
    this.#listeners.clear()
    this.#plain.destroy()
    this.#secure.destroy()
  }

  #tell(node: string, reading: PositionReading | null): void {
    for (const listener of this.#listeners) listener(node, reading)
  }
}

/** The stream of one agent, opened again whenever it ends. */
class Followed {
  readonly #peer: () => PositionPeer | null
  readonly #tell: (reading: PositionReading | null) => void
  #sent: ClientRequest | null = null
  #timer: NodeJS.Timeout | null = null
  #failures = 0
  #heard = false
  #hurriedAtMs = 0
  #stopped = false

  constructor(peer: () => PositionPeer | null, tell: (reading: PositionReading | null) => void) {
    this.#peer = peer
    this.#tell = tell
    this.#open()
  }

  mayHurry(): boolean {
    const now = performance.now()
    if (now - this.#hurriedAtMs < HURRY_EVERY_MS) return false
    this.#hurriedAtMs = now
    return true
  }

  stop(): void {
    this.#stopped = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#sent?.destroy()
  }

  #open(): void {
    const peer = this.#peer()
    if (peer === null) {
      this.#ended(null)
      return
    }
    const { host, apiPort: port, apiCaFile: caFile } = peer
    try {
      const sent = request(
        { host, port, caFile, path: '/v1/positions', agent: false, timeout: SILENT_AFTER_MS },
        (response) => {
          if (response.statusCode !== 200) sent.destroy()
          let text = ''
          response.setEncoding('utf8')
          response.on('data', (chunk: string) => {
            text = this.#lines(text + chunk)
            if (text.length > MAX_LINE_BYTES) sent.destroy()
          })
          response.on('error', () => {})
          response.on('close', () => this.#ended(sent))
        },
      )
      this.#sent = sent
      sent.on('timeout', () => sent.destroy())
      sent.on('error', () => {})
      sent.on('close', () => this.#ended(sent))
      sent.end()
    } catch {
      // The authority's file cannot be read right now.
      this.#ended(null)
    }
  }

  /** Gives what is left of an unfinished line. */
  #lines(text: string): string {
    const lines = text.split('\n')
    const rest = lines.pop() ?? ''
    for (const line of lines) {
      const reading = readingFromWire(line)
      if (reading === null) continue
      this.#heard = true
      this.#failures = 0
      this.#tell(reading)
    }
    return rest
  }

  #ended(sent: ClientRequest | null): void {
    if (sent !== this.#sent || this.#stopped || this.#timer !== null) return
    this.#sent = null
    if (this.#heard) this.#tell(null)
    this.#heard = false
    const afterMs = Math.min(CONNECT_AT_MOST_AFTER_MS, CONNECT_AFTER_MS * 2 ** this.#failures)
    this.#failures++
    this.#timer = setTimeout(() => {
      this.#timer = null
      this.#open()
    }, afterMs)
  }
}
