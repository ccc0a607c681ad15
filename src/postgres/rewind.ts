/**
 * pg_rewind (manual: its reference page): makes a diverged data directory a copy of the primary's again, by what differs. The caller
 * has written the sentinel before and removes it after; in between the directory is nobody's (I12).
 */
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Outcome } from '../ports/postgres.ts'
import { runCommand } from './command.ts'
import { cleanEnvironment } from './environment.ts'
import type { NodeLayout } from './layout.ts'
import { DONE, failed } from './outcome.ts'

export interface RewindSource {
  readonly host: string
  readonly port: number
  readonly user: string
  readonly passfile: string
  readonly caFile: string
}

const DEADLINE_MS = 3_600_000

export async function rewind(
  layout: NodeLayout,
  pgRewind: string,
  env: Readonly<Record<string, string>>,
  source: RewindSource,
  signal: AbortSignal,
): Promise<Outcome> {
  const result = await runCommand(
    pgRewind,
    ['--target-pgdata', layout.dataDir, '--source-server', connectionString(source)],
    {
      // A statement_timeout of the source's configuration must not end it.
      env: { ...cleanEnvironment(layout.nodeDir, env), PGOPTIONS: '-c statement_timeout=0' },
      deadlineMs: DEADLINE_MS,
      signal,
    },
  )
  if (result.kind !== 'exited')
    return failed('rewind-failed', `pg_rewind did not run to its end (${result.kind})`)
  if (result.exitCode !== 0) {
    const last = result.stderr.trim().split('\n').slice(-3).join(' / ')
    return failed('rewind-failed', `pg_rewind ended with code ${result.exitCode}: ${last}`)
  }
  await removeForeignSlots(layout.dataDir)
  return DONE
}

/** Slots of the source are not this node's; an emptied directory of one would keep PostgreSQL from starting. */
async function removeForeignSlots(dataDir: string): Promise<void> {
  const directory = join(dataDir, 'pg_replslot')
  const names = await readdir(directory).catch(() => [])
  await Promise.all(names.map((name) => rm(join(directory, name), { recursive: true, force: true })))
}

function connectionString(source: RewindSource): string {
  const parts: readonly (readonly [string, string | number])[] = [
    ['host', source.host],
    ['port', source.port],
    ['user', source.user],
    ['dbname', 'postgres'],
    ['passfile', source.passfile],
    ['sslmode', 'verify-full'],
    ['sslrootcert', source.caFile],
    ['connect_timeout', 10],
    ['application_name', 'understudy rewind'],
  ]
  return parts.map(([key, value]) => `${key}='${String(value).replace(/['\\]/g, '\\$&')}'`).join(' ')
}
