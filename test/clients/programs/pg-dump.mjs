/** pg_dump and pg_restore through the proxy: what comes out of a dump that was put back is the same dump. */
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { expect, MODE, runChecks, runProgram } from './checks.mjs'

const directory = mkdtempSync(path.join(os.tmpdir(), 'pg-dump-'))
const SCHEMA = ['-n', 'dumped']

async function run(program, args, input = '') {
  const { code, stdout, stderr } = await runProgram(program, args, { input })
  if (code !== 0) throw new Error(`${program} ended with ${code}: ${stderr.slice(-300)}`)
  return stdout
}
const psql = (sql) => run('psql', ['-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1'], sql)
/** Newer versions print a key of their own each time. */
const plainDump = async () => (await run('pg_dump', SCHEMA)).replace(/^\\(?:un)?restrict .*$/gm, '')

let before = ''
try {
  await runChecks({
    async 'dump as text'() {
      await psql(`SET client_min_messages = warning; DROP SCHEMA IF EXISTS dumped CASCADE; CREATE SCHEMA dumped; SET search_path = dumped;
        CREATE TABLE dumped.a (id int PRIMARY KEY, body text DEFAULT 'x'); CREATE INDEX ON dumped.a (body);
        INSERT INTO dumped.a SELECT i, repeat('ä', i % 300) FROM generate_series(1, 20000) AS i;
        CREATE VIEW dumped.v AS SELECT * FROM dumped.a; CREATE SEQUENCE dumped.s; SELECT nextval('dumped.s');
        CREATE FUNCTION dumped.f() RETURNS int LANGUAGE sql AS 'SELECT 1';`)
      before = await plainDump()
      expect(before.includes('COPY dumped.a'), true)
      await psql(`DROP SCHEMA dumped CASCADE;\n`)
      await psql(before)
      expect((await plainDump()) === before, true)
    },

    async 'custom format'() {
      const file = path.join(directory, `${MODE}.dump`)
      await run('pg_dump', ['-Fc', ...SCHEMA, '-f', file])
      await run('pg_restore', ['--clean', '--if-exists', '-d', process.env['PGDATABASE'], file])
      expect((await plainDump()) === before, true)
    },

    async 'in parallel, one snapshot'() {
      const file = path.join(directory, `${MODE}.directory`)
      await run('pg_dump', ['-Fd', '-j', '2', ...SCHEMA, '-f', file])
      await run('pg_restore', ['-j', '2', '--clean', '--if-exists', '-d', process.env['PGDATABASE'], file])
      expect((await plainDump()) === before, true)
    },

    async 'nothing stays of its settings'() {
      // It empties search_path; whoever comes next must not notice.
      for (let i = 0; i < 6; i++) expect((await psql('SHOW search_path')).trim(), '"$user", public')
    },
  })
} finally {
  rmSync(directory, { recursive: true, force: true })
}
