/** The environment of the programs that we start: only what they need, so that nothing of the caller's shell changes PostgreSQL. */
import { readFileSync } from 'node:fs'
import { MARKER_VARIABLE } from './layout.ts'

/**
 * PGDATA, PGOPTIONS, PGTZ, PGSSLCERT … of the caller would change initdb, postgres and the libpq inside its walreceiver. HOME is the
 * node's directory: libpq looks there for .pgpass and .postgresql/postgresql.crt, and must find none (manual: 34.15, 34.19).
 * LC_ALL=C keeps messages in English: start failures are told apart by their words.
 */
export function cleanEnvironment(
  nodeDir: string,
  extra: Readonly<Record<string, string>> = {},
): Record<string, string> {
  return {
    PATH: process.env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin',
    HOME: nodeDir,
    LC_ALL: 'C',
    TZ: 'UTC',
    [MARKER_VARIABLE]: nodeDir,
    ...extra,
  }
}

const SCORE_FILE = '/proc/self/oom_score_adj'

/**
 * Where the kernel is told to spare this process when memory runs out (OOMScoreAdjust= of its unit), its postmaster is spared, too, and the
 * children of that are not: one of those that it ends costs a restart of PostgreSQL, the postmaster costs everything (manual: 19.4.4).
 */
export function sparedEnvironment(score = ownScore()): Record<string, string> {
  return score < 0 ? { PG_OOM_ADJUST_FILE: SCORE_FILE, PG_OOM_ADJUST_VALUE: '0' } : {}
}

function ownScore(): number {
  try {
    return Number(readFileSync(SCORE_FILE, 'utf8'))
  } catch {
    return 0
  }
}
