/** The console: who may, what it shows, and what it does; simple and extended protocol, as psql and drivers speak it. */
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseCommands } from '../../src/proxy/console/commands.ts'
import { ProxyFixture, type RunningProxy } from '../support/proxy-fixture.ts'
import { bind, execute, parse, sendCancelTo, shown, sync, WireClient } from '../support/wire-client.ts'

const SUPERUSER = { user: 'postgres', password: 'super' }

async function until(look: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 20_000
  while (!(await look())) {
    if (performance.now() > deadline) throw new Error('waited in vain')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

describe('the console', () => {
  let fixture: ProxyFixture
  let running: RunningProxy
  let console: pg.Client

  const login = (parameters: Readonly<Record<string, string>> = {}): Promise<WireClient> =>
    WireClient.login({ port: running.port, parameters })
  const openConsole = async (database = 'pgunderstudy'): Promise<pg.Client> => {
    const client = new pg.Client({ host: '127.0.0.1', port: running.port, database, ...SUPERUSER })
    await client.connect()
    return client
  }
  const rows = async (sql: string): Promise<readonly Record<string, unknown>[]> =>
    (await console.query<Record<string, unknown>>(sql)).rows
  const refused = async (sql: string): Promise<{ readonly code: string; readonly hint: string }> => {
    try {
      await console.query(sql)
    } catch (error) {
      return error as { code: string; hint: string }
    }
    throw new Error(`${sql} was not refused`)
  }

  beforeAll(async () => {
    fixture = await ProxyFixture.start(18)
    await fixture.server.sql("ALTER ROLE postgres PASSWORD 'super'")
    running = await fixture.proxy({ defaultPoolSize: 2 })
    console = await openConsole()
  })
  afterAll(async () => {
    await console?.end()
    await fixture?.stop()
  })

  test('is for the roles that may, under two names, and asks for their password', async () => {
    const other = await openConsole('pgbouncer')
    expect((await other.query('SHOW VERSION')).rows).toHaveLength(1)
    await other.end()
    await expect(WireClient.login({ port: running.port, database: 'pgunderstudy' })).rejects.toThrow('42501')
    await expect(
      WireClient.login({ port: running.port, database: 'pgunderstudy', user: 'postgres', password: 'no' }),
    ).rejects.toThrow('28P01')
  })

  test('shows pools, clients, servers and what has passed', async () => {
    const [busy, idle] = [await login({ application_name: 'busy' }), await login()]
    await idle.ask('SELECT 1')
    await busy.ask('BEGIN')
    const pool = (await rows('SHOW POOLS;')).find((each) => each['database'] === 'app')
    expect(pool).toMatchObject({ user: 'app', cl_active: '2', cl_waiting: '0', cl_idle: '1', sv_active: '1' })
    expect(pool).toMatchObject({ pool_mode: 'transaction', pool_size: '2' })
    const clients = await rows('SHOW CLIENTS')
    expect(clients.find((each) => each['application_name'] === 'busy')).toMatchObject({
      ...{ state: 'active', id: String(busy.processId), database: 'app' },
    })
    const servers = await rows('show servers')
    expect(servers.find((each) => each['link'] === String(busy.processId))).toMatchObject({
      ...{ state: 'active', transaction: 'T', node: 'alpha', epoch: '1' },
    })
    const [stats] = await rows('SHOW STATS')
    expect(stats?.['database']).toBe('app')
    expect(Number(stats?.['total_query_count'])).toBeGreaterThanOrEqual(2)
    expect(Number(stats?.['total_received'])).toBeGreaterThan(0)
    expect(Number(stats?.['total_sent'])).toBeGreaterThan(0)
    expect(await rows('SHOW DATABASES')).toMatchObject([{ name: 'app', port: String(fixture.server.port) }])
    expect(await rows('SHOW WORKERS')).toMatchObject([{ worker: '0', state: 'open', primary: 'alpha' }])
    expect(await rows("SHOW ROUTE FOR 'SELECT '';'''")).toMatchObject([{ target: 'primary' }])
    for (const what of ['LISTS', 'CONFIG', 'HELP']) await rows(`SHOW ${what}`)
    busy.close()
    idle.close()
  })

  test('speaks the extended protocol, text and binary, and what drivers send by themselves', async () => {
    const named = await console.query({ name: 'pools', text: 'SHOW POOLS' })
    expect(named.fields.map(({ name }) => name)).toContain('cl_active')
    expect((await console.query({ text: 'SHOW VERSION', values: [] })).rows).toHaveLength(1)
    for (const sql of ['BEGIN', "SET application_name = 'x'", 'COMMIT', '']) await console.query(sql)
    const client = await WireClient.login({ port: running.port, database: 'pgunderstudy', ...SUPERUSER })
    client.send(parse('', 'SHOW NOTHING'), bind('', ''), execute(''), sync(), parse('', 'SHOW VERSION'))
    client.send(bind('', ''), execute(''), sync())
    expect(shown(await client.until(2))).toMatch(
      /^E\(42601\) Z\(I\) 1 2 D\(pg-understudy .*\) C\(SHOW\) Z\(I\)$/,
    )
    client.close()
  })

  test('says of what it does not know that it does not, with a hint', async () => {
    for (const sql of ['SELECT 1', 'SHOW', 'SHOW TABLES', "PAUSE 'app'", 'KILL', "SHOW ROUTE FOR 'x"]) {
      const { code, hint } = await refused(sql)
      expect([sql, code]).toEqual([sql, '42601'])
      expect(hint).toContain('SHOW HELP')
    }
    expect(await refused('RESUME')).toMatchObject({ code: '55000' })
    expect(await refused('KILL_CLIENT 1')).toMatchObject({ code: '42704' })
  })

  test('PAUSE waits for what is under way, lets nothing begin and nobody be refused; RESUME goes on', async () => {
    const [inside, outside] = [await login(), await login()]
    await inside.ask('BEGIN')
    let paused = false
    const pausing = console.query('PAUSE app').then(() => {
      paused = true
    })
    const second = await openConsole()
    await until(async () => (await second.query('SHOW DATABASES')).rows[0]?.paused === '1')
    const asked = outside.ask('SELECT 7')
    await until(async () =>
      (await second.query('SHOW CLIENTS')).rows.some((each) => each.state === 'waiting'),
    )
    expect(paused).toBe(false)
    expect(await inside.ask('COMMIT')).toBe('C(COMMIT) Z(I)')
    await pausing
    await until(async () => (await fixture.serverSessions()) === 0)
    await second.query('RESUME app')
    expect(await asked).toContain('D(7)')
    await second.end()
    inside.close()
    outside.close()
  })

  test('PAUSE that nobody waits for any more leaves it paused', async () => {
    const inside = await login()
    await inside.ask('BEGIN')
    const client = await WireClient.login({ port: running.port, database: 'pgunderstudy', ...SUPERUSER })
    const answer = client.ask('PAUSE')
    await until(async () => (await rows('SHOW DATABASES'))[0]?.['paused'] === '1')
    await sendCancelTo(running.port, client.processId, client.secretKey)
    expect(await answer).toBe('E(57014) Z(I)')
    expect((await rows('SHOW DATABASES'))[0]).toMatchObject({ paused: '1' })
    await rows('RESUME')
    expect(await inside.ask('ROLLBACK')).toContain('C(ROLLBACK)')
    inside.close()
    client.close()
  })

  test('RECONNECT replaces servers when they are free, and KILL ends sessions', async () => {
    const client = await login()
    const pid = await client.ask('SELECT pg_backend_pid()')
    await rows('RECONNECT')
    expect(await client.ask('SELECT pg_backend_pid()')).not.toBe(pid)
    await rows(`KILL_CLIENT ${client.processId}`)
    await client.ended()
    const another = await login()
    await rows('KILL app')
    await another.ended()
  })

  test('is there when there are as many clients as may be', async () => {
    const small = await fixture.proxy({ maxClients: 1 })
    const only = await WireClient.login({ port: small.port })
    await expect(WireClient.login({ port: small.port })).rejects.toThrow('53300')
    const client = await WireClient.login({ port: small.port, database: 'pgunderstudy', ...SUPERUSER })
    expect(await client.ask('SHOW CLIENTS')).toContain(`,${only.processId},`)
    only.close()
    client.close()
  })
})

test('comments, quotes and several commands', () => {
  expect(parseCommands('/* a */ SHOW -- b\n pools ; ; PAUSE "my db";')).toEqual({
    kind: 'commands',
    commands: [
      { kind: 'show', what: 'POOLS' },
      { kind: 'pause', database: 'my db' },
    ],
  })
  expect(parseCommands(' ')).toEqual({ kind: 'commands', commands: [] })
  expect(parseCommands("'")).toEqual({ kind: 'error', near: "'" })
})
