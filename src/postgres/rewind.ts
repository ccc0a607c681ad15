/**
 * pg_rewind (manual: its reference page): makes a diverged data directory a copy of the primary's again, by what differs. The caller
 * has written the sentinel before and removes it after; in between the directory is nobody's (I12).
 */
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { formatLsn } from '../core/lsn.ts'
import type { Outcome, RewindTarget } from '../ports/postgres.ts'
import type { Binaries } from './binaries.ts'
import { runCommand } from './command.ts'
import { readControlFile } from './control-file.ts'
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

/** The source must have been checkpointed on its timeline (rewind-source.ts). PostgreSQL is stopped here. */
export async function rewind(
  layout: NodeLayout,
  binaries: Pick<Binaries, 'postgres' | 'env'> & { readonly pgRewind: string },
  source: RewindSource,
  target: RewindTarget,
  signal: AbortSignal,
): Promise<Outcome> {
  const settled = await settleControl(layout, binaries, target, signal)
  if (settled.kind === 'failed') return settled
  const result = await runCommand(binaries.pgRewind, rewindArguments(layout.dataDir, source), {
    // A statement_timeout of the source's configuration must not end it.
    env: { ...cleanEnvironment(layout.nodeDir, binaries.env), PGOPTIONS: '-c statement_timeout=0' },
    deadlineMs: DEADLINE_MS,
    signal,
  })
  if (result.kind !== 'exited')
    return failed('rewind-failed', `pg_rewind did not run to its end (${result.kind})`)
  if (result.exitCode !== 0) {
    const last = result.stderr.trim().split('\n').slice(-3).join(' / ')
    return failed('rewind-failed', `pg_rewind ended with code ${result.exitCode}: ${last}`)
  }
  const begun = beganWhereItShould(result.stdout + result.stderr, target)
  if (begun.kind === 'failed') return begun
  await removeForeignSlots(layout.dataDir)
  return DONE
}

export function rewindArguments(dataDir: string, source: RewindSource): readonly string[] {
  return ['--target-pgdata', dataDir, '--source-server', connectionString(source)]
}

/**
 * A node that was promoted and crashed before its first checkpoint ended has the old timeline in pg_control, and pg_rewind (before
 * version 16) believes it: it looks for what differs on the wrong timeline. Recovery in single-user mode, as pg_rewind itself runs it on
 * what was not shut down, ends with a checkpoint on the right one. It accepts no connection (I7).
 */
async function settleControl(
  layout: NodeLayout,
  binaries: Pick<Binaries, 'postgres' | 'env'>,
  target: RewindTarget,
  signal: AbortSignal,
): Promise<Outcome> {
  const before = await readControlFile(layout.dataDir)
  if (before.kind === 'failed') return before
  if (target.timelineId === null || before.value.timelineId === target.timelineId) return DONE
  // Single-user mode knows no standby. It is written again before the next start.
  for (const name of ['standby.signal', 'recovery.signal'])
    await rm(join(layout.dataDir, name), { force: true })
  const result = await runCommand(
    binaries.postgres,
    ['--single', '-F', '-D', layout.dataDir, '-c', `config_file=${layout.configFile}`, 'template1'],
    { env: cleanEnvironment(layout.nodeDir, binaries.env), deadlineMs: DEADLINE_MS, input: '', signal },
  )
  const after = await readControlFile(layout.dataDir)
  const { timelineId, state } = after.kind === 'ok' ? after.value : { timelineId: null, state: null }
  if (timelineId === target.timelineId && state === 'shutDown') return DONE
  const said = result.kind === 'exited' ? result.stderr.trim().split('\n').slice(-3).join(' / ') : result.kind
  return failed(
    'rewind-failed',
    `recovery before the rewind ended on timeline ${timelineId}, not on ${target.timelineId}: ${said}`,
  )
}

/** Its own words; anywhere else than where the two histories part it has looked for the wrong differences. */
function beganWhereItShould(output: string, target: RewindTarget): Outcome {
  const said = /servers diverged at WAL location ([0-9A-F]+\/[0-9A-F]+) on timeline (\d+)/.exec(output)
  const expected = target.divergence
  if (said === null || expected === null) return DONE
  if (Number(said[2]) === expected.timelineId && said[1] === formatLsn(expected.lsn)) return DONE
  return failed(
    'rewind-failed',
    `pg_rewind began at ${said[1]} on timeline ${said[2]}, but the histories part at ${formatLsn(expected.lsn)} on timeline ${expected.timelineId}`,
  )
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
