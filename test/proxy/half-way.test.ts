/** What a client loses or leaves half-way (a pipeline, a message, a login): nobody else gets it, and nothing is said of it that is not so. */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { query } from '../../src/protocol/frontend-messages.ts'
import { ProxyFixture, type RunningProxy } from '../support/proxy-fixture.ts'
import { bind, close, execute, flush, parse, shown, sync, WireClient } from '../support/wire-client.ts'
import { clientsAt } from '../support/wire-clients.ts'

describe.each([15, 18])('half-way, PostgreSQL %i', (major) => {
  let fixture: ProxyFixture
  let running: RunningProxy

  beforeAll(async () => {
    fixture = await ProxyFixture.start(major)
    await fixture.sql('CREATE TABLE written (a int); GRANT ALL ON written TO app')
    running = await fixture.proxy({ defaultPoolSize: 1 })
  })
  afterAll(() => fixture?.stop())

  const login = clientsAt(() => running.port)

  const loseServers = (): Promise<unknown> =>
    fixture.server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'")

  const next = async (client: WireClient, count: number): Promise<string> => {
    const messages = []
    while (messages.length < count) messages.push(await client.next())
    return shown(messages)
  }

  const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

  test('what was executed and not yet committed by a Sync is not reported as committed by another server', async () => {
    const client = await login()
    client.send(parse('', 'INSERT INTO written VALUES (1)'), bind('', ''), execute(''), flush())
    expect(await next(client, 3)).toBe('1 2 C(INSERT 0 1)')
    await loseServers()
    expect(await next(client, 1)).toBe('E(08007)')
    client.send(sync())
    expect(shown(await client.until())).toBe('Z(I)')
    expect(await client.ask('SELECT count(*) FROM written')).toContain('D(0)')
  })

  test('what was only prepared before its Sync is prepared again elsewhere', async () => {
    const client = await login()
    client.send(parse('', 'SELECT 5'), flush())
    expect(await next(client, 1)).toBe('1')
    await loseServers()
    await pause(50)
    client.send(bind('', ''), execute(''), sync())
    expect(shown(await client.until())).toBe('2 D(5) C(SELECT 1) Z(I)')
  })

  test('whoever leaves without the Sync that an error asks for takes no place in the pool with it', async () => {
    const leaving = await login()
    leaving.send(parse('', 'no statement'), flush())
    expect(await next(leaving, 1)).toBe('E(42601)')
    leaving.close()
    const other = await login()
    expect(await other.ask('SELECT 1')).toBe('T D(1) C(SELECT 1) Z(I)')
  })

  test('what was executed without a Sync is not committed by the next client', async () => {
    const leaving = await login()
    leaving.send(parse('', 'INSERT INTO written VALUES (7)'), bind('', ''), execute(''), flush())
    expect(await next(leaving, 3)).toBe('1 2 C(INSERT 0 1)')
    leaving.close()
    const other = await login()
    expect(await other.ask('SELECT count(*) FROM written WHERE a = 7')).toContain('D(0)')
  })

  test('the rest of a message whose server was lost is read by no other server', async () => {
    const client = await login()
    const long = query(`SELECT '${'x'.repeat(200_000)}'`)
    query("SELECT 'smuggled'").copy(long, 150_000)
    client.send(long.subarray(0, 150_000))
    await pause(100)
    await loseServers()
    expect(shown(await client.until())).toBe('E(08007) Z(I)')
    client.send(long.subarray(150_000), query('SELECT 1'))
    expect(shown(await client.until())).toBe('T D(1) C(SELECT 1) Z(I)')
  })

  test('nor is the rest of one that was refused', async () => {
    const short = await fixture.proxy({ holdTimeoutMs: 200 })
    const client = await login(short.port)
    short.routing.set({ kind: 'held', epoch: 2, reason: 'an election' })
    const long = query(`SELECT '${'x'.repeat(400_000)}'`)
    // Wherever what was looked at ends, what follows reads as messages.
    const smuggled = query('SELECT 6')
    for (let at = 5 + 64 * 1024; at < 350_000; at += smuggled.length) smuggled.copy(long, at)
    client.send(long)
    expect(shown(await client.until())).toBe('E(57P03) Z(I)')
    short.routing.set({ ...fixture.route, epoch: 3 } as typeof short.routing.current)
    expect(await client.ask('SELECT 1')).toBe('T D(1) C(SELECT 1) Z(I)')
  })

  test('a COMMIT that was prepared in an exchange of its own may have happened, too', async () => {
    await fixture.sql(
      "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NULL; END'",
    )
    await fixture.sql(
      'CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON written DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()',
    )
    for (const boundBefore of [false, true]) {
      const client = await login()
      await client.ask('BEGIN; INSERT INTO written VALUES (1)')
      client.send(parse('', 'COMMIT'), sync())
      expect(shown(await client.until())).toBe('1 Z(T)')
      if (boundBefore) {
        client.send(bind('p', ''), sync())
        expect(shown(await client.until())).toBe('2 Z(T)')
        client.send(execute('p'), sync())
      } else client.send(bind('', ''), execute(''), sync())
      await pause(100)
      await loseServers()
      expect(shown(await client.until())).toMatch(/^(2 )?E\(08007\) Z\(I\)$/)
      client.close()
    }
    await fixture.sql('DROP TRIGGER slow ON written; DROP FUNCTION slow()')
  })

  test('what follows a ROLLBACK commits by itself, and is not said to be undone', async () => {
    const client = await login()
    await client.ask('BEGIN')
    client.send(query('ROLLBACK; INSERT INTO written SELECT 1 FROM pg_sleep(60)'))
    await pause(100)
    await loseServers()
    expect(shown(await client.until())).toMatch(/E\(08007\) Z\(I\)$/)
    await client.ask('BEGIN')
    client.send(parse('', 'ROLLBACK'), bind('', ''), execute(''))
    client.send(
      parse('', 'INSERT INTO written SELECT 1 FROM pg_sleep(60)'),
      bind('', ''),
      execute(''),
      sync(),
    )
    await pause(100)
    await loseServers()
    expect(shown(await client.until())).toMatch(/E\(08007\) Z\(I\)$/)
    await client.ask('BEGIN')
    client.send(query('ROLLBACK TO SAVEPOINT none; SELECT pg_sleep(60)'))
    expect(shown(await client.until())).toBe('E(3B001) Z(E)')
  })

  test('a lost transaction that is to be followed by another stays a failed one: nothing is committed by itself', async () => {
    const client = await login()
    await client.ask('BEGIN')
    await loseServers()
    await pause(100)
    expect(await client.ask('ROLLBACK AND CHAIN')).toBe('E(40001) Z(E)')
    expect(await client.ask('INSERT INTO written VALUES (3)')).toBe('E(25P02) Z(E)')
    expect(await client.ask('ROLLBACK AND NO CHAIN')).toBe('C(ROLLBACK) Z(I)')
  })

  test('nobody is given the unnamed statement of another client', async () => {
    const [mine, other] = [await login(), await login()]
    other.send(parse('', "SELECT 'of another'"), sync())
    await other.until()
    mine.send(bind('', ''), execute(''), sync())
    expect(shown(await mine.until())).toBe('E(26000) Z(I)')
    // Too long to be kept: it is there as long as nobody else was.
    const long = `SELECT 1 /* ${'x'.repeat(100_000)} */`
    mine.send(parse('', long), sync())
    await mine.until()
    mine.send(bind('', ''), execute(''), sync())
    expect(shown(await mine.until())).toBe('2 D(1) C(SELECT 1) Z(I)')
    other.send(parse('', "SELECT 'of another'"), sync())
    await other.until()
    mine.send(bind('', ''), execute(''), sync())
    expect(shown(await mine.until())).toBe('E(26000) Z(I)')
  })

  test('a name is free as soon as it is closed, in the same pipeline; a Close that was skipped closed nothing', async () => {
    const client = await login()
    client.send(parse('a', 'SELECT 1'), sync())
    await client.until()
    client.send(close('S', 'a'), parse('a', 'SELECT 2'), bind('', 'a'), execute(''), sync())
    expect(shown(await client.until())).toBe('3 1 2 D(2) C(SELECT 1) Z(I)')
    client.send(parse('', 'no statement'), close('S', 'a'), parse('a', 'SELECT 3'), sync())
    expect(shown(await client.until())).toBe('E(42601) Z(I)')
    client.send(bind('', 'a'), execute(''), sync())
    expect(shown(await client.until())).toBe('2 D(2) C(SELECT 1) Z(I)')
  })

  test('what the proxy prepares itself may be skipped, too: behind the next Sync it is prepared again', async () => {
    const [mine, other] = [await login(), await login()]
    mine.send(parse('mine', "SELECT 'mine'"), parse('', "SELECT 'unnamed'"), sync())
    await mine.until()
    for (const name of ['mine', '']) {
      // The server has neither, and something else under the empty name.
      await other.ask('DISCARD ALL')
      other.send(parse('', "SELECT 'of another'"), sync())
      await other.until()
      const use = [bind('', name), execute(''), sync()]
      mine.send(bind('', 'nothing_like_it'), ...use, ...use, ...use)
      const row = `2 D(${name === '' ? 'unnamed' : name}) C(SELECT 1) Z(I)`
      expect(shown(await mine.until(3))).toBe(`E(26000) Z(I) ${row} ${row}`)
    }
  })

  test('a Parse that was skipped gave no name, whether the server has its text or not', async () => {
    const client = await login()
    client.send(parse('known', 'SELECT 4'), sync())
    await client.until()
    for (const name of ['a', '']) {
      client.send(parse('', 'no statement'), parse(name, 'SELECT 4'), sync())
      expect(shown(await client.until())).toBe('E(42601) Z(I)')
      client.send(bind('', name), execute(''), sync())
      expect(shown(await client.until())).toBe('E(26000) Z(I)')
    }
    client.send(parse('a', 'SELECT 5'), bind('', 'a'), execute(''), sync())
    expect(shown(await client.until())).toBe('1 2 D(5) C(SELECT 1) Z(I)')
  })

  test('messages that get no answer keep no server', async () => {
    const [stray, other] = [await login(), await login()]
    stray.send(flush())
    await pause(100)
    expect(await other.ask('SELECT 1')).toBe('T D(1) C(SELECT 1) Z(I)')
  })

  test('logins to what cannot be opened end with their clients', async () => {
    await fixture.server.sql('CREATE DATABASE locked OWNER app ALLOW_CONNECTIONS false')
    const few = await fixture.proxy({ maxLogins: 2, loginTimeoutMs: 1_000 })
    for (let i = 0; i < 2; i++)
      await expect(WireClient.login({ port: few.port, database: 'locked' })).rejects.toThrow()
    expect(await (await login(few.port)).ask('SELECT 1')).toContain('D(1)')
    expect(few.proxy.counts.logins).toBe(0)
    await fixture.server.sql('DROP DATABASE locked')
  })

  test('start-up parameters that nobody has any more leave nothing behind', async () => {
    const { proxy, port } = await fixture.proxy({ serverIdleTimeoutMs: 50 })
    const staying = await login(port)
    const leaving = await WireClient.login({ port, parameters: { options: '-c work_mem=1MB' } })
    expect(proxy.counts.pools).toBe(2)
    leaving.close()
    await vi.waitUntil(() => proxy.counts.pools === 1, { timeout: 10_000 })
    expect(await staying.ask('SELECT 1')).toContain('D(1)')
  })
})
