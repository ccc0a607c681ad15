/**
 * One base backup in a process of its own: `node clone-worker.js`, forked by clone.ts. It gets its job as the first IPC
 * message, reports progress, and ends with one final message. It never outlives its parent: a copy that nobody waits for
 * would go on writing into a directory that somebody else may be clearing away.
 */
import { formatLsn } from '../core/lsn.ts'
import { toUnderstudyError, UnderstudyError } from '../errors/codes.ts'
import { takeBaseBackup } from './base-backup.ts'
import type { CloneJob, CloneOutcome, WorkerMessage } from './clone-messages.ts'

/** An abort closes two sockets and some files; what takes longer is a disk that hangs. */
const ABORT_GRACE_MS = 3_000

/** libuv's default when the parent has not chosen. */
const POOL_THREADS = Number(process.env['UV_THREADPOOL_SIZE'] ?? 4)
const WRITE_THREADS = 4

const stop = new AbortController()

function abort(reason: string): void {
  if (stop.signal.aborted) return
  stop.abort(new UnderstudyError('clone-failed', reason))
  setTimeout(() => process.exit(1), ABORT_GRACE_MS).unref()
}

function send(message: WorkerMessage, sent: () => void = () => undefined): void {
  if (process.connected) process.send?.(message, sent)
}

async function clone(job: CloneJob): Promise<CloneOutcome> {
  try {
    const { address, user, passfile, tls, applicationName, ...backup } = job
    const result = await takeBaseBackup({
      ...backup,
      connection: {
        address,
        user,
        tls,
        applicationName,
        ...(passfile === undefined ? {} : { passwordFrom: passfile }),
      },
      syncsAtOnce: Math.max(1, POOL_THREADS - WRITE_THREADS),
      signal: stop.signal,
      onProgress: (progress) => send({ kind: 'progress', ...progress }),
    })
    const { startLsn, endLsn, ...rest } = result
    return { kind: 'done', ...rest, startLsn: formatLsn(startLsn), endLsn: formatLsn(endLsn) }
  } catch (error) {
    const { code, message, hint } = toUnderstudyError(error)
    return { kind: 'failed', code, message, hint }
  }
}

process.once('message', (job: CloneJob) => {
  void clone(job).then((outcome) => {
    process.exitCode = outcome.kind === 'done' ? 0 : 1
    // Closing the channel lets the process end; not before the message is out.
    send(outcome, () => {
      if (process.connected) process.disconnect()
    })
  })
})
process.once('disconnect', () => abort('The process that asked for the clone is gone'))
process.on('SIGTERM', () => abort('The clone was aborted'))
// A terminal's ^C goes to the whole group; the parent decides what becomes of the clone.
process.on('SIGINT', () => abort('The clone was interrupted'))
