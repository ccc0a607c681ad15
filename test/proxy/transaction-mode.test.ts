/** Transaction mode on real servers: what a client's messages do and what it sees, message by message. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { copyData, copyDone, copyFail, frame, query } from '../../src/protocol/frontend-messages.ts'
import { ProxyFixture, type RunningProxy } from '../support/proxy-fixture.ts'
import {
  bind,
  close,
  describe as describeMessage,
  execute,
  flush,
  parse,
  sendCancelTo,
  shown,
  sync,
  WireClient,
} from '../support/wire-client.ts'

describe.each([15, 18])('in transaction mode on PostgreSQL %i', (major) => {
  let fixture: ProxyFixture
  let running: RunningProxy

  beforeAll(async () => {
    fixture = await ProxyFixture.start(major)
    running = await fixture.proxy({ maxPreparedStatements: 5 })
  })
  afterAll(() => fixture?.stop())

  const login = (parameters: Readonly<Record<string, string>> = {}): Promise<WireClient> =>
    WireClient.login({ port: running.port, parameters })

  /** The number of the server process that runs the client's next transaction. */
  const serverOf = async (client: WireClient): Promise<string> =>
    /D\((\d+)\)/.exec(await client.ask('SELECT pg_backend_pid()'))?.[1] ?? ''

  test('many clients share two servers, and a transaction keeps the one that it has', async () => {
    const clients = await Promise.all(Array.from({ length: 8 }, () => login()))
    const pids = new Set(await Promise.all(clients.map(serverOf)))
    expect(pids.size).toBeLessThanOrEqual(2)
    const [a, b] = clients
    expect(await a?.ask('BEGIN')).toBe('C(BEGIN) Z(T)')
    const mine = await serverOf(a as WireClient)
    for (let i = 0; i < 4; i++) {
      expect(await serverOf(a as WireClient)).toBe(mine)
      expect(await serverOf(b as WireClient)).not.toBe(mine)
    }
    expect(await a?.ask('COMMIT')).toBe('C(COMMIT) Z(I)')
    for (const client of clients) client.close()
  })

  test('a query that is too long for one packet, and rows that are', async () => {
    const client = await login()
    const text = 'x'.repeat(3_000_000)
    client.send(query(`SELECT length('${text}'), repeat('y', 5000000)`))
    const [, row] = await client.until()
    expect(row?.body.length).toBe(2 + 4 + 7 + 4 + 5_000_000)
    client.close()
  })

  test('prepared statements are prepared once per server, whoever has them', async () => {
    const a = await login()
    const b = await login()
    for (const client of [a, b]) {
      client.send(parse('mine', 'SELECT $1::int + 1', [23]), describeMessage('S', 'mine'), sync())
      expect(shown(await client.until())).toBe('1 t T Z(I)')
    }
    // On both servers, and in any order.
    await a.ask('BEGIN')
    for (const client of [b, a, b, a]) {
      client.send(bind('', 'mine', ['41']), execute(''), sync())
      expect(shown(await client.until())).toBe(`2 D(42) C(SELECT 1) Z(${client === a ? 'T' : 'I'})`)
    }
    expect(
      await a.ask("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT $1::int%'"),
    ).toContain('D(1)')
    await a.ask('COMMIT')
    a.send(close('S', 'mine'), sync())
    expect(shown(await a.until())).toBe('3 Z(I)')
    a.send(bind('', 'mine', ['1']), execute(''), sync())
    expect(shown(await a.until())).toBe('E(26000) Z(I)')
    b.send(bind('', 'mine', ['1']), execute(''), sync())
    expect(shown(await b.until()), 'another client’s Close is not mine').toBe('2 D(2) C(SELECT 1) Z(I)')
    a.close()
    b.close()
  })

  test('the same text with other parameter types is another statement', async () => {
    const client = await login()
    for (const [name, type, expected] of [
      ['int', 23, 'integer'],
      ['text', 25, 'text'],
    ] as const) {
      client.send(parse(name, 'SELECT pg_typeof($1)', [type]), bind('', name, ['1']), execute(''), sync())
      expect(shown(await client.until())).toBe(`1 2 D(${expected}) C(SELECT 1) Z(I)`)
    }
    client.close()
  })

  test('a statement that cannot be prepared is forgotten, on the client’s side and on the server’s', async () => {
    const client = await login()
    for (let i = 0; i < 3; i++) {
      client.send(parse('wrong', 'SELECT * FROM nothing_here'), bind('', 'wrong'), execute(''), sync())
      expect(shown(await client.until())).toBe('E(42P01) Z(I)')
    }
    await client.ask('CREATE TABLE nothing_here (a int)')
    client.send(parse('wrong', 'SELECT * FROM nothing_here'), bind('', 'wrong'), execute(''), sync())
    expect(shown(await client.until())).toBe('1 2 C(SELECT 0) Z(I)')
    client.send(parse('wrong', 'SELECT 1'), sync())
    expect(shown(await client.until())).toBe('E(42P05) Z(I)')
    await client.ask('DROP TABLE nothing_here')
    client.close()
  })

  test('more statements than a server keeps', async () => {
    const client = await login()
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < 20; i++) {
        if (round === 0) client.send(parse(`s${i}`, `SELECT ${i} AS excess`))
        client.send(bind('', `s${i}`), execute(''), sync())
        expect(shown(await client.until())).toBe(`${round === 0 ? '1 ' : ''}2 D(${i}) C(SELECT 1) Z(I)`)
      }
    }
    const kept = await client.ask(
      "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%excess'",
    )
    expect(Number(/D\((\d+)\)/.exec(kept)?.[1])).toBeLessThanOrEqual(6)
    client.close()
  })

  test('the unnamed statement lives over a Sync, on whichever server', async () => {
    const a = await login()
    const b = await login()
    a.send(parse('', 'SELECT $1::text'), sync())
    b.send(parse('', 'SELECT 2'), sync())
    expect(shown(await a.until())).toBe('1 Z(I)')
    await b.until()
    await b.ask('BEGIN')
    a.send(describeMessage('S', ''), bind('', '', ['x']), execute(''), sync())
    expect(shown(await a.until())).toBe('t T 2 D(x) C(SELECT 1) Z(I)')
    await a.ask('SELECT 1')
    a.send(bind('', '', ['x']), execute(''), sync())
    expect(shown(await a.until()), 'a simple query destroys it').toBe('E(26000) Z(I)')
    // In its transaction: it is rolled back, and the server serves the next one.
    const mine = await serverOf(b)
    a.close()
    b.close()
    const c = await login()
    const d = await login()
    await c.ask('BEGIN')
    expect([await serverOf(c), await serverOf(d)]).toContain(mine)
    c.close()
    d.close()
  })

  test('pipelines: answers in order, an error skips to the Sync, simple queries included', async () => {
    const client = await login()
    const one = [parse('', 'SELECT 1'), bind('', ''), execute(''), sync()]
    const wrong = [
      parse('', 'SELECT 1/0'),
      bind('', ''),
      execute(''),
      parse('n', 'SELECT 3'),
      query('SELECT 4'),
      sync(),
    ]
    client.send(...one, ...wrong, ...one, query('SELECT 5'), ...one)
    const row = '1 2 D(1) C(SELECT 1) Z(I)'
    expect(shown(await client.until(5))).toBe(`${row} 1 E(22012) Z(I) ${row} T D(5) C(SELECT 1) Z(I) ${row}`)
    client.send(bind('', 'n'), execute(''), sync())
    expect(shown(await client.until()), 'skipped, so it was never prepared').toBe('E(26000) Z(I)')
    expect(await client.ask('SELECT 6')).toBe('T D(6) C(SELECT 1) Z(I)')
    client.close()
  })

  test('a statement that is there already is answered in its place', async () => {
    const client = await login()
    client.send(parse('twice', 'SELECT 7'), sync())
    await client.until()
    const other = await login()
    await client.ask('BEGIN')
    client.send(parse('again', 'SELECT 7'), bind('', 'again'), execute(''), sync())
    expect(shown(await client.until())).toBe('1 2 D(7) C(SELECT 1) Z(T)')
    await client.ask('COMMIT')
    client.close()
    other.close()
  })

  test('Flush brings answers and gives no server back', async () => {
    const client = await login()
    client.send(parse('', 'SELECT 8'), describeMessage('S', ''), flush())
    expect(shown([await client.next(), await client.next(), await client.next()])).toBe('1 t T')
    client.send(bind('', ''), execute(''), sync())
    expect(shown(await client.until())).toBe('2 D(8) C(SELECT 1) Z(I)')
    client.close()
  })

  test('portals with row limits and cursors', async () => {
    const client = await login()
    await client.ask('BEGIN')
    client.send(
      parse('', 'SELECT generate_series(1, 5)'),
      bind('p', ''),
      execute('p', 2),
      execute('p', 2),
      flush(),
    )
    const seven = [1, 2, 3, 4, 5, 6, 7, 8]
    const got = []
    for (const _ of seven) got.push(await client.next())
    expect(shown(got)).toBe('1 2 D(1) D(2) s D(3) D(4) s')
    client.send(execute('p'), close('P', 'p'), sync())
    expect(shown(await client.until())).toBe('D(5) C(SELECT 1) 3 Z(T)')
    await client.ask('DECLARE c CURSOR FOR SELECT generate_series(1, 3)')
    expect(await client.ask('FETCH 2 FROM c')).toBe('T D(1) D(2) C(FETCH 2) Z(T)')
    expect(await client.ask('COMMIT')).toBe('C(COMMIT) Z(I)')
    client.close()
  })

  test('COPY both ways, simple and extended, with a Sync that comes too early', async () => {
    const client = await login()
    await client.ask('CREATE TABLE copied (a int, b text)')
    const rows = [copyData(Buffer.from('1\tone\n2\t')), copyData(Buffer.from('two\n')), copyDone()]
    client.send(query('COPY copied FROM STDIN'))
    expect((await client.next()).type).toBe('G')
    client.send(...rows)
    expect(shown(await client.until())).toBe('C(COPY 2) Z(I)')
    const extended = [parse('', 'COPY copied FROM STDIN'), bind('', ''), execute('')]
    client.send(...extended, sync())
    expect(shown([await client.next(), await client.next(), await client.next()])).toBe('1 2 G')
    client.send(...rows, sync())
    expect(shown(await client.until())).toBe('C(COPY 2) Z(I)')
    client.send(...extended, ...rows, sync())
    expect(shown(await client.until())).toBe('1 2 G C(COPY 2) Z(I)')
    client.send(query('COPY copied FROM STDIN'), copyData(Buffer.from('wrong\n')), copyDone())
    expect(shown(await client.until())).toBe('G E(22P02) Z(I)')
    client.send(query('COPY copied FROM STDIN'), copyFail('no'))
    expect(shown(await client.until())).toBe('G E(57014) Z(I)')
    expect(await client.ask('COPY copied TO STDOUT')).toBe(`H ${'d '.repeat(6)}c C(COPY 6) Z(I)`)
    await client.ask('DROP TABLE copied')
    const other = await login()
    expect(await other.ask('SELECT 1')).toBe('T D(1) C(SELECT 1) Z(I)')
    expect(running.proxy.counts.waiting).toBe(0)
    client.close()
    other.close()
  })

  test('function calls, right and wrong', async () => {
    const client = await login()
    // Function, no formats, so many arguments, each with its length, a result as text.
    const call = (oid: number, values: readonly string[]): Buffer => {
      const head = Buffer.alloc(8)
      head.writeUInt32BE(oid, 0)
      head.writeUInt16BE(values.length, 6)
      const texts = values.map((value) =>
        Buffer.concat([Buffer.from([0, 0, 0, value.length]), Buffer.from(value)]),
      )
      return frame('F'.charCodeAt(0), head, ...texts, Buffer.alloc(2))
    }
    const int4pl = Number(
      /D\((\d+)\)/.exec(await client.ask("SELECT 'pg_catalog.int4pl'::regproc::oid"))?.[1],
    )
    client.send(call(int4pl, ['40', '2']), call(int4pl, ['40']), call(int4pl, ['40', 'x']), query('SELECT 1'))
    expect(shown(await client.until(4))).toBe('V Z(I) E(08P01) Z(I) E(22P02) Z(I) T D(1) C(SELECT 1) Z(I)')
    client.close()
  })

  test('two-phase commit: the second phase runs on any server', async () => {
    const client = await login()
    await client.ask('CREATE TABLE twophase (a int)')
    expect(await client.ask("BEGIN; INSERT INTO twophase VALUES (1); PREPARE TRANSACTION 'one'")).toBe(
      'C(BEGIN) C(INSERT 0 1) C(PREPARE TRANSACTION) Z(I)',
    )
    const other = await login()
    expect(await other.ask("COMMIT PREPARED 'one'")).toBe('C(COMMIT PREPARED) Z(I)')
    expect(await client.ask('SELECT * FROM twophase')).toContain('D(1)')
    await client.ask('DROP TABLE twophase')
    client.close()
    other.close()
  })

  test('a cancel reaches the statement of that client, and never the next one', async () => {
    const a = await login()
    const b = await login()
    a.send(query('SELECT pg_sleep(60)'))
    await new Promise((resolve) => setTimeout(resolve, 100))
    await sendCancelTo(running.port, a.processId, Buffer.from('no such key'))
    await sendCancelTo(running.port, a.processId, a.secretKey)
    expect(shown(await a.until())).toBe('T E(57014) Z(I)')
    for (let i = 0; i < 30; i++) {
      a.send(query('SELECT 1'))
      const cancelled = sendCancelTo(running.port, a.processId, a.secretKey)
      expect(await b.ask('SELECT pg_sleep(0.002)')).toBe('T D() C(SELECT 1) Z(I)')
      expect(shown(await a.until())).toMatch(/^(T D\(1\) C\(SELECT 1\)|(T )?E\(57014\)) Z\(I\)$/)
      await cancelled
    }
    a.close()
    b.close()
  })

  test('LISTEN is refused with a reason, and the connection goes on', async () => {
    const client = await login()
    expect(await client.ask('/* x */ listen news')).toBe('E(0A000) Z(I)')
    client.send(parse('', 'LISTEN news'), bind('', ''), execute(''), sync())
    expect(shown(await client.until())).toBe('E(0A000) Z(I)')
    client.send(parse('l', 'LISTEN news'), sync(), bind('', 'l'), execute(''), sync())
    expect(shown(await client.until(2))).toBe('E(0A000) Z(I) E(26000) Z(I)')
    await client.ask('BEGIN')
    expect(await client.ask('LISTEN news')).toBe('E(0A000) Z(E)')
    expect(await client.ask('ROLLBACK')).toBe('C(ROLLBACK) Z(I)')
    expect(await client.ask("NOTIFY news, 'x'")).toBe('C(NOTIFY) Z(I)')
    client.close()
  })
})
