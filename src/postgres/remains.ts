/**
 * What a dead postmaster leaves: backends that have not noticed yet, and lock files. A new postmaster cannot start beside the former,
 * and must not, since they may still write.
 */
import { stat, unlink } from 'node:fs/promises'
import type { Outcome } from '../ports/postgres.ts'
import type { AdapterLog } from './adapter-log.ts'
import { readTextIfPresent } from './durable.ts'
import { socketPath } from './layout.ts'
import { DONE, failed } from './outcome.ts'
import { parsePostmasterPid, postmasterPidPath } from './postmaster-pid.ts'
import {
  isPostgres,
  listPostgresIn,
  type ProcessFacts,
  readMarker,
  readProcess,
  signalProcess,
  worksIn,
} from './processes.ts'
import { waitUntil } from './wait.ts'

/** SIGQUIT makes a backend leave at once, unless it is stopped or inside the kernel. */
const QUIT_PATIENCE_MS = 1_000
/** SIGKILL cannot be refused; only a process inside a hanging file system stays. */
const KILL_PATIENCE_MS = 5_000

export interface RemainsOptions {
  readonly nodeDir: string
  readonly dataDir: string
  /** cluster_name, which our configuration sets and every child carries in its title. */
  readonly node: string
  readonly log: AdapterLog
}

/** By directory and not by text: the node's directory may be reached through another link than last time. */
export async function isMarked(pid: number, nodeDir: string): Promise<boolean> {
  const marker = await readMarker(pid)
  if (marker === null) return false
  const [marked, own] = await Promise.all([stat(marker).catch(() => null), stat(nodeDir).catch(() => null)])
  return marked !== null && own !== null && marked.dev === own.dev && marked.ino === own.ino
}

/**
 * Waits for the processes that still work in the data directory without a postmaster, which mostly end by themselves, then ends ours.
 * Others' are only named: `foreign-postmaster`.
 */
export async function endOrphans(options: RemainsOptions, patienceMs: number): Promise<Outcome> {
  let left: readonly ProcessFacts[] = []
  const gone = async (): Promise<boolean> => {
    left = await listPostgresIn(options.dataDir)
    return left.length === 0
  }
  if (await waitUntil(patienceMs, gone)) return DONE
  for (const signal of ['SIGQUIT', 'SIGKILL'] as const) {
    const foreign = await firstForeign(left, options)
    if (foreign !== null) {
      return failed(
        'foreign-postmaster',
        `process ${foreign.pid} (${foreign.title}) works in ${options.dataDir} and was not started by understudy`,
        `End it first: kill ${foreign.pid}`,
      )
    }
    for (const { pid, title } of left) {
      options.log({
        level: 'warn',
        message: `ending what a dead postmaster left (${signal})`,
        fields: { node: options.node, pid, title },
      })
      signalProcess(pid, signal)
    }
    if (await waitUntil(signal === 'SIGQUIT' ? QUIT_PATIENCE_MS : KILL_PATIENCE_MS, gone)) return DONE
  }
  const names = left.map(({ pid, title }) => `${pid} (${title})`).join(', ')
  return failed('postgres-failed', `these processes do not end, even when killed: ${names}`)
}

/** Children overwrite the memory of their environment with their title, so they are known by that. */
async function firstForeign(
  processes: readonly ProcessFacts[],
  options: RemainsOptions,
): Promise<ProcessFacts | null> {
  for (const candidate of processes) {
    if (candidate.title.startsWith(`postgres: ${options.node}: `)) continue
    if (!(await isMarked(candidate.pid, options.nodeDir))) return candidate
  }
  return null
}

/**
 * Lock files whose number belongs to another program now, or to a dead one that its parent has not reaped yet. postgres itself would
 * refuse to start beside any process of that number: possible after a reboot, certain in containers, where the numbers begin anew. The
 * caller made sure that no process of PostgreSQL works in the data directory; shared memory that is still in use stops a start all the
 * same.
 */
export async function removeStaleLocks(
  options: RemainsOptions,
  socket: { readonly directory: string; readonly port: number },
): Promise<void> {
  const path = socketPath(socket.directory, socket.port)
  await removeIfReused(postmasterPidPath(options.dataDir), options, async (pid) =>
    worksIn(pid, options.dataDir),
  )
  // Any living postgres may be using that socket: then the port is taken, and it says so itself.
  await removeIfReused(`${path}.lock`, options, isPostgres)
}

async function removeIfReused(
  path: string,
  options: RemainsOptions,
  isOwner: (pid: number) => Promise<boolean>,
): Promise<void> {
  const text = await readTextIfPresent(path).catch(() => null)
  const pid = text === null ? undefined : parsePostmasterPid(text)?.pid
  if (pid === undefined || (await readProcess(pid)) === null || (await isOwner(pid))) return
  options.log({
    level: 'info',
    message: 'removing a lock file whose number belongs to another program now, or to a dead one',
    fields: { node: options.node, path, pid },
  })
  await unlink(path).catch(() => undefined)
}
