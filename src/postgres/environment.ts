/** The environment of the programs that we start: only what they need, so that nothing of the caller's shell changes PostgreSQL. */
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
