/**
 * Asks agents. Any of them can be dead, cut off or hung, so every question has a deadline for the whole answer, all nodes are
 * asked at once, and what answers is looked at before it is believed: another program may have got the port.
 */
import type { ClusterEvent, ClusterStatus, HistoryEntry, NodeDetail, Why } from '../api/contract.ts'
import { failureOf, request } from '../api/request.ts'
import { hostInUri } from '../config/fields.ts'
import { recordFrom } from '../core/history.ts'

export interface AgentAddress {
  readonly name: string
  readonly host: string
  readonly apiPort: number
  /** Who signed the certificate that it shows; null or left out: HTTP without TLS. */
  readonly apiCaFile?: string | null
}

export type Answer<T> =
  | { readonly kind: 'ok'; readonly value: T }
  | { readonly kind: 'failed'; readonly reason: string }

export interface AskOptions {
  readonly deadlineMs?: number
  readonly signal?: AbortSignal
}

const DEADLINE_MS = 2_000
/** How long after a first answer that is not healthy the others may still say something better. */
const GRACE_MS = 400
const MAX_BODY_BYTES = 16 * 1024 * 1024

/**
 * What the cluster is, by the first agent that calls it healthy; when none does, by the one that knows most: an agent that is
 * cut off from the others answers too, and sees less than they do. null: no agent answered.
 */
export async function askCluster(
  agents: readonly AgentAddress[],
  options: AskOptions = {},
): Promise<ClusterStatus | null> {
  const rest = new AbortController()
  const signal = options.signal ? AbortSignal.any([options.signal, rest.signal]) : rest.signal
  const heard: ClusterStatus[] = []
  try {
    return await new Promise<ClusterStatus | null>((resolve) => {
      let grace: NodeJS.Timeout | undefined
      const settle = (): void => {
        clearTimeout(grace)
        resolve(mostKnowing(heard))
      }
      const questions = agents.map(async (agent) => {
        const answer = await ask(agent, '/v1/cluster', isClusterStatus, { ...options, signal })
        if (answer.kind === 'failed') return
        heard.push(answer.value)
        if (answer.value.healthy) settle()
        else grace ??= setTimeout(settle, GRACE_MS)
      })
      Promise.all(questions).then(settle, settle)
    })
  } finally {
    rest.abort()
  }
}

/** Pure. Healthy before not; then the newest epoch; then who reaches most nodes. */
export function mostKnowing(heard: readonly ClusterStatus[]): ClusterStatus | null {
  const knowledge = (status: ClusterStatus): number[] => [
    status.healthy ? 1 : 0,
    status.epoch ?? -1,
    status.nodes.filter((node) => node.state !== 'unreachable').length,
  ]
  return [...heard].sort((a, b) => compareNumbers(knowledge(b), knowledge(a)))[0] ?? null
}

function compareNumbers(a: readonly number[], b: readonly number[]): number {
  for (let index = 0; index < a.length; index++) {
    const difference = (a[index] ?? 0) - (b[index] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}

export function askNode(agent: AgentAddress, options: AskOptions = {}): Promise<Answer<NodeDetail>> {
  return ask(agent, '/v1/node', isNodeDetail, options)
}

export function askWhy(agent: AgentAddress, options: AskOptions = {}): Promise<Answer<Why>> {
  return ask(agent, '/v1/why', isWhy, options)
}

export async function askEvents(
  agent: AgentAddress,
  options: AskOptions = {},
): Promise<Answer<readonly ClusterEvent[]>> {
  return ask(agent, '/v1/events', isEventList, options)
}

/** Of one epoch, or of all. */
export async function askHistory(
  agent: AgentAddress,
  epoch: number | undefined,
  options: AskOptions = {},
): Promise<Answer<readonly HistoryEntry[]>> {
  const path = epoch === undefined ? '/v1/history' : `/v1/history?epoch=${epoch}`
  return ask(agent, path, isHistory, options)
}

async function ask<T>(
  agent: AgentAddress,
  path: string,
  isExpected: (value: unknown) => value is T,
  { deadlineMs = DEADLINE_MS, signal }: AskOptions,
): Promise<Answer<T>> {
  const deadline = AbortSignal.timeout(deadlineMs)
  const either = signal === undefined ? deadline : AbortSignal.any([deadline, signal])
  try {
    const value: unknown = JSON.parse(await getText(agent, path, either))
    if (isExpected(value)) return { kind: 'ok', value }
    return { kind: 'failed', reason: `what answers at ${addressOf(agent)} is no agent of this version` }
  } catch (error) {
    const reason = deadline.aborted ? `no answer within ${deadlineMs / 1000} s` : reasonOf(error)
    return { kind: 'failed', reason: `${addressOf(agent)}: ${reason}` }
  }
}

function getText(agent: AgentAddress, path: string, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = {
      host: agent.host,
      port: agent.apiPort,
      caFile: agent.apiCaFile,
      path,
      agent: false,
      signal,
    }
    const question = request({ ...options, headers: { accept: 'application/json' } }, (response) => {
      const chunks: Buffer[] = []
      let size = 0
      response.on('data', (chunk: Buffer) => {
        size += chunk.length
        if (size > MAX_BODY_BYTES) question.destroy(new Error('the answer is too long'))
        else chunks.push(chunk)
      })
      response.on('end', () => resolve(Buffer.concat(chunks).toString('utf8')))
      response.on('error', reject)
    })
    question.on('error', reject)
    question.end()
  })
}

function reasonOf(error: unknown): string {
  if (error instanceof SyntaxError) return 'the answer is not JSON'
  return failureOf(error)
}

export function addressOf(agent: AgentAddress): string {
  return `${hostInUri(agent.host)}:${agent.apiPort}`
}

function isClusterStatus(value: unknown): value is ClusterStatus {
  const status = value as Partial<ClusterStatus> | null
  return (
    typeof status?.cluster === 'string' &&
    typeof status.healthy === 'boolean' &&
    Array.isArray(status.nodes) &&
    Array.isArray(status.problems)
  )
}

function isNodeDetail(value: unknown): value is NodeDetail {
  const detail = value as Partial<NodeDetail> | null
  return typeof detail?.status?.name === 'string' && Array.isArray(detail.problems)
}

function isWhy(value: unknown): value is Why {
  const why = value as Partial<Why> | null
  return typeof why?.node === 'string' && typeof why.rule === 'string' && typeof why.reason === 'string'
}

export function isClusterEvent(value: unknown): value is ClusterEvent {
  const event = value as Partial<ClusterEvent> | null
  return typeof event?.id === 'number' && typeof event.at === 'string' && typeof event.node === 'string'
}

function isEventList(value: unknown): value is ClusterEvent[] {
  return Array.isArray(value) && value.every(isClusterEvent)
}

function isHistory(value: unknown): value is HistoryEntry[] {
  return Array.isArray(value) && value.every((each) => recordFrom(each) !== null)
}
