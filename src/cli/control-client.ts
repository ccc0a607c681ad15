/** Asks agents to change something: with the token, within a deadline, and with a refusal as our error. */
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { failureOf, request } from '../api/request.ts'
import type { ResolvedConfig } from '../config/load.ts'
import { ERRORS, type ErrorCode, UnderstudyError } from '../errors/codes.ts'
import { type AgentAddress, addressOf } from './api-client.ts'

export interface ControlRequest {
  readonly path: string
  readonly method?: 'POST' | 'PUT' | 'DELETE'
  readonly body: object
}

/** A checkpoint may come first. */
const DEADLINE_MS = 90_000
/** When any agent will do, a hung one must not be waited for as long. */
const ANY_DEADLINE_MS = 10_000

/** Errors: what the agent refused with; unreachable. */
export function command<T>(config: ResolvedConfig, agent: AgentAddress, asked: ControlRequest): Promise<T> {
  return send(config, agent, asked, DEADLINE_MS)
}

/** Of the first agent that answers and reaches the store. Errors: what it refused with; unreachable, store-unreachable. */
export async function anyAgent<T>(config: ResolvedConfig, asked: ControlRequest): Promise<T> {
  const failures: UnderstudyError[] = []
  for (const node of config.nodes) {
    try {
      return await send<T>(config, node, asked, ANY_DEADLINE_MS)
    } catch (error) {
      if (!(error instanceof UnderstudyError) || !PASSED_ON.has(error.code)) throw error
      failures.push(error)
    }
  }
  const said = failures.map(({ message }) => message).join('; ')
  // Who answers knows more than who does not.
  const told = failures.find(({ code }) => code !== 'unreachable')
  throw new UnderstudyError(told?.code ?? 'unreachable', `no agent could do it (${said})`)
}

const PASSED_ON: ReadonlySet<ErrorCode> = new Set(['unreachable', 'store-unreachable', 'timeout'])

async function send<T>(
  config: ResolvedConfig,
  agent: AgentAddress,
  asked: ControlRequest,
  deadlineMs: number,
): Promise<T> {
  try {
    return await sendWith(await readToken(config.secrets.apiToken), agent, asked, deadlineMs)
  } catch (error) {
    if (!(error instanceof UnderstudyError) || error.code !== 'auth-failed') throw error
    // A node that was away when the token changed still has the one before.
    const before = await readToken(previousSecret(config.secrets.apiToken)).catch(() => null)
    if (before === null) throw error
    return await sendWith(before, agent, asked, deadlineMs)
  }
}

async function readToken(file: string): Promise<string> {
  return (await readFile(file, 'utf8')).trim()
}

/** Where a secret goes that was replaced, until every node has the new one. */
export function previousSecret(file: string): string {
  return path.join(path.dirname(file), 'previous', path.basename(file))
}

async function sendWith<T>(
  token: string,
  agent: AgentAddress,
  asked: ControlRequest,
  deadlineMs: number,
): Promise<T> {
  const { status, text } = await transmit(agent, asked, token, deadlineMs).catch((error: unknown) => {
    const reason = failureOf(error)
    throw new UnderstudyError(
      'unreachable',
      `the agent of ${agent.name} at ${addressOf(agent)} does not answer (${reason})`,
    )
  })
  const value = parse(text)
  if (status === 200) return value as T
  throw refusal(value, `${agent.name} answered with status ${status}`)
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text === '' ? '{}' : text)
  } catch {
    return null
  }
}

function refusal(value: unknown, otherwise: string): UnderstudyError {
  const error = (value as { error?: { code?: unknown; message?: unknown; hint?: unknown } } | null)?.error
  const code = String(error?.code) in ERRORS ? (String(error?.code) as ErrorCode) : 'internal'
  const hint = typeof error?.hint === 'string' ? { hint: error.hint } : {}
  return new UnderstudyError(code, typeof error?.message === 'string' ? error.message : otherwise, hint)
}

function transmit(
  agent: AgentAddress,
  { path, method = 'POST', body }: ControlRequest,
  token: string,
  deadlineMs: number,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const text = JSON.stringify(body)
    const headers = {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text),
    }
    const where = {
      host: agent.host,
      port: agent.apiPort,
      caFile: agent.apiCaFile,
      path,
      method,
      headers,
      agent: false as const,
    }
    const sent = request({ ...where, signal: AbortSignal.timeout(deadlineMs) }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }),
      )
    })
    sent.on('error', reject)
    sent.end(text)
  })
}
