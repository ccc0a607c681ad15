/**
 * What a node must not forget, outside its data directory and fsynced: the highest promised epoch (I3), and that its data directory
 * was made by its own bootstrap. Read once at the start; each write is a new file renamed over the old one.
 */
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import type { Sentinel } from '../core/cluster-view.ts'
import { formatLsn, parseLsn } from '../core/lsn.ts'
import { firstTimeline, historyFromWire, historyToWire } from '../core/timeline.ts'

interface WrittenSentinel {
  readonly timelineId: number | null
  readonly lsn: string
  readonly history: unknown
  readonly epoch: number
  readonly finished: boolean
}

interface Remembered {
  readonly promisedEpoch: number
  readonly initialized: string | null
  readonly followedEpoch: number
  /** While a rewind is under way: what the directory held before (I12). In the store's form, since LSNs are no JSON. */
  readonly sentinel: WrittenSentinel | null
  /** The postmaster that was asked to promote: it may become writable at any moment. */
  readonly promotionAskedPid: number | null
  /** The lease of I10 with its end on the monotonic clock of this boot: PostgreSQL outlives its agent, and so must the lease. */
  readonly primaryLease: WrittenLease | null
}

export interface WrittenLease {
  readonly leaseId: string
  readonly untilMs: number
  readonly bootId: string
}

const NOTHING: Remembered = {
  promisedEpoch: 0,
  initialized: null,
  followedEpoch: 0,
  sentinel: null,
  promotionAskedPid: null,
  primaryLease: null,
}

export class StateDirectory {
  readonly #directory: string
  #remembered: Remembered = NOTHING

  private constructor(directory: string, remembered: Remembered) {
    this.#directory = directory
    this.#remembered = remembered
  }

  /** A damaged file is an error, never "nothing promised": forgetting a promise breaks the fence. */
  static async open(directory: string): Promise<StateDirectory> {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    const opened = new StateDirectory(directory, await read(path.join(directory, FILE)))
    await opened.#keepReserve()
    return opened
  }

  get promisedEpoch(): number {
    return this.#remembered.promisedEpoch
  }

  get initialized(): string | null {
    return this.#remembered.initialized
  }

  get followedEpoch(): number {
    return this.#remembered.followedEpoch
  }

  get sentinel(): Sentinel | null {
    const { sentinel } = this.#remembered
    if (sentinel === null) return null
    const lsn = parseLsn(sentinel.lsn)
    const { timelineId } = sentinel
    return {
      position: timelineId === null || lsn === null ? null : { timelineId, lsn },
      history: historyFromWire(sentinel.history) ?? firstTimeline(),
      epoch: sentinel.epoch,
      finished: sentinel.finished,
    }
  }

  /**
   * Durable before the directory is opened up, and taken away only when it is whole again. What was rewound to its end is its source's,
   * and lacks WAL of it: it may stream from there, and from nobody else (I8).
   */
  async markReplacing(sentinel: Sentinel): Promise<void> {
    const { position, history, epoch, finished } = sentinel
    await this.#write({
      ...this.#remembered,
      followedEpoch: finished ? epoch : this.#remembered.followedEpoch,
      sentinel: {
        timelineId: position?.timelineId ?? null,
        lsn: position === null ? '0/0' : formatLsn(position.lsn),
        history: historyToWire(history),
        epoch,
        finished,
      },
    })
  }

  /** What is there now is that epoch's primary's, so within its history by itself (I8). */
  async finishReplacing(epoch: number): Promise<void> {
    await this.#write({ ...this.#remembered, sentinel: null, followedEpoch: epoch })
  }

  get promotionAskedPid(): number | null {
    return this.#remembered.promotionAskedPid
  }

  get primaryLease(): WrittenLease | null {
    return this.#remembered.primaryLease
  }

  async rememberLease(primaryLease: WrittenLease | null): Promise<void> {
    await this.#write({ ...this.#remembered, primaryLease })
  }

  async rememberPromotion(postmasterPid: number): Promise<void> {
    await this.#write({ ...this.#remembered, promotionAskedPid: postmasterPid })
  }

  async rememberFollowed(epoch: number): Promise<void> {
    if (this.#remembered.followedEpoch === epoch) return
    await this.#write({ ...this.#remembered, followedEpoch: epoch })
  }

  /** Never lowers; durable when it returns. */
  async promise(epoch: number): Promise<void> {
    if (epoch <= this.#remembered.promisedEpoch) return
    await this.#write({ ...this.#remembered, promisedEpoch: epoch })
  }

  async rememberInitialized(systemIdentifier: string): Promise<void> {
    await this.#write({ ...this.#remembered, initialized: systemIdentifier })
  }

  /** On a full disk with the space that is kept for this: a node that cannot promise could neither fence itself nor vote. */
  async #write(next: Remembered): Promise<void> {
    const text = `${JSON.stringify(next)}\n`
    try {
      await this.#replace(text)
    } catch (error) {
      if (!isFull(error)) throw error
      await rm(this.#path(RESERVE), { force: true })
      await this.#replace(text)
    }
    this.#remembered = next
    await this.#keepReserve()
  }

  async #replace(text: string): Promise<void> {
    const temporary = this.#path(`${FILE}.new`)
    await writeSynced(temporary, text)
    await rename(temporary, this.#path(FILE))
    await syncDirectory(this.#directory)
  }

  /** The old state has just been freed; where there is still no room for it the next write does without. */
  async #keepReserve(): Promise<void> {
    try {
      const handle = await open(this.#path(RESERVE), 'wx', 0o600)
      await handle.writeFile(Buffer.alloc(RESERVE_BYTES, 1)).finally(() => handle.close())
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST')
        await rm(this.#path(RESERVE), { force: true }).catch(() => undefined)
    }
  }

  #path(name: string): string {
    return path.join(this.#directory, name)
  }
}

const FILE = 'state.json'
const RESERVE = 'reserve'
/** More than a state file ever takes. */
const RESERVE_BYTES = 16_384

function isFull(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException
  return code === 'ENOSPC' || code === 'EDQUOT'
}

async function writeSynced(file: string, text: string): Promise<void> {
  const handle = await open(file, 'w', 0o600)
  try {
    await handle.writeFile(text)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function read(file: string): Promise<Remembered> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return NOTHING
    throw error
  }
  const value = JSON.parse(text) as Partial<Remembered>
  if (typeof value.promisedEpoch !== 'number')
    throw new Error(`${file} is damaged: it holds no promised epoch`)
  return { ...NOTHING, ...value, promisedEpoch: value.promisedEpoch }
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
