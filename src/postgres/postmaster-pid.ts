/** postmaster.pid: the lock file of a data directory (manual: 73.1; src/include/utils/pidfile.h has the lines). */
import { join } from 'node:path'
import { readTextIfPresent } from './durable.ts'

export type PostmasterStatus = 'starting' | 'ready' | 'standby' | 'stopping'

export interface PostmasterPid {
  readonly pid: number
  /** Line 8; null while it has not been written, when the postmaster has just begun. */
  readonly status: PostmasterStatus | null
  readonly port: number | null
}

export function parsePostmasterPid(text: string): PostmasterPid | null {
  const lines = text.split('\n')
  const pid = Number(lines[0]?.trim())
  // A standalone backend (postgres --single) writes its number negated.
  if (!Number.isInteger(pid) || pid === 0) return null
  const port = Number(lines[3]?.trim())
  return {
    pid: Math.abs(pid),
    status: parseStatus(lines[7]?.trim()),
    port: Number.isInteger(port) && port > 0 ? port : null,
  }
}

function parseStatus(word: string | undefined): PostmasterStatus | null {
  return word === 'starting' || word === 'ready' || word === 'standby' || word === 'stopping' ? word : null
}

export function postmasterPidPath(dataDir: string): string {
  return join(dataDir, 'postmaster.pid')
}

/** Null when there is no file that we may read, or one that is being written. */
export async function readPostmasterPid(dataDir: string): Promise<PostmasterPid | null> {
  const text = await readTextIfPresent(postmasterPidPath(dataDir)).catch(() => null)
  return text === null ? null : parsePostmasterPid(text)
}
