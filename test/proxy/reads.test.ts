/**
 * Reads over the ports `auto` and `read-only` (docs/proxy.md, "Reads on standbys"): where they go, that nobody misses what he wrote, and what a
 * client sees when a standby is lost. Texts are told apart by a stand-in: the classifier has tests of its own.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { lsnOf } from '../../src/core/lsn.ts'
import { parseErrorFields } from '../../src/protocol/error-fields.ts'
import { query } from '../../src/protocol/frontend-messages.ts'
import { formatToken } from '../../src/proxy/reads/token.ts'
import { lookAt } from '../../src/proxy/worker-look.ts'
import { ReadsFixture, type ReadsProxy, until } from '../support/reads-fixture.ts'
import {
  bind,
  describe as describeMessage,
  execute,
  parse,
  shown,
  sync,
  WireClient,
} from '../support/wire-client.ts'

const WHERE = 'SELECT pg_is_in_recovery()'
const AT_STANDBY = 'T D(t) C(SELECT 1) Z(I)'
const AT_PRIMARY = 'T D(f) C(SELECT 1) Z(I)'

describe.each([15, 18])('reads, PostgreSQL %i', (major) => {
  let fixture: ReadsFixture
  let running: ReadsProxy
  const clients: WireClient[] = []

  beforeAll(async () => {
    fixture = await ReadsFixture.start(major)
    await fixture.sql('CREATE TABLE written (a int); GRANT ALL ON written TO app')
    await fixture.sql(
      'CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS $$ INSERT INTO written VALUES (-1) RETURNING a $$',
    )
    running = await fixture.proxy()
  })
  afterEach(async () => {
    for (const client of clients.splice(0)) client.close()
    for (const name of ['bravo', 'charlie']) await fixture.standby(name).sql('SELECT pg_wal_replay_resume()')
    await until(() => inRotation(running) === 'bravo, charlie', 'both standbys in rotation')
  })
  afterAll(() => fixture?.stop())

  const login = async (port = running.auto, parameters = {}): Promise<WireClient> => {
    const client = await WireClient.login({ port, parameters })
    clients.push(client)
    return client
  }
  const inRotation = ({ logged }: ReadsProxy): string =>
    logged.findLast((line) => line.startsWith('reads go to'))?.slice('reads go to '.length) ?? ''
  const pause = async (...names: readonly string[]): Promise<void> => {
    for (const name of names) await fixture.standby(name).sql('SELECT pg_wal_replay_pause()')
  }
  /** Paused, and the proxy is made to believe that it is not. */
  const stall = async (proxy: ReadsProxy, ...names: readonly string[]): Promise<void> => {
    for (const name of names) proxy.positions.change(name, (reading) => ({ ...reading, heldBack: null }))
    await until(() => names.every((name) => inRotation(proxy).includes(name)), 'them in rotation')
    await pause(...names)
    for (const name of names)
      await until(async () => {
        const [row] = await fixture.standby(name).sql('SELECT pg_get_wal_replay_pause_state() AS s')
        return row?.['s'] === 'paused'
      }, 'replay to pause')
  }

  /** What no server has a say in is shown on one of them. */
  const describeOnce = (name: string, tests: () => void): void => {
    if (major === 18) describe(name, tests)
  }

  describe('on the port auto', () => {
    test('go to standbys, and everything else to the primary', async () => {
      const client = await login()
      expect(client.parameters.get('in_hot_standby')).toBe('off')
      expect(await client.ask(WHERE)).toBe(AT_STANDBY)
      expect(await client.ask('INSERT INTO written VALUES (1)')).toBe('C(INSERT 0 1) Z(I)')
      client.send(parse('r', WHERE), describeMessage('S', 'r'), sync())
      expect(shown(await client.until())).toBe('1 t T Z(I)')
      client.send(bind('', 'r'), execute(''), sync())
      expect(shown(await client.until())).toBe('2 D(t) C(SELECT 1) Z(I)')
      expect(await client.ask('BEGIN')).toBe('C(BEGIN) Z(T)')
      expect(await client.ask(WHERE)).toBe('T D(f) C(SELECT 1) Z(T)')
      expect(await client.ask('COMMIT')).toBe('C(COMMIT) Z(I)')
      expect(await client.ask('BEGIN READ ONLY')).toBe('C(BEGIN) Z(T)')
      expect(await client.ask(WHERE)).toBe('T D(t) C(SELECT 1) Z(T)')
      expect(await client.ask('INSERT INTO written VALUES (1)')).toBe('E(25006) Z(E)')
      expect(await client.ask('ROLLBACK')).toBe('C(ROLLBACK) Z(I)')
    })

    test('spread over the standbys', async () => {
      const client = await login()
      const seen = new Set<string>()
      for (let i = 0; i < 20; i++) seen.add(await client.ask('SELECT inet_server_port()'))
      expect(seen.size).toBe(2)
    })

    test('never miss what the session wrote, though commits are acknowledged before they are written', async () => {
      const client = await login(running.auto, { options: '-c synchronous_commit=off' })
      await client.ask('TRUNCATE written')
      for (let i = 1; i <= 100; i++) {
        await client.ask(`INSERT INTO written VALUES (${i})`)
        expect(await client.ask('SELECT count(*), pg_is_in_recovery() FROM written')).toMatch(
          new RegExp(`^T D\\(${i},[tf]\\)`),
        )
      }
    })

    test('wait a little for the standby that will be first, and then go to the primary', async () => {
      const impatient = await fixture.proxy({ readDefaults: { waitMs: 50 } })
      await stall(impatient, 'bravo', 'charlie')
      const writer = await login(impatient.auto)
      const other = await login(impatient.auto)
      await writer.ask('INSERT INTO written VALUES (7)')
      expect(await writer.ask(WHERE)).toBe(AT_PRIMARY)
      // Whoever wrote nothing misses nothing of his own.
      expect(await other.ask(WHERE)).toBe(AT_STANDBY)
      expect(impatient.positions.hurried).toContain('bravo')
      await fixture.standby('charlie').sql('SELECT pg_wal_replay_resume()')
      await until(async () => (await writer.ask(WHERE)) === AT_STANDBY, 'charlie to have it')
      expect(await writer.ask('SELECT count(*) > 0 FROM written WHERE a = 7')).toContain('D(t)')
      await impatient.stop()
    })

    test('are served by a standby where the primary’s WAL ends at the beginning of a segment, and nobody writes', async () => {
      const client = await login()
      await client.ask('INSERT INTO written VALUES (8)')
      await fixture.sql('SELECT pg_switch_wal()')
      // Seen to fail without endOfRecords: no standby replays up to the insert position behind a page's header.
      expect(await client.ask(WHERE)).toBe(AT_STANDBY)
      // Nor is it behind, however long nobody writes.
      const strict = await fixture.proxy({ readDefaults: { maxLagMs: 200 } })
      const later = await login(strict.auto)
      await new Promise((resolve) => setTimeout(resolve, 1_000))
      expect(await later.ask(WHERE)).toBe(AT_STANDBY)
      await strict.stop()
    })

    test('are counted by who answered them, and the standbys are shown with why nobody reads there', async () => {
      const counted = await fixture.proxy({ readDefaults: { waitMs: 10 } })
      const client = await login(counted.auto)
      expect(await client.ask(WHERE)).toBe(AT_STANDBY)
      await stall(counted, 'bravo', 'charlie')
      await client.ask('INSERT INTO written VALUES (9)')
      expect(await client.ask(WHERE)).toBe(AT_PRIMARY)
      const { traffic, standbys } = lookAt(counted.proxy, false)
      expect(traffic).toMatchObject([{ readsAtStandbys: 1, readsAtPrimary: 1, readsRepeated: 0 }])
      expect(standbys).toMatchObject([
        { node: 'bravo', outBecause: null, replayLsn: expect.stringMatching(/^\w+\/\w+$/) },
        { node: 'charlie', outBecause: null },
      ])
      await counted.stop()
      for (const name of ['bravo', 'charlie'])
        await fixture.standby(name).sql('SELECT pg_wal_replay_resume()')
    })

    test('of one chunk are told apart: a write behind a read goes to the primary, in order', async () => {
      const client = await login()
      client.send(
        query(WHERE),
        query('INSERT INTO written VALUES (900)'),
        query('SELECT count(*) FROM written WHERE a = 900'),
        parse('', WHERE),
        bind('', ''),
        execute(''),
        sync(),
      )
      expect(shown(await client.until(4))).toBe(
        `${AT_STANDBY} C(INSERT 0 1) Z(I) T D(1) C(SELECT 1) Z(I) 1 2 D(f) C(SELECT 1) Z(I)`,
      )
      client.send(
        query('BEGIN READ ONLY'),
        query(WHERE),
        query('COMMIT'),
        query('INSERT INTO written VALUES (900)'),
      )
      expect(shown(await client.until(4))).toBe(
        'C(BEGIN) Z(T) T D(t) C(SELECT 1) Z(T) C(COMMIT) Z(I) C(INSERT 0 1) Z(I)',
      )
    })

    test('that come in pieces, or without their Sync, are the primary’s or wait for the rest', async () => {
      const client = await login()
      const whole = query(WHERE)
      client.send(whole.subarray(0, 9))
      await new Promise((resolve) => setTimeout(resolve, 20))
      client.send(whole.subarray(9))
      expect(shown(await client.until())).toBe(AT_STANDBY)
      client.send(parse('', WHERE), bind('', ''), execute(''))
      await new Promise((resolve) => setTimeout(resolve, 20))
      client.send(sync())
      expect(shown(await client.until())).toBe('1 2 D(f) C(SELECT 1) Z(I)')
      const long = `SELECT pg_is_in_recovery() ${' '.repeat(100_000)}`
      expect(await client.ask(long)).toBe(AT_PRIMARY)
    })

    test('that turn out to be writes are run on the primary, once, and remembered', async () => {
      const client = await login()
      await client.ask('TRUNCATE written')
      expect(await client.ask('SELECT writes()')).toBe('T D(-1) C(SELECT 1) Z(I)')
      expect(running.learned).toContain('SELECT writes()')
      client.send(
        parse('w', 'SELECT writes() AS w'),
        bind('', 'w'),
        describeMessage('P', ''),
        execute(''),
        sync(),
      )
      expect(shown(await client.until())).toBe('1 2 T D(-1) C(SELECT 1) Z(I)')
      client.send(bind('', 'w'), execute(''), sync())
      expect(shown(await client.until())).toBe('2 D(-1) C(SELECT 1) Z(I)')
      expect(await client.ask('SELECT count(*) FROM written')).toBe('T D(3) C(SELECT 1) Z(I)')
    })

    test('with a standby that dies, no row forwarded: the same statement on another node', async () => {
      const client = await login()
      const from = await login()
      client.send(query('SELECT pg_sleep(0.5), pg_is_in_recovery()'))
      await until(async () => (await runningAt(fixture)) !== null, 'it to run')
      const name = (await runningAt(fixture)) ?? ''
      await fixture.standby(name).stop('SIGQUIT')
      expect(shown(await client.until())).toMatch(/^T D\(,[tf]\) C\(SELECT 1\) Z\(I\)$/)
      expect(await from.ask(WHERE)).toBe(AT_STANDBY)
      await fixture.standby(name).start()
    })

    test('with a standby that freezes: the same statement on another node, when nothing is heard from it', async () => {
      const client = await login()
      client.send(query('SELECT pg_sleep(1), pg_is_in_recovery()'))
      await until(async () => (await runningAt(fixture)) !== null, 'it to run')
      const name = (await runningAt(fixture)) ?? ''
      const { pid } = fixture.standby(name)
      const [row] = await fixture
        .standby(name)
        .sql("SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(1)%'")
      for (const each of [pid, Number(row?.['pid'])]) process.kill(each, 'SIGSTOP')
      running.positions.change(name, () => null)
      expect(shown(await client.until())).toMatch(/^T D\(,[tf]\) C\(SELECT 1\) Z\(I\)$/)
      for (const each of [Number(row?.['pid']), pid]) process.kill(each, 'SIGCONT')
      running.positions.change(name, (reading) => reading)
    })

    test('with a standby that dies in the middle of the rows: 40001, and the connection stays', async () => {
      const client = await login()
      client.send(query("SELECT i, repeat('x', 1000), pg_sleep(0.01) FROM generate_series(1, 500) AS i"))
      expect((await client.next()).type).toBe('T')
      const name = (await runningAt(fixture)) ?? ''
      await fixture
        .standby(name)
        .sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT i, repeat%'")
      const last = shown((await client.until()).slice(-2))
      expect(last).toBe('E(40001) Z(I)')
      expect(await client.ask(WHERE)).toBe(AT_STANDBY)
    })

    test('in a read-only transaction whose standby dies: 40001 once, as of any transaction', async () => {
      const client = await login()
      await client.ask('BEGIN READ ONLY')
      await client.ask('SELECT 1 AS here')
      for (const name of ['bravo', 'charlie'])
        await fixture
          .standby(name)
          .sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'")
      expect(await client.ask('SELECT 1')).toBe('E(40001) Z(E)')
      expect(await client.ask('ROLLBACK')).toBe('C(ROLLBACK) Z(I)')
      expect(await client.ask(WHERE)).toBe(AT_STANDBY)
    })

    test('that are in the way of replay are asked of the primary', async () => {
      const client = await login()
      for (const name of ['bravo', 'charlie']) {
        fixture.standby(name).configure(['max_standby_streaming_delay = 100'])
        await fixture.standby(name).sql('SELECT pg_reload_conf()')
      }
      client.send(query('SELECT count(*) >= 0, pg_sleep(1.5), pg_is_in_recovery() FROM written'))
      await until(async () => (await runningAt(fixture)) !== null, 'it to run')
      await fixture.sql('LOCK TABLE written IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.3)')
      expect(shown(await client.until())).toBe('T D(t,,f) C(SELECT 1) Z(I)')
    })
  })

  describeOnce('own settings', () => {
    test('are shown and set by the proxy, in both protocols', async () => {
      const client = await login()
      expect(await client.ask('SHOW understudy.level')).toBe('T D(session) C(SHOW) Z(I)')
      expect(await client.ask("SET understudy.level = 'primary'")).toBe('C(SET) Z(I)')
      expect(await client.ask(WHERE)).toBe(AT_PRIMARY)
      client.send(
        parse('s', 'SET understudy.level = eventual'),
        bind('', 's'),
        describeMessage('P', ''),
        execute(''),
        sync(),
      )
      expect(shown(await client.until())).toBe('1 2 n C(SET) Z(I)')
      client.send(
        parse('', 'SHOW understudy.level'),
        bind('', ''),
        describeMessage('P', ''),
        execute(''),
        sync(),
      )
      expect(shown(await client.until())).toBe('1 2 T D(eventual) C(SHOW) Z(I)')
      expect(await client.ask(WHERE)).toBe(AT_STANDBY)
      expect(await client.ask('SET understudy.level = sometimes')).toBe('E(22023) Z(I)')
      client.send(
        parse('', 'SET understudy.level = session'),
        bind('', ''),
        execute(''),
        parse('', WHERE),
        bind('', ''),
        execute(''),
        sync(),
      )
      expect(shown(await client.until())).toBe('E(0A000) Z(I)')
      client.send(bind('', 's'), execute(''), sync())
      expect(shown(await client.until())).toBe('2 C(SET) Z(I)')
      expect(await client.ask('SHOW understudy.max_lag')).toBe('T D(10s) C(SHOW) Z(I)')
      expect(await client.ask('RESET understudy.level')).toBe('C(RESET) Z(I)')
      expect(await client.ask('SHOW understudy.level')).toBe('T D(session) C(SHOW) Z(I)')
    })

    test('are taken from the start-up parameters, and no server hears of them', async () => {
      const client = await login(running.readWrite, {
        options: '-c understudy.target=auto -c work_mem=5MB --understudy.level=eventual',
      })
      expect(await client.ask(WHERE)).toBe(AT_STANDBY)
      expect(await client.ask('SHOW understudy.level')).toContain('D(eventual)')
      expect(await client.ask("SELECT current_setting('work_mem')")).toContain('D(5MB)')
      await expect(login(running.auto, { options: '-c understudy.level=never' })).rejects.toThrow('22023')
      await expect(login(running.auto, { 'understudy.colour': 'red' })).rejects.toThrow('42704')
    })

    test('a token carries what one session wrote to another', async () => {
      const impatient = await fixture.proxy({ readDefaults: { waitMs: 50 } })
      const [writer, reader] = [await login(impatient.auto), await login(impatient.auto)]
      expect(await writer.ask('SHOW understudy.token')).toBe('T D() C(SHOW) Z(I)')
      await stall(impatient, 'bravo', 'charlie')
      await writer.ask('INSERT INTO written VALUES (11)')
      const token = /D\((u1\.[\w-]{32})\)/.exec(await writer.ask('SHOW understudy.token'))?.[1] ?? ''
      expect(await reader.ask(WHERE)).toBe(AT_STANDBY)
      expect(await reader.ask(`SET understudy.token = '${token}'`)).toBe('C(SET) Z(I)')
      expect(await reader.ask(WHERE)).toBe(AT_PRIMARY)
      expect(await reader.ask('RESET understudy.token')).toBe('C(RESET) Z(I)')
      expect(await reader.ask(WHERE)).toBe(AT_STANDBY)
      const started = await login(impatient.auto, { options: `-c understudy.token=${token}` })
      expect(await started.ask(WHERE)).toBe(AT_PRIMARY)
      await impatient.stop()
    })

    test('a token that is none, of another cluster, or of WAL that was left behind is told', async () => {
      const client = await login()
      const { systemIdentifier } = fixture.line
      const bad = await refusal(client, "SET understudy.token = 'u1.nonsense'")
      expect(bad).toMatchObject({ code: '22023' })
      expect(bad.hint).toContain('SHOW understudy.token')
      const foreign = formatToken({ systemIdentifier: '42', timelineId: 1, lsn: lsnOf(1n) })
      expect((await refusal(client, `SET understudy.token = '${foreign}'`)).hint).toContain('another cluster')
      // The cluster has gone on to timeline 3 at 0/100, as far as this proxy is told.
      const later = await fixture.proxy()
      const history = {
        timelineId: 3,
        ancestors: [{ timelineId: 1, switchpointLsn: lsnOf(256n), reason: '' }],
      }
      const { members } = fixture
      const past = formatToken({ systemIdentifier, timelineId: 1, lsn: lsnOf(512n) })
      const other = await login(later.auto)
      later.routing.set({ ...fixture.route, cluster: { line: { systemIdentifier, history }, members } })
      other.send(query(`SET understudy.token = '${past}'`))
      const answer = await other.until()
      expect(answer.map(({ type }) => type)).toEqual(['N', 'C', 'Z'])
      expect(await other.ask(WHERE)).toBe(AT_PRIMARY)
      await later.stop()
    })
  })

  describeOnce('levels', () => {
    test('monotonic never goes back, though the node where it read is gone', async () => {
      const impatient = await fixture.proxy({ readDefaults: { waitMs: 50, level: 'monotonic' } })
      await stall(impatient, 'bravo')
      await fixture.sql('INSERT INTO written VALUES (12)')
      const client = await login(impatient.auto)
      // Until it reads at charlie, which has the row.
      await until(
        async () => (await client.ask('SELECT count(*) FROM written WHERE a = 12')).includes('D(1)'),
        'row',
      )
      impatient.positions.change('charlie', () => null)
      await until(() => inRotation(impatient) === 'bravo', 'charlie to be out')
      for (let i = 0; i < 5; i++) {
        expect(await client.ask('SELECT count(*) FROM written WHERE a = 12')).toContain('D(1)')
        expect(await client.ask(WHERE)).toBe(AT_PRIMARY)
      }
      await impatient.stop()
    })

    test('eventual takes any that is not too far behind', async () => {
      const lagging = await fixture.proxy({ readDefaults: { level: 'eventual' } })
      await stall(lagging, 'bravo', 'charlie')
      const client = await login(lagging.auto)
      await client.ask('INSERT INTO written VALUES (13)')
      expect(await client.ask('SELECT count(*) FROM written WHERE a = 13')).toContain('D(0)')
      await new Promise((resolve) => setTimeout(resolve, 400))
      await client.ask("SET understudy.max_lag = '200ms'")
      expect(await client.ask(WHERE)).toBe(AT_PRIMARY)
      await lagging.stop()
    })
  })

  describe('on the port read-only', () => {
    test('go to standbys, whatever they are; writes are refused, and the greeting says so', async () => {
      const client = await login(running.readOnly)
      expect(client.parameters.get('in_hot_standby')).toBe('on')
      expect(client.parameters.get('default_transaction_read_only')).toBe('on')
      expect(await client.ask(WHERE)).toBe(AT_STANDBY)
      expect(await client.ask('INSERT INTO written VALUES (1)')).toBe('E(25006) Z(I)')
      expect(await client.ask('SELECT writes()')).toMatch(/^(T )?E\(25006\) Z\(I\)$/)
      expect(await client.ask('BEGIN')).toBe('C(BEGIN) Z(T)')
      expect(await client.ask(WHERE)).toBe('T D(t) C(SELECT 1) Z(T)')
      expect(await client.ask('COMMIT')).toBe('C(COMMIT) Z(I)')
      const session = await fixture.proxy({ poolMode: 'session' })
      const sticky = await login(session.readOnly)
      expect(await sticky.ask('PREPARE x AS SELECT pg_is_in_recovery()')).toBe('C(PREPARE) Z(I)')
      expect(await sticky.ask('EXECUTE x')).toBe(AT_STANDBY)
      expect(await (await login(session.auto)).ask(WHERE), 'a session that keeps its server').toBe(AT_PRIMARY)
      await session.stop()
    })

    test('are served by the primary while no standby may, which lets nobody write', async () => {
      const alone = await fixture.proxy()
      for (const name of ['bravo', 'charlie']) alone.positions.change(name, () => null)
      await until(() => inRotation(alone) === 'no standby', 'nobody in rotation')
      const client = await login(alone.readOnly)
      expect(await client.ask(WHERE)).toBe(AT_PRIMARY)
      expect(await client.ask('INSERT INTO written VALUES (1)')).toBe('E(25006) Z(I)')
      await alone.stop()
    })

    test('or wait, and are told, where the primary may not', async () => {
      const strict = await fixture.proxy({ readDefaults: { readOnlyFallback: false }, holdTimeoutMs: 300 })
      const client = await login(strict.readOnly)
      for (const name of ['bravo', 'charlie']) strict.positions.change(name, () => null)
      await until(() => inRotation(strict) === 'no standby', 'nobody in rotation')
      expect(await client.ask(WHERE)).toBe('E(57P03) Z(I)')
      client.send(query(WHERE))
      strict.positions.change('bravo', (reading) => reading)
      expect(shown(await client.until())).toMatch(/^T D\(t\)|^E\(57P03\)/)
      await strict.stop()
    })
  })

  describe('while the primary changes', () => {
    test('go on at standbys that have what the session wrote, and wait where nobody has it', async () => {
      const held = await fixture.proxy({ readDefaults: { waitMs: 30 } })
      const [quiet, writer] = [await login(held.auto), await login(held.auto)]
      await quiet.ask('INSERT INTO written VALUES (14)')
      expect(await quiet.ask(WHERE)).toBe(AT_STANDBY)
      await stall(held, 'bravo', 'charlie')
      await writer.ask('INSERT INTO written VALUES (15)')
      held.routing.set({ ...fixture.route, kind: 'held', epoch: 2, reason: 'an election' })
      expect(await quiet.ask(WHERE)).toBe(AT_STANDBY)
      let answered = false
      writer.send(query(WHERE))
      const answer = writer.until().finally(() => {
        answered = true
      })
      await new Promise((resolve) => setTimeout(resolve, 200))
      expect(answered).toBe(false)
      held.routing.set({ ...fixture.route, epoch: 2 })
      expect(shown(await answer)).toBe(AT_PRIMARY)
      await held.stop()
    })
  })

  describeOnce('out of rotation', () => {
    test('is who is paused, silent, or on another timeline; and comes back', async () => {
      const client = await login()
      await pause('bravo')
      await until(() => inRotation(running) === 'charlie', 'bravo to be out')
      for (let i = 0; i < 5; i++)
        expect(await client.ask('SELECT inet_server_port()')).toContain(
          `D(${fixture.standby('charlie').port})`,
        )
      await fixture.standby('bravo').sql('SELECT pg_wal_replay_resume()')
      await until(() => inRotation(running) === 'bravo, charlie', 'bravo to be back')
    })
  })
})

/** At which standby a long statement of a client's runs. */
async function runningAt(fixture: ReadsFixture): Promise<string | null> {
  for (const name of ['bravo', 'charlie']) {
    const rows = await fixture
      .standby(name)
      .sql(
        "SELECT FROM pg_stat_activity WHERE usename = 'app' AND state = 'active' AND query LIKE '%pg_sleep%'",
      )
    if (rows.length > 0) return name
  }
  return null
}

async function refusal(
  client: WireClient,
  sql: string,
): Promise<{ readonly code: string; readonly hint: string | undefined }> {
  client.send(query(sql))
  const [first] = await client.until()
  const { code, hint } = parseErrorFields(first?.body ?? Buffer.from('\0'))
  return { code, hint }
}
