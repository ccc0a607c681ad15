/** Asks one agent to change something: with the token, within a deadline, and with its refusal as our error. */
import { readFile } from 'node:fs/promises'
import { request } from 'node:http'
import type { ResolvedConfig } from '../config/load.ts'
import { ERRORS, type ErrorCode, UnderstudyError } from '../errors/codes.ts'
import { type AgentAddress, addressOf } from './api-client.ts'

const DEADLINE_MS = 90_000

/** Errors: what the agent refused with; unreachable. */
export async function command<T>(
  config: ResolvedConfig,
  agent: AgentAddress,
  path: string,
  body: unknown,
): Promise<T> {
  const token = (await readFile(config.secrets.apiToken, 'utf8')).trim()
  const { status, text } = await post(agent, path, token, JSON.stringify(body)).catch((error: unknown) => {
    const reason = error instanceof Error ? error.message : String(error)
    throw new UnderstudyError(
      'unreachable',
      `the agent of ${agent.name} at ${addressOf(agent)} does not answer (${reason})`,
    )
  })
  const value: unknown = JSON.parse(text === '' ? '{}' : text)
  if (status === 200) return value as T
  throw refusal(value, `${agent.name} answered with status ${status}`)
}

function refusal(value: unknown, otherwise: string): UnderstudyError {
  const error = (value as { error?: { code?: unknown; message?: unknown; hint?: unknown } } | null)?.error
  const code = String(error?.code) in ERRORS ? (String(error?.code) as ErrorCode) : 'internal'
  const hint = typeof error?.hint === 'string' ? { hint: error.hint } : {}
  return new UnderstudyError(code, typeof error?.message === 'string' ? error.message : otherwise, hint)
}

function post(
  agent: AgentAddress,
  path: string,
  token: string,
  body: string,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const headers = {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
    }
    const options = {
      host: agent.host,
      port: agent.apiPort,
      path,
      method: 'POST',
      headers,
      agent: false as const,
    }
    const sent = request({ ...options, signal: AbortSignal.timeout(DEADLINE_MS) }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }),
      )
    })
    sent.on('error', reject)
    sent.end(body)
  })
}
