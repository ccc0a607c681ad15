/**
 * Where the primary's WAL ends, asked for when somebody needs it and not before: one question under way at a time, and its answer serves
 * everybody whose writes had been acknowledged when it was sent. Whoever comes later waits for the next one.
 */
import type { ReadBound } from '../../core/read-bound.ts'
import type { PrimaryPositions, Route, RoutedNode } from '../../ports/proxy.ts'

/** Counts acknowledgements and questions, in the order in which they happened. */
let moments = 0

/** A moment now: later than every one before. */
export function nextMoment(): number {
  return ++moments
}

/** `null`: no primary could be asked. */
type Told = (bound: ReadBound | null) => void

interface Question {
  readonly askedAt: number
  readonly waiting: Set<Told>
}

export class BoundSampler {
  readonly #positions: PrimaryPositions
  readonly #route: () => Route
  #primary: RoutedNode | null = null
  #current: Question | null = null
  /** Who came while a question was under way that began too early for them. */
  #next = new Set<Told>()
  #newest: { readonly askedAt: number; readonly bound: ReadBound } | null = null

  constructor(positions: PrimaryPositions, route: () => Route) {
    this.#positions = positions
    this.#route = route
  }

  /** One that was asked for after `moment`; null: none is known. */
  known(moment: number): ReadBound | null {
    return this.#newest !== null && this.#newest.askedAt > moment ? this.#newest.bound : null
  }

  /** A bound that covers everything acknowledged before `moment`. The returned function ends the waiting. */
  ask(moment: number, told: Told): () => void {
    const current = this.#current
    const waiting = current === null || current.askedAt < moment ? this.#next : current.waiting
    waiting.add(told)
    if (current === null) this.#begin()
    return () => {
      waiting.delete(told)
    }
  }

  #begin(): void {
    const route = this.#route()
    // Before a planned change the old primary still runs and knows best.
    if (route.kind === 'open') this.#primary = route.primary
    const waiting = this.#next
    this.#next = new Set()
    const systemIdentifier = route.cluster?.line.systemIdentifier
    if (this.#primary === null || systemIdentifier === undefined) {
      for (const told of waiting) told(null)
      return
    }
    const question: Question = { askedAt: nextMoment(), waiting }
    this.#current = question
    this.#positions.ask(this.#primary).then(
      (position) => this.#answered(question, { ...position, systemIdentifier }),
      () => this.#answered(question, null),
    )
  }

  #answered(question: Question, bound: ReadBound | null): void {
    this.#current = null
    if (bound !== null) this.#newest = { askedAt: question.askedAt, bound }
    if (this.#next.size > 0) this.#begin()
    for (const told of question.waiting) told(bound)
  }
}
