/**
 * The node's own record of what happened and why (P6): a ring in memory for the API, a file for later. Writing it must never fail
 * an action, and neither a full disk nor one that hangs may stop a failover: it is written behind the loop's back, and errors are swallowed
 * after one log line.
 */
import { readFileSync } from 'node:fs'
import { appendFile, rename, stat } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ClusterEvent } from '../api/contract.ts'
import type { Clock } from '../ports/clock.ts'
import type { Log } from '../ports/log.ts'

const KEPT_IN_MEMORY = 1_000
const ROTATE_BYTES = 4 * 1024 * 1024
/** At the end of the agent. */
const WRITE_PATIENCE_MS = 1_000
/** What waits for a disk that hangs; the ring has the newest all the same. */
const WAITING_LINES = 1_000

export type NewEvent = Omit<ClusterEvent, 'id' | 'at' | 'node'>

export class EventLog {
  readonly #file: string
  readonly #node: string
  readonly #clock: Clock
  readonly #log: Log
  readonly #listeners = new Set<(event: ClusterEvent) => void>()
  #events: ClusterEvent[]
  #complained = false
  #waiting: string[] = []
  #writes = false
  #writing: Promise<void> = Promise.resolve()
  /** That this node knows of; events that are of no other one are told as of this one. */
  epoch: number | null = null
  /** Since the election of an epoch began, in milliseconds of the monotonic clock; null when it is over, or not known. */
  sinceElecting: (epoch: number) => number | null = () => null

  constructor(options: {
    readonly file: string
    readonly node: string
    readonly clock: Clock
    readonly log: Log
  }) {
    this.#file = options.file
    this.#node = options.node
    this.#clock = options.clock
    this.#log = options.log
    this.#events = readTail(options.file)
  }

  add(event: NewEvent): void {
    const epoch = event.epoch ?? this.epoch
    const sinceElectingMs = epoch === null ? null : this.sinceElecting(epoch)
    const full: ClusterEvent = {
      id: (this.#events.at(-1)?.id ?? 0) + 1,
      at: this.#clock.timestamp(),
      node: this.#node,
      ...event,
      ...(epoch !== null && { epoch }),
      ...(sinceElectingMs !== null && { details: { ...event.details, sinceElectingMs } }),
    }
    this.#events.push(full)
    if (this.#events.length > KEPT_IN_MEMORY) this.#events = this.#events.slice(-KEPT_IN_MEMORY)
    this.#log.info(event.message, { event: event.kind, ...event.details })
    this.#append(full)
    for (const listener of this.#listeners) listener(full)
  }

  after(id: number): readonly ClusterEvent[] {
    return this.#events.filter((event) => event.id > id)
  }

  /** Returns the function that ends the subscription. */
  subscribe(listener: (event: ClusterEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Everything that was added before is in the file, unless the disk does not take it in that time. */
  async written(): Promise<void> {
    await Promise.race([this.#writing, sleep(WRITE_PATIENCE_MS, undefined, { ref: false })])
  }

  #append(event: ClusterEvent): void {
    this.#waiting.push(`${JSON.stringify(event)}\n`)
    if (this.#waiting.length > WAITING_LINES) this.#waiting.shift()
    if (!this.#writes) this.#writing = this.#write()
  }

  /** One after the other; what is added meanwhile goes with the next. */
  async #write(): Promise<void> {
    this.#writes = true
    while (this.#waiting.length > 0) {
      const text = this.#waiting.splice(0).join('')
      try {
        await appendFile(this.#file, text, { mode: 0o600 })
        if ((await stat(this.#file)).size > ROTATE_BYTES) await rename(this.#file, `${this.#file}.1`)
      } catch (error) {
        if (!this.#complained)
          this.#log.warn('events cannot be written to their file', { error: String(error) })
        this.#complained = true
      }
    }
    // In the same moment as the look above: nothing can be added in between and be forgotten.
    this.#writes = false
  }
}

function readTail(file: string): ClusterEvent[] {
  try {
    const lines = readFileSync(file, 'utf8').trimEnd().split('\n').slice(-KEPT_IN_MEMORY)
    return lines.flatMap((line) => parseLine(line))
  } catch {
    return []
  }
}

/** A torn last line after a crash is not an event. */
function parseLine(line: string): ClusterEvent[] {
  try {
    return [JSON.parse(line) as ClusterEvent]
  } catch {
    return []
  }
}
