/** Follows the events of one agent over server-sent events, and comes back after it was away. */
import { setTimeout as delay } from 'node:timers/promises'
import type { ClusterEvent } from '../api/contract.ts'
import { request } from '../api/request.ts'
import { type AgentAddress, isClusterEvent } from './api-client.ts'
import { createEventStreamParser } from './event-list.ts'

export interface FollowOptions {
  /** Events after this id; 0 for all that the agent remembers. */
  readonly after: number
  readonly onEvent: (event: ClusterEvent) => void
  /** Each time that the stream begins: nothing is missed from there on. */
  readonly onOpen?: () => void
  readonly signal: AbortSignal
}

const RETRY_MS = 1_000

/** Returns when the signal aborts. */
export async function followEvents(agent: AgentAddress, options: FollowOptions): Promise<void> {
  let after = options.after
  const onEvent = (event: ClusterEvent): void => {
    if (event.node === agent.name) after = Math.max(after, event.id)
    options.onEvent(event)
  }
  while (!options.signal.aborted) {
    await readStream(agent, after, { ...options, onEvent })
    // The agent is away, or was restarted: neither is worth an error in a view that follows the whole cluster.
    await delay(RETRY_MS, undefined, { signal: options.signal }).catch(() => {})
  }
}

function readStream(
  agent: AgentAddress,
  after: number,
  { onEvent, onOpen, signal }: Omit<FollowOptions, 'after'>,
): Promise<void> {
  return new Promise((resolve) => {
    const question = request(
      {
        host: agent.host,
        port: agent.apiPort,
        caFile: agent.apiCaFile,
        path: `/v1/events?after=${after}`,
        headers: { accept: 'text/event-stream' },
        agent: false,
        signal,
      },
      (response) => {
        onOpen?.()
        const parse = createEventStreamParser()
        response.setEncoding('utf8')
        response.on('data', (text: string) => {
          for (const data of parse(text)) {
            const event = parseEvent(data)
            if (event !== null) onEvent(event)
          }
        })
        response.on('error', () => resolve())
        response.on('close', () => resolve())
      },
    )
    question.on('error', () => resolve())
    question.end()
  })
}

function parseEvent(data: string): ClusterEvent | null {
  try {
    const value: unknown = JSON.parse(data)
    return isClusterEvent(value) ? value : null
  } catch {
    return null
  }
}
