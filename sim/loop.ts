/** A discrete event loop over simulated milliseconds: a binary heap by time, then by order of scheduling. */
interface Entry {
  readonly at: number
  readonly order: number
  readonly run: () => void
}

export class Loop {
  now = 0
  #heap: Entry[] = []
  #order = 0

  after(ms: number, run: () => void): void {
    this.#push({ at: this.now + ms, order: this.#order++, run })
  }

  /** Runs everything until `time`; then it is `time`. */
  runUntil(time: number): void {
    for (let top = this.#heap[0]; top !== undefined && top.at <= time; top = this.#heap[0]) {
      this.#pop()
      this.now = top.at
      top.run()
    }
    this.now = time
  }

  /** Runs until it is so, looked at after each event; false: not before `time`, which it is then. */
  runUntilTrue(isSo: () => boolean, time: number): boolean {
    for (;;) {
      if (isSo()) return true
      const at = this.#heap[0]?.at ?? Number.POSITIVE_INFINITY
      if (at > time) break
      this.runUntil(at)
    }
    this.now = time
    return false
  }

  #push(entry: Entry): void {
    const heap = this.#heap
    let i = heap.length
    heap.push(entry)
    while (i > 0) {
      const up = (i - 1) >> 1
      const parent = heap[up]
      if (parent === undefined || !before(entry, parent)) break
      heap[i] = parent
      i = up
    }
    heap[i] = entry
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      let candidate = heap[child]
      if (candidate === undefined) break
      const right = heap[child + 1]
      if (right !== undefined && before(right, candidate)) {
        child++
        candidate = right
      }
      if (!before(candidate, last)) break
      heap[i] = candidate
      i = child
    }
    heap[i] = last
  }
}

function before(a: Entry, b: Entry): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}
