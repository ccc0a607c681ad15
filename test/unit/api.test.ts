/** The agent's HTTP API: who may change something, what a body may hold, and how a refusal is told. */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import type { SeenHealth, SwitchoverAnswer } from '../../src/api/contract.ts'
import type { MetricsInput } from '../../src/api/metrics.ts'
import { type ApiSource, createApi } from '../../src/api/server.ts'
import type { NodeHealth } from '../../src/core/health.ts'
import { emptyRecord } from '../../src/core/history.ts'
import { nodeStatus } from '../support/cluster-status.ts'

const TOKEN = 'a token'

const PRIMARY: NodeHealth = {
  running: true,
  primary: true,
  standby: false,
  streaming: false,
  lagBytes: { received: null, replayed: null },
  acknowledges: null,
  reason: 'primary of epoch 1',
}
const STANDBY: NodeHealth = {
  ...PRIMARY,
  primary: false,
  standby: true,
  streaming: true,
  lagBytes: { received: 10, replayed: 5_000 },
  acknowledges: 'quorum',
}

function seen(health: NodeHealth, changes: Partial<SeenHealth> = {}): SeenHealth {
  return { health, status: nodeStatus('alpha'), epoch: 1, ageMs: 300, staleMs: 6_000, ...changes }
}

function metricsInput(changes: Partial<MetricsInput> = {}): MetricsInput {
  return {
    cluster: 'main',
    node: 'alpha',
    version: '0.1.0',
    detail: null,
    health: null,
    phase: null,
    quorum: null,
    paused: null,
    process: { residentBytes: 70_000_000, cpuSeconds: 1.5, startedAtSeconds: 1_700_000_000 },
    ...changes,
  }
}

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

function sourceWith(changes: Partial<ApiSource> = {}): ApiSource {
  const source: ApiSource = {
    node: () => null,
    why: () => ({ node: 'alpha', rule: 'keep-running', reason: '', since: '' }),
    cluster: () => Promise.reject(new Error('not asked for')),
    eventsAfter: () => [],
    positions: { subscribe: () => () => {}, hurry: () => {} },
    subscribe: () => () => {},
    history: async () => [],
    health: () => null,
    metrics: () => metricsInput(),
    switchover: async () => NOTHING,
    cancelSwitchover: async () => NOTHING,
    failover: async () => NOTHING,
    recoverStore: async () => NOTHING,
    pause: async () => NOTHING,
    reinit: async () => NOTHING,
    retireMember: async () => NOTHING,
    admitMember: async () => NOTHING,
    bundle: async () => NOTHING,
    release: async () => NOTHING,
    ...changes,
  }
  return source
}

function api(changes: Partial<ApiSource> = {}) {
  const app = createApi(sourceWith(changes), TOKEN)
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

describe('the health paths', () => {
  function health(state: SeenHealth | null) {
    const app = createApi(sourceWith({ health: () => state }), TOKEN)
    return async (path: string, method = 'GET') => (await app.request(path, { method })).status
  }
  const good = async (state: SeenHealth | null, paths: readonly string[]): Promise<readonly string[]> => {
    const ask = health(state)
    const statuses = await Promise.all(paths.map(async (path) => [path, await ask(path)] as const))
    return statuses.filter(([, status]) => status === 200).map(([path]) => path)
  }
  const ALL = [
    ...['/primary', '/read-write', '/leader', '/replica', '/read-only', '/sync', '/read-only-sync'],
    ...['/quorum', '/read-only-quorum', '/async', '/standby-leader', '/health', '/liveness', '/readiness'],
  ]

  it('of a primary: those for writing, those for any reading, and that it lives', async () => {
    expect(await good(seen(PRIMARY), ALL)).toEqual([
      ...['/primary', '/read-write', '/leader', '/read-only', '/read-only-sync', '/read-only-quorum'],
      ...['/health', '/liveness', '/readiness'],
    ])
  })

  it('of a standby: by whether commits wait for it', async () => {
    const always = ['/replica', '/read-only', '/health', '/liveness', '/readiness']
    const paths = async (acknowledges: NodeHealth['acknowledges']): Promise<readonly string[]> =>
      (await good(seen({ ...STANDBY, acknowledges }), ALL)).filter((path) => !always.includes(path))
    expect(await paths('quorum')).toEqual(['/quorum', '/read-only-quorum'])
    expect(await paths('sync')).toEqual(['/sync', '/read-only-sync'])
    expect(await paths('async')).toEqual(['/async'])
    expect(await good(seen(STANDBY), always)).toEqual(always)
  })

  it('of a node that may not be read from: only that PostgreSQL runs', async () => {
    const fenced = {
      ...STANDBY,
      standby: false,
      streaming: false,
      reason: 'it has rows that nobody else has',
    }
    expect(await good(seen(fenced), ALL)).toEqual(['/health', '/liveness'])
    expect(await good(seen({ ...fenced, running: false }), ALL)).toEqual(['/liveness'])
  })

  it('the other agents are told that one whose loop stands still does not live', async () => {
    expect(await health(seen(PRIMARY))('/v1/alive')).toBe(204)
    expect(await health(null)('/v1/alive')).toBe(204)
    expect(await health(seen(PRIMARY, { ageMs: 6_001 }))('/v1/alive')).toBe(503)
  })

  it('know nothing when the loop hangs; in the first moments the process lives', async () => {
    for (const state of [PRIMARY, STANDBY]) expect(await good(seen(state, { ageMs: 6_001 }), ALL)).toEqual([])
    expect(await good(null, ALL)).toEqual(['/liveness'])
  })

  it.each([
    ['/replica?lag=5000', 200],
    ['/replica?lag=4999', 503],
    ['/replica?lag=5kB', 200],
    ['/replica?lag=10&mode=write', 200],
    ['/replica?replication_state=streaming', 200],
    ['/replica?replication_state=running', 503],
    ['/read-only?lag=1', 503],
    ['/async?lag=1MB', 503],
    ['/readiness?lag=1MB', 200],
    ['/readiness?lag=1', 503],
    ['/replica?tag_clonefrom=true', 503],
    ['/replica?lag=much', 400],
    ['/replica?lag=-1', 400],
    ['/replica?mode=both', 400],
    ['/replica?lagg=1', 400],
  ])('a standby answers %s with %i', async (path, status) => {
    expect(await health(seen(STANDBY))(path)).toBe(status)
  })

  it('a standby of which nobody knows how far it is behind is not near', async () => {
    const ask = health(seen({ ...STANDBY, lagBytes: { received: null, replayed: null } }))
    expect(await ask('/replica')).toBe(200)
    expect(await ask('/replica?lag=1TB')).toBe(503)
  })

  it('answer HEAD and OPTIONS, too, as load balancers ask', async () => {
    for (const method of ['HEAD', 'OPTIONS']) {
      expect(await health(seen(PRIMARY))('/primary', method)).toBe(200)
      expect(await health(seen(PRIMARY))('/', method)).toBe(200)
      expect(await health(seen(STANDBY))('/primary', method)).toBe(503)
      expect(await health(seen(STANDBY))('/', method)).toBe(503)
    }
  })

  it('say why', async () => {
    const app = createApi(sourceWith({ health: () => seen(STANDBY) }), TOKEN)
    const body = await (await app.request('/primary')).json()
    expect(body).toMatchObject({ name: 'alpha', epoch: 1, replayLagBytes: 5_000, reason: STANDBY.reason })
  })
})

describe('the metrics', () => {
  const scrape = async (input: MetricsInput) => {
    const app = createApi(sourceWith({ metrics: () => input }), TOKEN)
    const response = await app.request('/metrics')
    return { type: response.headers.get('content-type'), text: await response.text() }
  }

  it('leave out what is not known', async () => {
    const { type, text } = await scrape(metricsInput())
    expect(type).toBe('text/plain; version=0.0.4; charset=utf-8')
    expect(text).toContain(
      'understudy_info{cluster="main",node="alpha",version="0.1.0",postgres_version=""} 1\n',
    )
    expect(text).toContain('understudy_primary 0\n')
    for (const name of ['understudy_epoch', 'understudy_phase', 'understudy_quorum', 'understudy_paused'])
      expect(text).not.toContain(name)
  })

  it('have one HELP and one TYPE for each name, before its samples, and labels that cannot break out', async () => {
    const { text } = await scrape(
      metricsInput({
        cluster: 'ma"in\\\n',
        health: seen(PRIMARY),
        phase: 'steady',
        paused: false,
        quorum: { acks: 1, standbys: ['bravo', 'charlie'] },
      }),
    )
    expect(text).toContain('cluster="ma\\"in\\\\\\n"')
    const lines = text.trimEnd().split('\n')
    let current = ''
    for (const line of lines) {
      const [, kind, name] = /^# (HELP|TYPE) (\S+) /.exec(line) ?? []
      if (kind === 'HELP') current = name ?? ''
      else if (kind === 'TYPE') expect(name).toBe(current)
      else expect(line).toMatch(new RegExp(`^${current}(\\{.*\\})? -?[0-9.e+]+$`))
    }
    const helped = lines.filter((line) => line.startsWith('# HELP'))
    expect(new Set(helped.map((line) => line.split(' ')[2])).size).toBe(helped.length)
    expect(text).toContain('understudy_phase{phase="steady"} 1\nunderstudy_phase{phase="electing"} 0\n')
    expect(text).toContain('understudy_primary 1\n')
  })

  it('are each described in the reference', async () => {
    const documented = readFileSync(new URL('../../docs/reference/metrics.md', import.meta.url), 'utf8')
    const source = readFileSync(new URL('../../src/api/metrics.ts', import.meta.url), 'utf8')
    const names = [...source.matchAll(/'((?:understudy|process)_[a-z_]+)'/g)].map((match) => match[1] ?? '')
    expect(names.length).toBeGreaterThan(25)
    for (const name of names) expect(documented).toContain(`\`${name}\``)
  })
})
