/** The contract of docs/proxy.md at moments that have to be hit exactly, in both modes: a server that is frozen, killed, cut off, or replaced. */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { Route } from '../../src/ports/proxy.ts'
import { parseErrorFields } from '../../src/protocol/error-fields.ts'
import { query } from '../../src/protocol/frontend-messages.ts'
import { ChaosProxy } from '../support/chaos-proxy.ts'
import { ProxyFixture, type RunningProxy } from '../support/proxy-fixture.ts'
import { bind, execute, flush, parse, shown, sync, type WireClient } from '../support/wire-client.ts'
import { clientsAt } from '../support/wire-clients.ts'

describe.each([15, 18])('at an exact moment, PostgreSQL %i', (major) => {
  let fixture: ProxyFixture

  beforeAll(async () => {
    fixture = await ProxyFixture.start(major)
    await fixture.sql('CREATE TABLE written (a int); GRANT ALL ON written TO app')
  })
  afterAll(() => fixture?.stop())

  describe.each(['transaction', 'session'] as const)('%s mode', (poolMode) => {
    let running: RunningProxy

    beforeAll(async () => {
      running = await fixture.proxy({ poolMode, defaultPoolSize: 4 })
    })

    const login = clientsAt(() => running.port)

    /** The server process that works, or would work, for the client. */
    const backendOf = async (client: WireClient): Promise<number> =>
      Number(/D\((\d+)\)/.exec(await client.ask('SELECT pg_backend_pid()'))?.[1])

    /** What is sent while the process is frozen lies in its socket, unread, when it learns that it must end. */
    const endBeforeItReads = async (pid: number, send: () => void): Promise<void> => {
      process.kill(pid, 'SIGSTOP')
      send()
      await new Promise((resolve) => setTimeout(resolve, 100))
      await fixture.server.sql('SELECT pg_terminate_backend($1)', [pid])
      process.kill(pid, 'SIGCONT')
    }

    const rowsWritten = async (): Promise<string> =>
      String((await fixture.sql('SELECT count(*)::int AS n FROM written'))[0]?.['n'])

    const moved = (route: Route, epoch: number): Route => ({ ...route, epoch }) as Route

    test.each(['BEGIN', ' start transaction READ ONLY;'])(
      '%s that was sent to a server that had just died costs time only',
      async (begin) => {
        const client = await login()
        await endBeforeItReads(await backendOf(client), () => client.send(query(begin)))
        expect(shown(await client.until())).toMatch(/^C\((BEGIN|START TRANSACTION)\) Z\(T\)$/)
        expect(await client.ask('SELECT 1')).toBe('T D(1) C(SELECT 1) Z(T)')
        expect(await client.ask('ROLLBACK')).toBe('C(ROLLBACK) Z(I)')
      },
    )

    test.each([
      ['a statement', [query('INSERT INTO written VALUES (1)')], 'E(08007) Z(I)', 1],
      ['BEGIN with more', [query('BEGIN; INSERT INTO written VALUES (1)')], 'E(08007) Z(I)', 1],
      [
        'BEGIN and what follows',
        [query('BEGIN'), query('INSERT INTO written VALUES (1)'), query('COMMIT')],
        'E(08007) Z(I) E(08007) Z(I) E(08007) Z(I)',
        3,
      ],
      [
        'a pipeline',
        [parse('', 'INSERT INTO written VALUES (1)'), bind('', ''), execute(''), sync()],
        'E(08007) Z(I)',
        1,
      ],
    ] as const)('%s in that moment: 08007, and it is not sent again', async (_, messages, answers, ready) => {
      const client = await login()
      await endBeforeItReads(await backendOf(client), () => client.send(...messages))
      expect(shown(await client.until(ready))).toBe(answers)
      expect(await rowsWritten()).toBe('0')
      expect(await client.ask('SELECT 1')).toBe('T D(1) C(SELECT 1) Z(I)')
    })

    test('in a transaction: 40001, a COMMIT too that was not read says that nobody knows', async () => {
      const client = await login()
      await client.ask('BEGIN; INSERT INTO written VALUES (1)')
      await endBeforeItReads(await backendOf(client), () => client.send(query('SELECT 1')))
      expect(shown(await client.until())).toBe('E(40001) Z(E)')
      expect(await client.ask('ROLLBACK')).toBe('C(ROLLBACK) Z(I)')
      await client.ask('BEGIN; INSERT INTO written VALUES (1)')
      await endBeforeItReads(await backendOf(client), () => client.send(query('COMMIT')))
      expect(shown(await client.until())).toBe('E(08007) Z(I)')
      expect(await rowsWritten()).toBe('0')
    })

    test('half a row was sent on when the server is killed: the connection ends, and nobody else has the rest', async () => {
      const client = await login()
      const pid = await backendOf(client)
      client.socket.pause()
      const before = client.socket.bytesRead
      client.send(query("SELECT repeat('x', 50000000)"))
      await vi.waitUntil(() => client.socket.bytesRead > before + 1_000, { timeout: 20_000 })
      process.kill(pid, 'SIGKILL')
      await new Promise((resolve) => setTimeout(resolve, 100))
      client.socket.resume()
      await client.ended()
      await vi.waitUntil(async () => (await fixture.server.sql('SELECT 1').catch(() => null)) !== null, {
        timeout: 20_000,
        interval: 50,
      })
      expect(await (await login()).ask('SELECT 1')).toBe('T D(1) C(SELECT 1) Z(I)')
    })

    test('a connection that is cut without a word', async () => {
      const cable = await ChaosProxy.start(fixture.server.port)
      const cut = await fixture.proxy({ poolMode, defaultPoolSize: 4 })
      cut.routing.set({
        kind: 'open',
        epoch: 1,
        primary: { name: 'alpha', host: '127.0.0.1', port: cable.port },
      })
      const [idle, open, busy, piped] = [
        await login(cut.port),
        await login(cut.port),
        await login(cut.port),
        await login(cut.port),
      ]
      await idle.ask('SELECT 1')
      await open.ask('BEGIN; INSERT INTO written VALUES (1)')
      busy.send(query('SELECT pg_sleep(60)'))
      piped.send(parse('', 'INSERT INTO written VALUES (1)'), bind('', ''), execute(''), flush())
      expect(shown([await piped.next(), await piped.next(), await piped.next()])).toBe('1 2 C(INSERT 0 1)')
      cable.reset()
      expect(shown(await busy.until())).toMatch(/^(T )?E\(08007\) Z\(I\)$/)
      expect(shown([await piped.next()])).toBe('E(08007)')
      piped.send(sync())
      expect(shown(await piped.until())).toBe('Z(I)')
      expect(await open.ask('COMMIT')).toBe('E(40001) Z(I)')
      expect(await idle.ask('SELECT 2')).toBe('T D(2) C(SELECT 1) Z(I)')
      await fixture.server.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%sleep(60)'",
      )
      expect(await rowsWritten()).toBe('0')
      await cut.stop()
      await cable.close()
    })

    test('another primary: who is in a statement, in a transaction, idle, or has what cannot move', async () => {
      const switched = await fixture.proxy({ poolMode, defaultPoolSize: 5 })
      const names = ['busy', 'open', 'failed', 'idle', 'holds'] as const
      const all = Object.fromEntries(
        await Promise.all(names.map(async (name) => [name, await login(switched.port)] as const)),
      ) as Record<(typeof names)[number], WireClient>
      await all.open.ask('BEGIN; INSERT INTO written VALUES (1)')
      await all.failed.ask('BEGIN; SELECT 1/0')
      if (poolMode === 'transaction') await all.idle.ask("SET application_name = 'the idle one'")
      else await all.holds.ask('CREATE TEMP TABLE held (a int)')
      all.busy.send(query('INSERT INTO written SELECT 1 FROM pg_sleep(60)'))
      await vi.waitUntil(async () => {
        const rows = await fixture.server.sql(
          "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%sleep(60)' AND state = 'active'",
        )
        return rows.length > 0
      })
      switched.routing.set(moved(fixture.route, 2))
      expect(shown(await all.busy.until())).toBe('E(08007) Z(I)')
      expect(await all.open.ask('INSERT INTO written VALUES (2)')).toBe('E(40001) Z(E)')
      expect(await all.open.ask('ROLLBACK')).toBe('C(ROLLBACK) Z(I)')
      expect(await all.failed.ask('SELECT 1')).toBe('E(25P02) Z(E)')
      expect(await all.failed.ask('ROLLBACK')).toBe('C(ROLLBACK) Z(I)')
      expect(await all.idle.ask('SHOW application_name')).toBe(
        `T D(${poolMode === 'transaction' ? 'the idle one' : ''}) C(SHOW) Z(I)`,
      )
      if (poolMode === 'session') {
        const { severity, code, message } = parseErrorFields((await all.holds.next()).body)
        expect([severity, code]).toEqual(['FATAL', '57P01'])
        expect(message).toContain('temporary tables')
        await all.holds.ended()
      } else expect(await all.holds.ask('SELECT 1')).toBe('T D(1) C(SELECT 1) Z(I)')
      await fixture.server.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%sleep(60)'",
      )
      expect(await rowsWritten()).toBe('0')
    })

    test('while nobody takes writes whoever has no server waits, and a login too', async () => {
      const held = await fixture.proxy({ poolMode, defaultPoolSize: 4 })
      const client = await login(held.port)
      held.routing.set({ kind: 'held', epoch: 2, reason: 'an election' })
      client.send(query('BEGIN'), query('SELECT 1'), query('COMMIT'))
      await new Promise((resolve) => setTimeout(resolve, 200))
      expect(held.proxy.counts.waiting).toBe(1)
      held.routing.set(moved(fixture.route, 3))
      expect(shown(await client.until(3))).toBe('C(BEGIN) Z(T) T D(1) C(SELECT 1) Z(T) C(COMMIT) Z(I)')
    })
  })
})
