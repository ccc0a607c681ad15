/** pgbench through the proxy, in all its ways to speak; no transaction may fail, and the sums must be right at the end. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { expect, runChecks, runProgram } from './checks.mjs'

/** Each has a thread of its own: pgbench waits for a Parse with its whole thread, and another client there may have the server. */
const CLIENTS = 6
const TRANSACTIONS = 15
const TOTAL = CLIENTS * TRANSACTIONS
const directory = mkdtempSync(path.join(os.tmpdir(), 'pgbench-'))
const script = path.join(directory, 'pipeline.sql')
writeFileSync(
  script,
  `\\set aid random(1, 100000)
\\startpipeline
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 1, :aid, 1, CURRENT_TIMESTAMP);
COMMIT;
\\endpipeline
\\startpipeline
SELECT 1;
SELECT 2;
\\endpipeline
`,
)

async function pgbench(args) {
  const { code, stdout, stderr } = await runProgram('pgbench', args)
  if (code !== 0) throw new Error(`pgbench ended with ${code}: ${stderr.slice(0, 600)}`)
  return stdout
}

async function timed(mode, ...args) {
  const out = await pgbench([
    '-n',
    '-c',
    String(CLIENTS),
    '-j',
    String(CLIENTS),
    '-t',
    String(TRANSACTIONS),
    '-M',
    mode,
    ...args,
  ])
  expect(/actually processed: (\d+\/\d+)/.exec(out)?.[1], `${TOTAL}/${TOTAL}`)
  // What it says of failures came with PostgreSQL 15.
  const failed = /failed transactions: (\d+)/.exec(out)?.[1]
  if (failed !== undefined) expect(failed, '0')
}

try {
  await runChecks({
    async initialize() {
      await pgbench(['-i', '-s', '1', '-q'])
    },
    ...Object.fromEntries(
      ['simple', 'extended', 'prepared'].flatMap((mode) => [
        [`TPC-B ${mode}`, () => timed(mode)],
        [`select ${mode}`, () => timed(mode, '-S')],
        ...(mode === 'simple' ? [['new connections', () => timed(mode, '-S', '-C')]] : []),
        ...(mode === 'simple' ? [] : [[`pipeline ${mode}`, () => timed(mode, '-f', script)]]),
      ]),
    ),
    async sums() {
      const sql = `SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history),
        (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT sum(tbalance) FROM pgbench_tellers), (SELECT count(*) FROM pgbench_history)`
      const { stdout } = await runProgram('psql', ['-X', '-A', '-t', '-c', sql])
      expect(stdout.trim(), `t|t|${5 * TOTAL}`)
    },
  })
} finally {
  rmSync(directory, { recursive: true, force: true })
}
