/** Ends what the agent has started, when the agent itself could not, and starts the server as it was started before. */
import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { UnderstudyError } from '../../errors/codes.ts'
import { runCommand } from '../../postgres/command.ts'
import { readPostmasterPid } from '../../postgres/postmaster-pid.ts'
import { hasMarker, isAlive, isPostgres, signalProcess, worksIn } from '../../postgres/processes.ts'
import { waitUntil } from '../../postgres/wait.ts'
import { hasSystemd, systemctl } from '../machines/systemctl.ts'
import type { Journal } from './journal.ts'

const STOP_DEADLINE_MS = 120_000
const START_DEADLINE_MS = 120_000

/** Errors: timeout. */
export async function endOurPostmaster({ server, nodeDirectory }: Journal): Promise<void> {
  const file = await readPostmasterPid(server.dataDirectory)
  if (file === null || !(await isOurs(file.pid, server.dataDirectory, nodeDirectory))) return
  signalProcess(file.pid, 'SIGINT')
  if (await waitUntil(STOP_DEADLINE_MS, async () => !(await isAlive(file.pid)))) return
  throw new UnderstudyError('timeout', `PostgreSQL (process ${file.pid}) does not stop`, {
    hint: 'See what it waits for, then run the same command again.',
  })
}

async function isOurs(pid: number, dataDirectory: string, nodeDirectory: string): Promise<boolean> {
  return (
    (await worksIn(pid, dataDirectory)) &&
    (await isPostgres(pid)) &&
    (await isAlive(pid)) &&
    hasMarker(pid, nodeDirectory)
  )
}

/** Errors: postgres-failed, timeout. */
export async function startOldServer(journal: Journal): Promise<void> {
  const { manager, unit } = journal.server
  // Under systemd, pg_ctlcluster has Debian's unit do it.
  if (manager.kind === 'debian') await startByDebian(manager.version, manager.name)
  else if (unit && hasSystemd()) await systemctl('start', unit.name)
  else startAsBefore(journal)
  const { dataDirectory } = journal.server
  const answers = await waitUntil(START_DEADLINE_MS, async () => {
    const status = (await readPostmasterPid(dataDirectory))?.status
    return status === 'ready' || status === 'standby'
  })
  if (!answers)
    throw new UnderstudyError(
      'timeout',
      `PostgreSQL in ${dataDirectory} was started and accepts no connections yet`,
      {
        hint: 'Its log says more. Run the same command again when it runs.',
      },
    )
}

async function startByDebian(version: string, name: string): Promise<void> {
  const result = await runCommand('pg_ctlcluster', [version, name, 'start'], {
    env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin', LC_ALL: 'C' },
    deadlineMs: START_DEADLINE_MS,
  })
  // 2: it runs already.
  if (result.kind === 'exited' && (result.exitCode === 0 || result.exitCode === 2)) return
  const said = result.kind === 'exited' ? result.stderr.trim() : result.kind
  throw new UnderstudyError('postgres-failed', `pg_ctlcluster ${version} ${name} start failed: ${said}`, {
    hint: `Run it by hand; its log is in /var/log/postgresql. Then run the same command again.`,
  })
}

/** The words with which it was started; what a shell had around them is not known. */
function startAsBefore({ server }: Journal): void {
  const [program = '', ...args] = server.command
  const { uid, gid } = server.owner
  const output = openSync(server.outputFile ?? '/dev/null', 'a')
  try {
    const child = spawn(program, args, {
      ...(process.getuid?.() === 0 && { uid, gid }),
      cwd: '/',
      detached: true,
      stdio: ['ignore', output, output],
      env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin', LC_ALL: 'C' },
    })
    // That it does not run is seen by its lock file.
    child.on('error', () => {})
    child.unref()
  } finally {
    closeSync(output)
  }
}
