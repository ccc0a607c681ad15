/**
 * What a node must not forget, outside its data directory and fsynced: the highest promised epoch (I3), that its data directory was made by
 * its own bootstrap, and the newest document of who is primary. Read once at the start; each write is a new file renamed over the old one.
 */
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import type { Sentinel } from '../core/cluster-view.ts'
import { coversRules } from '../core/knowledge.ts'
import { formatLsn, parseLsn } from '../core/lsn.ts'
import { formatPrimacy, type Identity, type Knowledge, parseIdentity, parsePrimacy } from '../core/primacy.ts'
import { firstTimeline, historyFromWire, historyToWire } from '../core/timeline.ts'
import { isFull, syncDirectory, writeSynced } from './durable-file.ts'

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
  readonly known: WrittenKnowledge | null
}

/** `primacy` in the store's form. */
interface WrittenKnowledge {
  readonly primacy: string
  readonly identity: Identity
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
  known: null,
}

export class StateDirectory {
  readonly #directory: string
  #remembered: Remembered = NOTHING
  /** The newest, which the next write takes with it; and what of it is on the disk. */
  #known: Knowledge | null
  #kept: Knowledge | null
  /** One write after the other: tasks write beside the loop, and none may undo what another one has written. */
  #writing: Promise<void> = Promise.resolve()

  private constructor(directory: string, remembered: Remembered) {
    this.#directory = directory
    this.#remembered = remembered
    this.#known = knowledgeIn(remembered.known, directory)
    this.#kept = this.#known
  }

  /** A damaged file is an error, never "nothing promised": forgetting a promise breaks the fence. */
  static async open(directory: string): Promise<StateDirectory> {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    const opened = new StateDirectory(directory, await read(path.join(directory, FILE)))
    await opened.#keepReserve()
    return opened
  }

  get known(): Knowledge | null {
    return this.#known
  }

  /** In memory only. */
  learn(known: Knowledge): void {
    if (known.primacy.lineage.id !== this.#known?.primacy.lineage.id || this.#known === null)
      this.#known = known
  }

  /**
   * Before PostgreSQL is set so that commits are acknowledged under a rule: what is on the disk must name it, for when the store is lost
   * nobody else may. A promise, a promotion and the following of an epoch have taken it with them, so an election never waits here.
   */
  async keepRules(): Promise<void> {
    if (this.#known !== null && !coversRules(this.#kept?.primacy ?? null, this.#known.primacy))
      await this.#change({})
  }

  /** What nobody waits for. */
  async keepAtRest(): Promise<void> {
    if (this.#known !== this.#kept) await this.#change({})
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
    await this.#change({
      ...(finished && { followedEpoch: epoch }),
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
    await this.#change({ sentinel: null, followedEpoch: epoch })
  }

  get promotionAskedPid(): number | null {
    return this.#remembered.promotionAskedPid
  }

  get primaryLease(): WrittenLease | null {
    return this.#remembered.primaryLease
  }

  async rememberLease(primaryLease: WrittenLease | null): Promise<void> {
    await this.#change({ primaryLease })
  }

  async rememberPromotion(postmasterPid: number): Promise<void> {
    await this.#change({ promotionAskedPid: postmasterPid })
  }

  async rememberFollowed(epoch: number): Promise<void> {
    if (this.#remembered.followedEpoch === epoch) return
    await this.#change({ followedEpoch: epoch })
  }

  /** Never lowers; durable when it returns. */
  async promise(epoch: number): Promise<void> {
    if (epoch <= this.#remembered.promisedEpoch) return
    await this.#change({ promisedEpoch: epoch })
  }

  async rememberInitialized(systemIdentifier: string): Promise<void> {
    await this.#change({ initialized: systemIdentifier })
  }

  #change(change: Partial<Remembered>): Promise<void> {
    const written = this.#writing.then(() => this.#write(change))
    this.#writing = written.catch(() => {})
    return written
  }

  /** On a full disk with the space that is kept for this: a node that cannot promise could neither fence itself nor vote. */
  async #write(change: Partial<Remembered>): Promise<void> {
    const known = this.#known
    const before = this.#remembered
    const next: Remembered = {
      ...before,
      ...change,
      promisedEpoch: Math.max(before.promisedEpoch, change.promisedEpoch ?? 0),
      known: known === null ? null : { primacy: formatPrimacy(known.primacy), identity: known.identity },
    }
    const text = `${JSON.stringify(next)}\n`
    try {
      await this.#replace(text)
    } catch (error) {
      if (!isFull(error)) throw error
      await rm(this.#path(RESERVE), { force: true })
      await this.#replace(text)
    }
    this.#remembered = next
    this.#kept = known
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

/** A damaged one is an error, as a damaged promise: what the node forgets may be what no store can tell any more. */
function knowledgeIn(written: WrittenKnowledge | null, directory: string): Knowledge | null {
  if (written === null) return null
  const primacy = parsePrimacy(written.primacy)
  const identity = parseIdentity(JSON.stringify(written.identity))
  if (primacy === null || identity === null)
    throw new Error(`${path.join(directory, FILE)} is damaged: what it knows of the primary cannot be read`)
  return { primacy, identity }
}

const FILE = 'state.json'
const RESERVE = 'reserve'
/** More than a state file ever takes. */
const RESERVE_BYTES = 16_384

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
