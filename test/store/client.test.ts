/** The client against servers that say exactly what a test wants: what is repeated and what is not, what counts as an answer, logins. */
import { afterEach, describe, expect, test } from 'vitest'
import type { Store } from '../../src/ports/store.ts'
import { createStoreClient, type StoreClientOptions } from '../../src/store/gateway-client.ts'
import { answer, type Script, ScriptedServer } from '../support/scripted-server.ts'
import { freePort } from './servers.ts'

const TIMEOUT_MS = 500
const HEADER = { header: { cluster_id: '1', member_id: '2', revision: '7', raft_term: '2' } }
const PUT = { compare: [], success: [{ op: 'put', key: 'k', value: 'v' } as const] }
const DONE = { ...HEADER, succeeded: true, responses: [{ response_put: {} }] }

const opened: { close(): unknown }[] = []
afterEach(async () => {
  for (const one of opened.splice(0)) await one.close()
})

async function serve(script: Script): Promise<ScriptedServer> {
  const server = await ScriptedServer.start(script)
  opened.push(server)
  return server
}

function connect(urls: readonly string[], over: Partial<StoreClientOptions> = {}): Store {
  const store = createStoreClient({
    endpoints: urls,
    credentials: 'none',
    requestTimeoutMs: TIMEOUT_MS,
    nowMs: () => performance.now(),
    // Always begins with the first endpoint.
    random: () => 0,
    ...over,
  })
  opened.push(store)
  return store
}

const silent: Script = () => {}
const hangUp: Script = (_asked, response) => response.destroy()

async function timed<T>(call: Promise<T>): Promise<{ readonly result: T; readonly tookMs: number }> {
  const startedAtMs = performance.now()
  const result = await call
  return { result, tookMs: performance.now() - startedAtMs }
}

describe('more than one endpoint', () => {
  for (const [name, script] of [
    ['does not answer', silent],
    ['hangs up', hangUp],
    [
      'says that it has no leader',
      answer(503, { error: 'etcdserver: no leader', message: 'etcdserver: no leader', code: 14 }),
    ],
    ['talks nonsense', answer(200, '<html>')],
  ] as const) {
    test(`when one ${name}, a read asks the other, a write does not, and the next write goes there at once`, async () => {
      const [sick, well] = [await serve(script), await serve(answer(200, DONE))]
      const store = connect([sick.url, well.url])
      const write = await timed(store.transact(PUT))
      expect(write.result.kind).toBe('unavailable')
      expect(write.tookMs).toBeLessThan(TIMEOUT_MS + 200)
      expect([sick.asked.length, well.asked.length]).toEqual([1, 0])
      expect((await store.transact(PUT)).kind).toBe('ok')
      expect([sick.asked.length, well.asked.length]).toEqual([1, 1])
      const reader = connect([sick.url, well.url])
      const read = await timed(reader.get('k'))
      expect(read.result.kind).toBe('ok')
      expect(read.tookMs).toBeLessThan(TIMEOUT_MS)
      expect(sick.asked.length).toBe(2)
    })
  }

  test('a lease is renewed by whoever answers, counted from the attempt that was answered', async () => {
    const sick = await serve(silent)
    const well = await serve(answer(200, { result: { ...HEADER, ID: '5', TTL: '3' } }))
    const store = connect([sick.url, well.url])
    const startedAtMs = performance.now()
    const renewal = await store.renewLease(5n)
    expect(renewal).toMatchObject({ kind: 'ok', value: { alive: true, ttlMs: 3_000 } })
    const sentAtMs = renewal.kind === 'ok' && renewal.value.alive ? renewal.value.sentAtMs : 0
    expect(sentAtMs - startedAtMs).toBeGreaterThanOrEqual(TIMEOUT_MS / 2 - 5)
  })

  test('a lease counts from when it was asked for, not from when the answer came', async () => {
    const server = await serve((_, response) => {
      const body = JSON.stringify({ ...HEADER, ID: '5', TTL: '3' })
      setTimeout(() => response.end(body), 200)
    })
    const store = connect([server.url])
    for (const ask of [() => store.grantLease(3_000), () => store.renewLease(5n)]) {
      const startedAtMs = performance.now()
      const result = await ask()
      const answeredAtMs = performance.now()
      expect(result).toMatchObject({ kind: 'ok', value: { ttlMs: 3_000 } })
      const sentAtMs = result.kind === 'ok' && 'sentAtMs' in result.value ? result.value.sentAtMs : Number.NaN
      expect(sentAtMs).toBeGreaterThanOrEqual(startedAtMs)
      expect(sentAtMs).toBeLessThanOrEqual(answeredAtMs - 190)
    }
  })

  test('a write goes on to the next endpoint when no connection could be made: it was never sent', async () => {
    const well = await serve(answer(200, DONE))
    const store = connect([`http://127.0.0.1:${await freePort()}`, well.url])
    expect((await store.transact(PUT)).kind).toBe('ok')
    expect(well.asked).toHaveLength(1)
  })

  test('a member without gateway is passed over; when all are, that is the answer', async () => {
    const off = answer(404, '404 page not found\n')
    const [without, well] = [await serve(off), await serve(answer(200, DONE))]
    expect((await connect([without.url, well.url]).transact(PUT)).kind).toBe('ok')
    expect(await connect([without.url, without.url]).get('k')).toMatchObject({
      kind: 'refused',
      code: 'store-gateway',
    })
  })
})

describe('what answers mean', () => {
  const failure = (status: number, code: number, message: string): Script =>
    answer(status, { error: message, message, code })
  const refusals: readonly (readonly [Script, string])[] = [
    [failure(401, 16, 'etcdserver: invalid auth token'), 'store-auth'],
    [failure(400, 3, 'etcdserver: user name is empty'), 'store-auth'],
    [failure(400, 3, 'etcdserver: auth store is old revision'), 'store-auth'],
    [failure(403, 7, 'etcdserver: permission denied'), 'store-auth'],
    [answer(401, 'Unauthorized'), 'store-auth'],
    [answer(403, '<html>Forbidden</html>'), 'store-auth'],
    [answer(404, '404 page not found\n'), 'store-gateway'],
    [failure(404, 5, 'etcdserver: requested lease not found'), 'lease-lost'],
    [failure(400, 3, 'etcdserver: duplicate key given in txn request'), 'internal'],
  ]
  test('a definite no is refused, with its code', async () => {
    const server = await serve(silent)
    const store = connect([server.url])
    for (const [script, code] of refusals) {
      server.use(script)
      expect(await store.transact(PUT)).toMatchObject({ kind: 'refused', code })
    }
  })

  test('a server in trouble, or one that is no store, is unavailable and never a value', async () => {
    const server = await serve(silent)
    const store = connect([server.url])
    const answers: readonly Script[] = [
      failure(503, 14, 'etcdserver: request timed out'),
      failure(429, 8, 'etcdserver: mvcc: database space exceeded'),
      failure(500, 2, 'etcdserver: corrupt cluster'),
      ...[502, 302, 204, 500].map((status) => answer(status, 'what?')),
      ...NONSENSE.map((body) => answer(200, body)),
    ]
    for (const script of answers) {
      server.use(script)
      const results = [
        await store.get('k'),
        await store.list('k'),
        await store.transact({ ...PUT, success: [{ op: 'get', key: 'k' }] }),
        await store.grantLease(1_000),
        await store.renewLease(5n),
      ]
      expect(results.map(({ kind }) => kind)).toEqual(results.map(() => 'unavailable'))
    }
  })

  test('an answer without a revision does not come from a store, so nothing was revoked', async () => {
    const server = await serve(answer(200, {}))
    expect((await connect([server.url]).revokeLease(5n)).kind).toBe('unavailable')
  })

  test('an endless answer is given up when it is too large, not when memory is full', async () => {
    const server = await serve((_, response) => {
      response.writeHead(200)
      const more = (): void => {
        while (!response.destroyed && response.write('x'.repeat(64 * 1024))) {}
      }
      response.on('drain', more)
      more()
    })
    const store = connect([server.url], { maxAnswerLength: 256 * 1024, requestTimeoutMs: 5_000 })
    const { result, tookMs } = await timed(store.get('k'))
    expect(result).toMatchObject({ kind: 'unavailable' })
    expect(tookMs).toBeLessThan(4_000)
  })

  test('a renewal without TTL is a lost lease; one of another lease, or with an error, is no answer', async () => {
    const server = await serve(answer(200, { result: { ...HEADER, ID: '5' } }))
    const store = connect([server.url])
    expect(await store.renewLease(5n)).toEqual({ kind: 'ok', value: { alive: false } })
    for (const body of [
      { result: { ...HEADER, ID: '6', TTL: '9' } },
      {
        error: {
          grpc_code: 14,
          http_code: 503,
          message: 'etcdserver: no leader',
          http_status: 'Service Unavailable',
        },
      },
      { result: { ...HEADER, ID: '5', TTL: true } },
      { ...HEADER, ID: 5.5, TTL: '9' },
    ]) {
      server.use(answer(200, body))
      expect((await store.renewLease(5n)).kind).toBe('unavailable')
    }
  })
})

const NONSENSE: readonly unknown[] = [
  '',
  'null',
  '[]',
  '"revision"',
  '{"header":',
  {},
  { header: {} },
  { header: { revision: 'seven' } },
  { header: { revision: '-7' } },
  { header: { revision: '99999999999999999999' } },
  { header: [], kvs: [], ID: '5', TTL: 'x', responses: 7 },
  { ...HEADER, kvs: 'none', responses: {}, ID: '', TTL: '1' },
  { ...HEADER, kvs: [null], responses: [null], succeeded: 'yes', ID: null, TTL: '1' },
  {
    ...HEADER,
    kvs: [{ key: 'a?', mod_revision: '1' }],
    responses: [{ response_range: { kvs: [{ key: '!!' }] } }],
    succeeded: true,
  },
  { ...HEADER, kvs: [{ key: 'aw==', mod_revision: 'now' }], succeeded: 1 },
  { error: 'strange', kvs: 1 },
  { result: 7 },
]

describe('logins', () => {
  const credentials = { username: 'agent', password: 'secret' }

  /** Knows one token at a time, and asks for it everywhere. */
  function guarded(current: { token: string }): Script {
    return (asked, response, request) => {
      if (asked.path === '/v3/auth/authenticate') {
        const { name, password } = JSON.parse(asked.body) as Record<string, string>
        const right = name === 'agent' && password === 'secret'
        const message = 'etcdserver: authentication failed, invalid user ID or password'
        answer(
          right ? 200 : 400,
          right ? { ...HEADER, token: current.token } : { error: message, message, code: 3 },
        )(asked, response, request)
      } else if (asked.authorization === current.token) answer(200, DONE)(asked, response, request)
      else
        answer(401, { error: 'invalid auth token', message: 'etcdserver: invalid auth token', code: 16 })(
          asked,
          response,
          request,
        )
    }
  }

  test('name and password fetch a token once, whoever asks', async () => {
    const server = await serve(guarded({ token: 'one' }))
    const store = connect([server.url], { credentials })
    const results = await Promise.all(Array.from({ length: 10 }, () => store.transact(PUT)))
    expect(results.map(({ kind }) => kind)).toEqual(results.map(() => 'ok'))
    expect(server.paths().filter((path) => path === '/v3/auth/authenticate')).toHaveLength(1)
  })

  test('a token that the store has forgotten is replaced, and the call, even a write, is repeated once', async () => {
    const current = { token: 'one' }
    const server = await serve(guarded(current))
    const store = connect([server.url], { credentials })
    expect((await store.transact(PUT)).kind).toBe('ok')
    current.token = 'two'
    server.asked.length = 0
    const results = await Promise.all(Array.from({ length: 5 }, () => store.transact(PUT)))
    expect(results.map(({ kind }) => kind)).toEqual(results.map(() => 'ok'))
    expect(server.paths().filter((path) => path === '/v3/auth/authenticate')).toHaveLength(1)
    expect(server.asked.filter(({ authorization }) => authorization === 'two')).toHaveLength(5)
  })

  test('a wrong password, a wrong token and no token are refused, and not tried again and again', async () => {
    const server = await serve(guarded({ token: 'one' }))
    for (const wrong of [{ username: 'agent', password: 'guess' }, { token: 'guess' }, 'none'] as const) {
      server.asked.length = 0
      const store = connect([server.url], { credentials: wrong })
      expect(await store.get('k')).toMatchObject({ kind: 'refused', code: 'store-auth' })
      expect(server.asked).toHaveLength(1)
    }
  })

  test('a login that gets no answer ends with the deadline of the call', async () => {
    const server = await serve(silent)
    const { result, tookMs } = await timed(connect([server.url], { credentials }).get('k'))
    expect(result.kind).toBe('unavailable')
    expect(tookMs).toBeLessThan(TIMEOUT_MS + 200)
  })

  test('where authentication is not switched on yet, calls go without a token', async () => {
    const message = 'etcdserver: authentication is not enabled'
    const server = await serve((asked, response, request) => {
      const login = asked.path === '/v3/auth/authenticate'
      answer(login ? 412 : 200, login ? { error: message, message, code: 9 } : DONE)(asked, response, request)
    })
    const store = connect([server.url], { credentials })
    expect((await store.transact(PUT)).kind).toBe('ok')
    expect(server.asked.at(-1)?.authorization).toBeUndefined()
  })
})

describe('options that can never work', () => {
  test('are refused when the client is made, without repeating what may be secret', () => {
    const make = (over: Partial<StoreClientOptions>) => () => connect(['http://127.0.0.1:1'], over)
    expect(make({ endpoints: [] })).toThrow(expect.objectContaining({ code: 'config-invalid' }))
    for (const endpoint of [
      '127.0.0.1:2379',
      'unix:///x',
      'http://user:hidden@host:1',
      'http://host/path',
      'nonsense',
    ]) {
      const error = catchError(make({ endpoints: [endpoint] }))
      expect(error).toMatchObject({ code: 'config-invalid' })
      expect(String(error)).not.toContain('hidden')
    }
    for (const token of ['', 'two\nlines', 'späce']) {
      expect(make({ credentials: { token } })).toThrow(expect.objectContaining({ code: 'config-invalid' }))
    }
    expect(make({ tls: { ca: 'x', cert: 'no PEM', key: 'no PEM' } })).toThrow(
      expect.objectContaining({ code: 'tls-failed' }),
    )
  })
})

function catchError(run: () => unknown): unknown {
  try {
    return run()
  } catch (error) {
    return error
  }
}
