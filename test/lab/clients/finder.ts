/**
 * Which nodes accept writes right now: one open connection to each of them, asked many times a second while somebody looks for a primary
 * and not at all otherwise, so that finding the new one costs a dying cluster next to nothing.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type ConnectionOf, Session } from './session.ts'

const LOOK_EVERY_MS = 15
const CONNECT_MS = 1_000
const ANSWER_MS = 500
/** After a node that could not be reached; a refused connection costs little, a silent one has cost its deadline. */
const RETRY_MS = 40

export class PrimaryFinder {
  readonly #nodes: readonly string[]
  readonly #connectionOf: ConnectionOf
  readonly #writable = new Set<string>()
  readonly #waiting = new Set<() => void>()
  #closed = false
  readonly #loops: readonly Promise<void>[]

  constructor(nodes: readonly string[], connectionOf: ConnectionOf) {
    this.#nodes = nodes
    this.#connectionOf = connectionOf
    this.#loops = nodes.map((node) => this.#look(node))
  }

  /**
   * A node that has just said that it accepts writes. Where several do, `preference` decides, so that not everybody leaves an old primary
   * for the new one at once; null when it was closed meanwhile.
   */
  async find(preference: number): Promise<string | null> {
    const since = performance.now()
    const done = this.#ask()
    try {
      for (;;) {
        if (this.#closed) return null
        const known = this.#nodes.filter((node) => this.#freshAt(node) >= since)
        const found = known[preference % Math.max(1, known.length)]
        if (found !== undefined) return found
        await sleep(LOOK_EVERY_MS / 3)
      }
    } finally {
      done()
    }
  }

  readonly #seenAtMs = new Map<string, number>()

  #freshAt(node: string): number {
    return this.#writable.has(node) ? (this.#seenAtMs.get(node) ?? 0) : 0
  }

  #asking = 0

  /** Returns the function that says that this one is looking no more. */
  #ask(): () => void {
    this.#asking++
    for (const wake of this.#waiting) wake()
    this.#waiting.clear()
    return () => {
      this.#asking--
    }
  }

  async #look(node: string): Promise<void> {
    let session: Session | null = null
    while (!this.#closed) {
      if (this.#asking === 0) {
        await new Promise<void>((resolve) => this.#waiting.add(resolve))
        continue
      }
      try {
        session ??= await Session.open(node, this.#connectionOf, CONNECT_MS)
        const answer = await session.query<{ standby: boolean }>(
          'SELECT pg_is_in_recovery() AS standby',
          [],
          ANSWER_MS,
        )
        if (answer.rows[0]?.standby === false) this.#writable.add(node)
        else this.#writable.delete(node)
        this.#seenAtMs.set(node, performance.now())
        await sleep(LOOK_EVERY_MS)
      } catch {
        this.#writable.delete(node)
        session?.abandon()
        session = null
        await sleep(RETRY_MS)
      }
    }
    await session?.close()
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const wake of this.#waiting) wake()
    await Promise.all(this.#loops)
  }
}
