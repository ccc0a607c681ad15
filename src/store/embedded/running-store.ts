/** A store that serves: from the port being bound to everything being closed, by a call or because its disk failed. */
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type ErrorCode, UnderstudyError } from '../../errors/codes.ts'
import type { DirectoryLock } from './directory-lock.ts'
import { errorCode } from './disk.ts'
import type { Engine } from './engine.ts'
import type { WatchHub } from './watch-hub.ts'

export interface StoreLogEvent {
  readonly level: 'info' | 'warn' | 'error'
  readonly event:
    | 'listening'
    | 'torn-record-cut'
    | 'disk-full'
    | 'watcher-dropped'
    | 'disk-failed'
    | 'stopped'
  readonly message: string
}

export interface RunningStoreParts {
  readonly engine: Engine
  readonly hub: WatchHub
  /** Between signs of life on quiet watches. */
  readonly progressIntervalMs: number
  readonly front: Server
  readonly lock: DirectoryLock
  readonly log: (event: StoreLogEvent) => void
}

export class RunningStore {
  /** Resolves when the server has stopped: with null after `stop()`, with the error when its disk failed. */
  readonly ended: Promise<UnderstudyError | null>
  readonly #parts: RunningStoreParts
  #settle: (error: UnderstudyError | null) => void = () => {}
  #failure: UnderstudyError | null = null
  #progress: NodeJS.Timeout | null = null
  #stopping: Promise<void> | null = null
  #port = 0

  constructor(parts: RunningStoreParts) {
    this.#parts = parts
    this.ended = new Promise((resolve) => {
      this.#settle = resolve
    })
  }

  get port(): number {
    return this.#port
  }

  get healthy(): boolean {
    return this.#failure === null && this.#stopping === null
  }

  /** Rejects with the system's error when the port cannot be had. */
  async listen(host: string, port: number): Promise<void> {
    const { front, hub, log, progressIntervalMs } = this.#parts
    await new Promise<void>((resolve, reject) => {
      front.once('error', reject)
      front.listen({ host, port, exclusive: true }, () => {
        front.removeListener('error', reject)
        resolve()
      })
    })
    this.#port = (front.address() as AddressInfo).port
    this.#progress = setInterval(() => hub.progress(), progressIntervalMs)
    log({ level: 'info', event: 'listening', message: `serving on ${host}, port ${this.#port}` })
  }

  /** What the disk said makes every later answer worthless: nothing is tried again, the server ends. */
  fail(error: unknown): void {
    const code = errorCode(error)
    const message = `the store cannot write to its disk (${code || String(error)}) and has stopped`
    this.#failure = new UnderstudyError(failureCode(code), message, { cause: error })
    this.#parts.log({ level: 'error', event: 'disk-failed', message })
    void this.stop()
  }

  /** Answers what is under way, then closes everything. Can be called twice. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  async #stop(): Promise<void> {
    const { engine, front, lock, log } = this.#parts
    if (this.#progress !== null) clearInterval(this.#progress)
    const closed = new Promise<void>((resolve) => {
      front.close(() => resolve())
    })
    await engine.stop()
    // What the journal has just settled is being answered in this turn; two turns later it is on its way.
    for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve))
    front.closeAllConnections()
    await closed
    await lock.release()
    log({ level: 'info', event: 'stopped', message: 'the store has stopped' })
    this.#settle(this.#failure)
  }
}

/** What carries no code of the system was no disk, but a bug. */
function failureCode(code: string): ErrorCode {
  if (code === '') return 'internal'
  return code === 'ENOSPC' || code === 'EDQUOT' ? 'no-space' : 'store-disk'
}
