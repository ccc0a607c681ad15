/** The agent's HTTP API: who may change something, what a body may hold, and how a refusal is told. */
import { describe, expect, it } from 'vitest'
import type { SwitchoverAnswer } from '../../src/api/contract.ts'
import { type ApiSource, createApi } from '../../src/api/server.ts'
import { emptyRecord } from '../../src/core/history.ts'

const TOKEN = 'a token'

function answer(changes: Partial<SwitchoverAnswer> = {}): SwitchoverAnswer {
  return {
    from: 'alpha',
    to: 'bravo',
    epoch: 1,
    at: null,
    checks: [],
    accepted: true,
    refusal: null,
    ...changes,
  }
}

const NOTHING = { kind: 'failed', code: 'internal', reason: 'not asked for' } as const

function api(changes: Partial<ApiSource> = {}) {
  const source: ApiSource = {
    node: () => null,
    why: () => ({ node: 'alpha', rule: 'keep-running', reason: '', since: '' }),
    cluster: () => Promise.reject(new Error('not asked for')),
    eventsAfter: () => [],
    subscribe: () => () => {},
    history: async () => [],
    switchover: async () => NOTHING,
    cancelSwitchover: async () => NOTHING,
    failover: async () => NOTHING,
    pause: async () => NOTHING,
    reinit: async () => NOTHING,
    retireMember: async () => NOTHING,
    admitMember: async () => NOTHING,
    bundle: async () => NOTHING,
    ...changes,
  }
  const app = createApi(source, TOKEN)
  return async (method: string, path: string, body?: unknown, token: string | null = TOKEN) => {
    const headers: Record<string, string> = token === null ? {} : { authorization: `Bearer ${token}` }
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    const response = await app.request(path, { method, headers, ...(body !== undefined && { body: text }) })
    return { status: response.status, body: (await response.json()) as Record<string, unknown> }
  }
}

describe('changing something', () => {
  it('needs the token, whatever the path and method', async () => {
    let asked = 0
    const request = api({
      pause: async () => {
        asked++
        return NOTHING
      },
    })
    for (const token of [null, '', 'another', `${TOKEN}x`]) {
      const refused = await request('POST', '/v1/pause', { reason: 'x' }, token)
      expect(refused).toMatchObject({ status: 401, body: { error: { code: 'auth-failed' } } })
    }
    expect((await request('DELETE', '/v1/switchover', {}, null)).status).toBe(401)
    expect(asked).toBe(0)
  })

  it('refuses a body with what it does not know, and names it', async () => {
    const request = api()
    const wrong: readonly (readonly [string, unknown, RegExp])[] = [
      ['/v1/switchover', { to: 'bravo', force: true }, /"force"/],
      ['/v1/switchover', { epoch: '1' }, /^epoch: /],
      ['/v1/failover', { missing: 'alpha' }, /^missing: /],
      ['/v1/pause', {}, /^reason: /],
      ['/v1/pause', { reason: ' ' }, /^reason: /],
      ['/v1/reinit', 'not json', /not JSON/],
      ['/v1/resume', [], /the body/],
    ]
    for (const [path, body, message] of wrong) {
      const refused = await request('POST', path, body)
      expect(refused).toMatchObject({ status: 400, body: { error: { code: 'usage' } } })
      expect((refused.body['error'] as { message: string }).message).toMatch(message)
    }
  })

  it('takes an empty body where everything may be left out', async () => {
    let seen: unknown
    const request = api({
      switchover: async (body) => {
        seen = body
        return { kind: 'ok', value: answer() }
      },
    })
    expect(await request('POST', '/v1/switchover', '')).toMatchObject({
      status: 200,
      body: { accepted: true },
    })
    expect(seen).toEqual({})
  })

  it('answers 409 with the refusal and everything that was looked at, on a dry run 200', async () => {
    const refusal = { code: 'lagging', message: 'bravo is behind', hint: 'Wait.' }
    const checks = [{ check: 'lag', result: 'failed', message: 'bravo is behind' }] as const
    const request = api({
      switchover: async () => ({ kind: 'ok', value: answer({ refusal, checks, accepted: false }) }),
    })
    expect(await request('POST', '/v1/switchover', { to: 'bravo' })).toMatchObject({
      status: 409,
      body: { error: refusal, checks },
    })
    const dry = await request('POST', '/v1/switchover', { to: 'bravo', dryRun: true })
    expect(dry).toMatchObject({ status: 200, body: { refusal, checks } })
    expect(dry.body).not.toHaveProperty('error')
  })

  it('gives the hint of the list when a failure has none of its own', async () => {
    const failed = await api({
      pause: async () => ({ kind: 'failed', code: 'store-unreachable', reason: 'it is down' }),
    })('POST', '/v1/resume', {})
    expect(failed).toMatchObject({
      status: 409,
      body: { error: { message: 'it is down', hint: /Check that/ } },
    })
  })
})

describe('the history', () => {
  const epochs = [2, 3, 4].map((epoch) => ({
    ...emptyRecord(epoch),
    phase: epoch === 3 ? ('electing' as const) : ('steady' as const),
  }))
  const marks = { electing: 0, firstQuorumWrite: 50 }
  const records = epochs.map((each) => ({
    ...each,
    to: 'bravo',
    parts: { bravo: { node: 'bravo', at: '', marks, vote: null } },
  }))
  const request = api({ history: async () => records })

  it('is told whole, or of one epoch', async () => {
    expect((await request('GET', '/v1/history', undefined, null)).body).toHaveLength(3)
    expect((await request('GET', '/v1/history?epoch=3', undefined, null)).body).toMatchObject([{ epoch: 3 }])
    expect((await request('GET', '/v1/history?epoch=9', undefined, null)).body).toEqual([])
  })

  it('knows no outage of an epoch that went on with one without an end', async () => {
    const { body } = await request('GET', '/v1/history', undefined, null)
    expect((body as unknown as { outageMs: number | null }[]).map(({ outageMs }) => outageMs)).toEqual([
      50,
      50,
      null,
    ])
  })
})
