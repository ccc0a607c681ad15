/** What a proxy bears: the bounds of docs/proxy.md, and what is let go when they are no longer reached. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { query, saslInitialResponse, startupMessage } from '../../src/protocol/frontend-messages.ts'
import { ProxyFixture } from '../support/proxy-fixture.ts'
import { close, parse, shown, sync, WireClient } from '../support/wire-client.ts'

async function until(look: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 20_000
  while (!(await look())) {
    if (performance.now() > deadline) throw new Error('waited in vain')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

describe('limits of the proxy', () => {
  let fixture: ProxyFixture

  beforeAll(async () => {
    fixture = await ProxyFixture.start(18)
  })
  afterAll(() => fixture?.stop())

  test('a free server serves who waits as soon as a hold is taken back', async () => {
    const { port, routing, proxy } = await fixture.proxy({ defaultPoolSize: 1, holdTimeoutMs: 60_000 })
    const client = await WireClient.login({ port })
    await client.ask('SELECT 1')
    const { epoch } = fixture.route
    routing.set({ kind: 'held', epoch, reason: 'a switchover', hold: 'h' })
    const asked = client.ask('SELECT 2')
    await until(() => proxy.counts.waiting === 1)
    routing.set(fixture.route)
    expect(await asked).toContain('D(2)')
    client.close()
  })

  test('single pools have their own size and mode', async () => {
    const { port, proxy } = await fixture.proxy({
      defaultPoolSize: 5,
      pools: [
        { user: 'other', size: 1 },
        { user: 'other', database: 'app', mode: 'session' },
      ],
    })
    const clients = [
      await WireClient.login({ port }),
      await WireClient.login({ port, user: 'other', password: 'secret2' }),
    ]
    const { pools } = await proxy.answer('look', { sessions: false })
    expect(pools.map(({ user, size, mode }) => ({ user, size, mode }))).toEqual([
      { user: 'app', size: 5, mode: 'transaction' },
      { user: 'other', size: 1, mode: 'session' },
    ])
    for (const client of clients) client.close()
  })

  test('what waiting clients have sent is bounded, and nothing of it is counted twice', async () => {
    const { port, routing, proxy } = await fixture.proxy({ maxWaitingBytes: 64 * 1024 })
    const [big, small] = [await WireClient.login({ port }), await WireClient.login({ port })]
    await big.ask('SELECT 1')
    routing.set({ kind: 'held', epoch: 1, reason: 'nobody' })
    const asked = big.ask(`SELECT length('${'x'.repeat(200_000)}')`)
    await until(async () => (await proxy.answer('look', { sessions: false })).waitingBytes > 64 * 1024)
    expect(await small.ask('SELECT 1')).toBe('E(53300) Z(I)')
    routing.set(fixture.route)
    expect(await asked).toContain('D(200000)')
    expect(await small.ask('SELECT 1')).toContain('D(1)')
    expect((await proxy.answer('look', { sessions: false })).waitingBytes).toBe(0)
    big.close()
    small.close()
  })

  test('the prepared statements of one client are bounded by the length of their texts', async () => {
    const { port } = await fixture.proxy({ maxClientStatements: 64 * 1024 })
    const client = await WireClient.login({ port })
    const long = `SELECT 1 -- ${'x'.repeat(40_000)}`
    const ask = async (...messages: readonly Buffer[]): Promise<string> => {
      client.send(...messages, sync())
      return shown(await client.until())
    }
    expect(await ask(parse('a', long))).toBe('1 Z(I)')
    expect(await ask(parse('b', `${long} `))).toBe('E(53400) Z(I)')
    expect(await ask(close('S', 'a'))).toBe('3 Z(I)')
    expect(await ask(parse('b', `${long} `))).toBe('1 Z(I)')
    client.close()
  })

  test('who does not read why its session ended counts as a client until it is cut off', async () => {
    const { port, proxy } = await fixture.proxy({ maxClients: 1 })
    const deaf = await WireClient.login({ port })
    deaf.socket.pause()
    deaf.send(query("SELECT repeat('x', 1000000) FROM generate_series(1, 200)"))
    await until(async () => (await proxy.answer('look', { sessions: true })).traffic[0]?.sent !== 0)
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(await proxy.answer('kill', { database: 'app' })).toEqual({ clients: 1 })
    expect(proxy.counts.clients).toBe(0)
    await expect(WireClient.login({ port })).rejects.toThrow('53300')
    await until(() => proxy.connections === 0)
    const next = await WireClient.login({ port })
    next.close()
    deaf.socket.destroy()
  })

  test('other settings count without dropping anyone', async () => {
    const { port, proxy } = await fixture.proxy({ defaultPoolSize: 1 })
    const [first, second] = [await WireClient.login({ port }), await WireClient.login({ port })]
    await first.ask('BEGIN')
    const asked = second.ask('SELECT 2')
    await until(() => proxy.counts.waiting === 1)
    proxy.reconfigure({ ...proxy.settings, defaultPoolSize: 2, poolMode: 'session' })
    expect(await asked).toContain('D(2)')
    expect(await first.ask('COMMIT')).toBe('C(COMMIT) Z(I)')
    const third = await WireClient.login({ port })
    const { sessions } = await proxy.answer('look', { sessions: true })
    expect(sessions.map(({ mode }) => mode)).toEqual(['transaction', 'transaction', 'session'])
    for (const client of [first, second, third]) client.close()
  })

  test('the salt of a role that does not exist is the same at every worker and after each start', async () => {
    const saltAt = async (mockSecret: Buffer): Promise<string> => {
      const { port } = await fixture.proxy({}, { mockSecret })
      const client = await WireClient.open(port)
      client.send(startupMessage({ user: 'missing', database: 'app' }))
      await client.next()
      client.send(saslInitialResponse('SCRAM-SHA-256', Buffer.from('n,,n=,r=abcdefghijklmnopqrst')))
      const { body } = await client.next()
      client.socket.destroy()
      return /,s=([^,]+)/.exec(body.toString('utf8', 4))?.[1] ?? ''
    }
    const salt = await saltAt(Buffer.alloc(32, 1))
    expect(salt).not.toBe('')
    expect(await saltAt(Buffer.alloc(32, 1))).toBe(salt)
    expect(await saltAt(Buffer.alloc(32, 2))).not.toBe(salt)
  })
})
