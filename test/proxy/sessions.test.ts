/** What a client leaves in a server's session never reaches the next client, and what may follow it does. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { query } from '../../src/protocol/frontend-messages.ts'
import { ProxyFixture, type RunningProxy } from '../support/proxy-fixture.ts'
import { bind, execute, parse, shown, sync, WireClient } from '../support/wire-client.ts'

describe.each([15, 18])('sessions over shared servers, PostgreSQL %i', (major) => {
  let fixture: ProxyFixture
  let running: RunningProxy

  beforeAll(async () => {
    fixture = await ProxyFixture.start(major)
    running = await fixture.proxy({ defaultPoolSize: 1 })
  })
  afterAll(() => fixture?.stop())

  const login = (parameters: Readonly<Record<string, string>> = {}): Promise<WireClient> =>
    WireClient.login({ port: running.port, parameters })
  const show = async (client: WireClient, name: string): Promise<string> =>
    /D\((.*)\) C\(SHOW\)/.exec(await client.ask(`SHOW ${name}`))?.[1] ?? ''

  test('reported settings follow the client, and nobody else', async () => {
    const a = await login({ application_name: 'a', TimeZone: 'Asia/Tokyo' })
    const b = await login({ application_name: 'b' })
    expect(await a.ask("SET DateStyle = 'SQL, DMY'")).toBe('C(SET) Z(I)')
    await b.ask("SET IntervalStyle = 'sql_standard'")
    for (let i = 0; i < 3; i++) {
      expect([
        await show(a, 'application_name'),
        await show(a, 'TimeZone'),
        await show(a, 'DateStyle'),
      ]).toEqual(['a', 'Asia/Tokyo', 'SQL, DMY'])
      expect([
        await show(b, 'application_name'),
        await show(b, 'DateStyle'),
        await show(b, 'IntervalStyle'),
      ]).toEqual(['b', 'ISO, MDY', 'sql_standard'])
      expect(await show(b, 'TimeZone')).not.toBe('Asia/Tokyo')
      expect(await show(a, 'IntervalStyle')).toBe('postgres')
    }
    a.close()
    b.close()
  })

  test('RESET and DISCARD ALL lead back to what the client began with', async () => {
    const session = await fixture.proxy({ poolMode: 'session' })
    for (const port of [running.port, session.port]) {
      const parameters = { application_name: 'mine', TimeZone: 'Asia/Tokyo' }
      const client = await WireClient.login({ port, parameters })
      for (const reset of ['RESET application_name; RESET TimeZone', 'RESET ALL', 'DISCARD ALL']) {
        await client.ask("SET application_name = 'another'")
        await client.ask("SET TimeZone = 'Europe/Paris'")
        client.send(query(reset))
        const told = (await client.until())
          .filter(({ type }) => type === 'S')
          .map(({ body }) => body.toString())
          .filter((each) => /^(?:TimeZone|application_name)\0/.test(each))
        expect(told.sort(), 'and it is told so').toEqual([
          'TimeZone\0Asia/Tokyo\0',
          'application_name\0mine\0',
        ])
        expect([await show(client, 'application_name'), await show(client, 'TimeZone')]).toEqual([
          'mine',
          'Asia/Tokyo',
        ])
      }
      client.close()
    }
    await session.stop()
  })

  test('values with quotes, backslashes and other letters', async () => {
    const name = `it's a \\ "name"; select 1 --`
    const a = await login({ application_name: name })
    const b = await login()
    await b.ask('SELECT 1')
    expect(await show(a, 'application_name')).toBe(name)
    await a.ask("SELECT set_config('search_path', 'a;commit, \"B c\"', false)")
    await b.ask('SELECT 1')
    expect(await show(a, 'search_path')).toBe(major >= 18 ? 'a;commit, "B c"' : '"$user", public')
    a.close()
    b.close()
  })

  test('a value that PostgreSQL does not take ends the session with its words', async () => {
    const client = await login({ TimeZone: 'Nowhere/Land' })
    client.send(query('SELECT 1'))
    expect(shown([await client.next()])).toBe('E(22023)')
    await client.ended()
  })

  test.each([
    ["SET work_mem = '1234kB'", 'SHOW work_mem', '4MB'],
    ["SELECT set_config('work_mem', '1234kB', false)", 'SHOW work_mem', '4MB'],
    [
      'SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE',
      'SHOW transaction_isolation',
      'read committed',
    ],
    ['CREATE TEMP TABLE left_behind (a int)', "SELECT to_regclass('pg_temp.left_behind') IS NULL", 't'],
    ['SELECT pg_advisory_lock(7)', "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", '0'],
    ['PREPARE mine AS SELECT 1', 'SELECT count(*) FROM pg_prepared_statements', '0'],
    ['DECLARE held CURSOR WITH HOLD FOR SELECT 1', 'SELECT count(*) FROM pg_cursors', '0'],
    ['SELECT 1; LISTEN sneaked', 'SELECT count(*) FROM pg_listening_channels()', '0'],
    ['BEGIN; SET LOCAL work_mem = 1234; COMMIT', 'SHOW work_mem', '4MB'],
  ])('%s leaves nothing', async (dirty, look, clean) => {
    const a = await login()
    const b = await login()
    expect(await a.ask(dirty)).toMatch(/Z\(I\)$/)
    expect(await b.ask(look)).toContain(`D(${clean})`)
    a.close()
    b.close()
  })

  test('a role that was set is set back', async () => {
    await fixture.server.sql('CREATE ROLE only_nologin; GRANT only_nologin TO app')
    const a = await login()
    const b = await login()
    await a.ask('SET ROLE only_nologin')
    expect(await b.ask('SELECT current_user')).toContain('D(app)')
    a.close()
    b.close()
  })

  test('what a client prepared is still there after somebody else threw everything away', async () => {
    const a = await login()
    const b = await login()
    a.send(parse('p', 'SELECT 41 + 1'), sync())
    await a.until()
    for (const everything of ['DISCARD ALL', 'DEALLOCATE ALL', 'PREPARE x AS SELECT 1']) {
      await b.ask(everything)
      a.send(bind('', 'p'), execute(''), sync())
      expect(shown(await a.until()), everything).toBe('2 D(42) C(SELECT 1) Z(I)')
    }
    await a.ask('DEALLOCATE ALL')
    a.send(bind('', 'p'), execute(''), sync())
    expect(shown(await a.until())).toBe('E(26000) Z(I)')
    a.close()
    b.close()
  })

  test('other start-up parameters have servers of their own, and survive a reset', async () => {
    const a = await login({ options: '-c work_mem=2222kB', extra_float_digits: '0' })
    const b = await login()
    await a.ask("SET work_mem = '3333kB'")
    expect(await show(a, 'work_mem')).toBe('2222kB')
    expect(await show(a, 'extra_float_digits')).toBe('0')
    expect(await show(b, 'work_mem')).toBe('4MB')
    a.close()
    b.close()
  })

  test('a client that leaves in the middle of anything leaves nothing', async () => {
    await fixture.sql('CREATE TABLE IF NOT EXISTS counted (a int)')
    await fixture.sql('GRANT ALL ON counted TO app')
    for (const [how, leave] of [
      [
        'in a transaction',
        async (client: WireClient) => void (await client.ask('BEGIN; LOCK TABLE pg_class')),
      ],
      ['in a failed one', async (client: WireClient) => void (await client.ask('BEGIN; SELECT 1/0'))],
      ['in a statement', async (client: WireClient) => client.send(query('SELECT pg_sleep(60)'))],
      [
        'in a message',
        async (client: WireClient) =>
          client.send(query(`SELECT '${'x'.repeat(200_000)}'`).subarray(0, 150_000)),
      ],
      [
        'in a pipeline',
        async (client: WireClient) => client.send(parse('', 'SELECT 1'), bind('', ''), execute('')),
      ],
      ['in COPY', async (client: WireClient) => client.send(query('COPY pg_temp.nothing FROM STDIN'))],
    ] as const) {
      const client = await login()
      await leave(client)
      await new Promise((resolve) => setTimeout(resolve, 50))
      client.socket.destroy()
      const next = await login()
      expect(await next.ask('SELECT 1'), how).toBe('T D(1) C(SELECT 1) Z(I)')
      next.close()
    }
    const left = await fixture.server.sql(
      "SELECT query FROM pg_stat_activity WHERE usename = 'app' AND state <> 'idle' AND query LIKE '%sleep(60)%'",
    )
    expect(left, 'what nobody waits for is cancelled').toEqual([])
  })

  describe('in session mode', () => {
    let session: RunningProxy

    beforeAll(async () => {
      session = await fixture.proxy({ poolMode: 'session', defaultPoolSize: 2 })
    })

    const open = (): Promise<WireClient> => WireClient.login({ port: session.port })

    test('everything of a session stays with its client, and goes with it', async () => {
      const a = await open()
      await a.ask("SET work_mem = '1234kB'; CREATE TEMP TABLE mine (a int); PREPARE p AS SELECT 5")
      a.send(parse('named', 'SELECT 6'), sync())
      await a.until()
      expect(await a.ask('EXECUTE p')).toContain('D(5)')
      expect(await a.ask('EXECUTE named')).toContain('D(6)')
      expect(await show(a, 'work_mem')).toBe('1234kB')
      const pid = await a.ask('SELECT pg_backend_pid()')
      a.close()
      await a.ended()
      const b = await open()
      const c = await open()
      const pids = [await b.ask('SELECT pg_backend_pid()'), await c.ask('SELECT pg_backend_pid()')]
      expect(pids, 'the server is used again').toContain(pid)
      for (const client of [b, c]) {
        expect(await show(client, 'work_mem')).toBe('4MB')
        expect(
          await client.ask(
            "SELECT to_regclass('pg_temp.mine') IS NULL, (SELECT count(*) FROM pg_prepared_statements)",
          ),
        ).toContain('D(t,0)')
        client.close()
        await client.ended()
      }
    })

    test('notifications arrive', async () => {
      const a = await open()
      const b = await open()
      await a.ask('LISTEN news')
      await b.ask("NOTIFY news, 'hello'")
      const message = await a.next()
      expect([message.type, message.body.toString('utf8', 4)]).toEqual(['A', 'news\0hello\0'])
      a.close()
      b.close()
    })
  })
})
