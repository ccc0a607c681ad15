/** Starts a clone worker and turns what it says into a promise: the agent's loop never waits on the copy itself. */
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { ERRORS } from '../errors/codes.ts'
import type {
  CloneFailed,
  CloneJob,
  CloneOutcome,
  CloneProgressMessage,
  WorkerMessage,
} from './clone-messages.ts'

export interface CloneOptions {
  /** The worker's environment; the size of its thread pool is added. */
  readonly env: NodeJS.ProcessEnv
  /** Whoever writes into a data directory must be the user that runs PostgreSQL; needed when this process is root. */
  readonly uid?: number
  readonly gid?: number
  readonly onProgress?: (progress: CloneProgressMessage) => void
  /** The compiled worker; found beside this file when left out. */
  readonly workerPath?: string
}

export interface RunningClone {
  readonly pid: number | undefined
  /** Never rejects. A worker that dies without a word is 'clone-failed' with what it left on stderr. */
  readonly result: Promise<CloneOutcome>
  /** Ends it; `result` then is 'failed' unless it was done before. Can be called twice. */
  abort(): void
}

const STDERR_KEPT = 2_000
const KILL_AFTER_MS = 5_000
/** The stream is read in slices of 16 kB that die young: a small young generation keeps them from piling up. */
const WORKER_FLAGS = ['--max-semi-space-size=8']
/** libuv reads it when the process starts; the worker divides its threads between writes and fsyncs. */
const WORKER_POOL = { UV_THREADPOOL_SIZE: '16' }

export function startClone(job: CloneJob, options: CloneOptions): RunningClone {
  const child = fork(options.workerPath ?? compiledWorker(), [], {
    env: { ...options.env, ...WORKER_POOL },
    execArgv: WORKER_FLAGS,
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    detached: false,
    ...(options.uid === undefined ? {} : { uid: options.uid }),
    ...(options.gid === undefined ? {} : { gid: options.gid }),
  })
  let stderr = ''
  child.stderr?.setEncoding('utf8')
  child.stderr?.on('data', (text: string) => {
    stderr = (stderr + text).slice(-STDERR_KEPT)
  })
  let killTimer: NodeJS.Timeout | undefined
  const result = new Promise<CloneOutcome>((resolve) => {
    let outcome: CloneOutcome | null = null
    child.on('message', (message: WorkerMessage) => {
      if (message.kind === 'progress') options.onProgress?.(message)
      else outcome = message
    })
    child.once('error', (error) => {
      clearTimeout(killTimer)
      resolve(failed(`The clone process could not be started: ${error.message}`))
    })
    // 'close' and not 'exit': messages and stderr are complete only then.
    child.once('close', (exitCode, signal) => {
      clearTimeout(killTimer)
      resolve(
        outcome ??
          failed(`The clone process ended with ${signal ?? `code ${exitCode}`} ${stderr.trim()}`.trim()),
      )
    })
  })
  // A worker that ended at once closes the channel before the job is sent; 'close' tells then.
  child.send(job, () => undefined)
  return {
    pid: child.pid,
    result,
    abort: () => {
      child.kill('SIGTERM')
      killTimer ??= setTimeout(() => child.kill('SIGKILL'), KILL_AFTER_MS)
      killTimer.unref()
    },
  }
}

function failed(message: string): CloneFailed {
  return { kind: 'failed', code: 'clone-failed', message, hint: ERRORS['clone-failed'].hint }
}

/** Beside this file in dist; when this file itself is run from its sources, in the build of them. */
function compiledWorker(): string {
  const url = new URL('./clone-worker.js', import.meta.url).href
  const fromSource = import.meta.url.endsWith('.ts')
  return fileURLToPath(fromSource ? url.replace(/\/src\/(?=[^/]+\/[^/]+$)/, '/dist/src/') : url)
}
