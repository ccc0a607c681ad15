/**
 * The embedded store: the part of etcd's API that we use, from one process and one directory, for clusters on one machine. It has no
 * replicas and elects nobody; what it promises is that an answer is on disk before it is given, and that damage is refused, not guessed at.
 */
import { performance } from 'node:perf_hooks'
import { type ErrorCode, UnderstudyError } from '../errors/codes.ts'
import { createApi, newLeaseId } from './embedded/api.ts'
import { type DirectoryLock, lockDirectory } from './embedded/directory-lock.ts'
import { type Disk, errorCode, makeDirectory, openDisk } from './embedded/disk.ts'
import { Engine } from './embedded/engine.ts'
import { createFront } from './embedded/http-front.ts'
import { Journal, type JournalOptions } from './embedded/journal.ts'
import type { Position } from './embedded/log-file.ts'
import { encodeImage } from './embedded/records.ts'
import { recover, type StoreIdentity } from './embedded/recovery.ts'
import { RunningStore, type StoreLogEvent } from './embedded/running-store.ts'
import { type HistoryLimits, StoreState } from './embedded/store-state.ts'
import { createWatchFront } from './embedded/watch-front.ts'
import { WatchHub } from './embedded/watch-hub.ts'
import { isToken } from './wire.ts'

export interface EmbeddedStoreOptions {
  /** Created when it is missing, for its owner only. */
  readonly directory: string
  /** Every request must carry it in `Authorization`; visible ASCII. */
  readonly token: string
  /** 127.0.0.1 */
  readonly host?: string
  /** 0, the default: any free port. */
  readonly port?: number
  /** 2 MiB, which is etcd's 1.5 MiB in base64. */
  readonly maxRequestBytes?: number
  /** How much of the past a watch can resume from: 10,000 commits, 4 MiB. */
  readonly historyLimits?: HistoryLimits
  /** Between signs of life on quiet watches that ask for them (5 s). */
  readonly progressIntervalMs?: number
  /** The log is replaced when it has grown beyond this (4 MiB), and grows in steps of `allocationBytes` (256 KiB). */
  readonly rotateBytes?: number
  readonly allocationBytes?: number
  readonly log?: (event: StoreLogEvent) => void
  /** A monotonic clock. */
  readonly nowMs?: () => number
  readonly disk?: Disk
}

export interface EmbeddedStore {
  readonly port: number
  /** Resolves when the server has stopped: with null after `stop()`, with the error when its disk failed. */
  readonly ended: Promise<UnderstudyError | null>
  /** Answers what was asked, then closes everything. Can be called twice. */
  stop(): Promise<void>
}

const MIB = 1024 * 1024
const WATCHER_DROPPED: StoreLogEvent = {
  level: 'warn',
  event: 'watcher-dropped',
  message: 'a watcher does not read',
}
const PROGRESS_INTERVAL_MS = 5_000
const HISTORY_LIMITS: HistoryLimits = { commits: 10_000, bytes: 4 * MIB }

/**
 * Rejects with 'already-running' (another server has the directory), 'store-corrupt' (damage; nothing was changed), 'port-taken',
 * 'no-permission', 'no-space', 'store-disk' or 'config-invalid'.
 */
export async function startEmbeddedStore(options: EmbeddedStoreOptions): Promise<EmbeddedStore> {
  if (!isToken(options.token)) {
    throw new UnderstudyError('config-invalid', 'the store needs a token of visible ASCII characters')
  }
  try {
    await makeDirectory(options.directory)
    const lock = await lockDirectory(options.directory)
    return await startLocked(options, lock).catch(async (error: unknown) => {
      await lock.release()
      throw error
    })
  } catch (error) {
    throw explain(error, options)
  }
}

async function startLocked(options: EmbeddedStoreOptions, lock: DirectoryLock): Promise<EmbeddedStore> {
  const disk = options.disk ?? openDisk(options.directory)
  const log = options.log ?? (() => {})
  const nowMs = options.nowMs ?? (() => performance.now())
  const { identity, state, position } = await load(options, disk)
  const hub = new WatchHub()
  const engine = new Engine({
    state,
    nowMs,
    historyLimits: options.historyLimits ?? HISTORY_LIMITS,
    onPublished: () => hub.publish(),
  })
  const front = createFront({
    token: options.token,
    maxRequestBytes: options.maxRequestBytes ?? 2 * MIB,
    api: createApi(engine, identity),
    watch: createWatchFront({ engine, hub, identity, onDropped: () => log(WATCHER_DROPPED) }),
    healthy: () => running.healthy,
  })
  const running = new RunningStore({
    engine,
    hub,
    front,
    lock,
    log,
    progressIntervalMs: options.progressIntervalMs ?? PROGRESS_INTERVAL_MS,
  })
  const journalOptions: JournalOptions = {
    disk,
    nowMs,
    image: () => ({ ...identity, state: encodeImage(state.image()) }),
    onDurable: (revision) => engine.onDurable(revision),
    onFailure: (error) => running.fail(error),
    onFull: (message) => log({ level: 'error', event: 'disk-full', message }),
    allocationBytes: options.allocationBytes ?? MIB / 4,
    rotateBytes: options.rotateBytes ?? 4 * MIB,
  }
  engine.start(await Journal.start(journalOptions, position))
  try {
    await running.listen(options.host ?? '127.0.0.1', options.port ?? 0)
  } catch (error) {
    await engine.stop()
    throw error
  }
  return running
}

interface Loaded {
  readonly identity: StoreIdentity
  readonly state: StoreState
  readonly position: Position
}

async function load(options: EmbeddedStoreOptions, disk: Disk): Promise<Loaded> {
  const found = await recover(disk)
  if (found.kind === 'corrupt') {
    throw new UnderstudyError('store-corrupt', `${options.directory}/${found.file}: ${found.reason}`)
  }
  if (found.kind === 'empty') {
    const identity = { clusterId: newLeaseId(), memberId: newLeaseId(), starts: 1 }
    return { identity, state: new StoreState(), position: { generation: 0, sequence: 0 } }
  }
  if (found.torn !== null) {
    const { file, offset } = found.torn
    const message = `${file}: the last record, at byte ${offset}, was only partly written and was left out`
    options.log?.({ level: 'warn', event: 'torn-record-cut', message })
  }
  const identity = { ...found.identity, starts: found.identity.starts + 1 }
  return { identity, state: found.state, position: found.position }
}

const CODES: Readonly<Record<string, ErrorCode>> = {
  EADDRINUSE: 'port-taken',
  EACCES: 'no-permission',
  EPERM: 'no-permission',
  EROFS: 'no-permission',
  ENOTDIR: 'config-invalid',
  EEXIST: 'config-invalid',
  ENOSPC: 'no-space',
  EDQUOT: 'no-space',
  EIO: 'store-disk',
}

/** The system's errors at the start, in our words. */
function explain(error: unknown, options: EmbeddedStoreOptions): unknown {
  const code = CODES[errorCode(error)]
  if (error instanceof UnderstudyError || code === undefined) return error
  const where = code === 'port-taken' ? `port ${options.port ?? 0}` : options.directory
  return new UnderstudyError(code, `the store cannot start at ${where} (${errorCode(error)})`, {
    cause: error,
  })
}
