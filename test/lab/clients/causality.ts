/**
 * Whether what sessions read through one address could have been read from standbys that keep the promise of their level (P4). Pure: what
 * sessions did and saw, and what the cluster has at the end; violations out.
 *
 * The data are lists that only grow, and registers that are overwritten; both are logs of values, each value written once in the whole run.
 * A write that did not survive a failover is nobody's miss: that is durability, and checked elsewhere (checker.ts). So only values that are
 * there at the end can be missed.
 */

/**
 * What a session may rely on. token: what the token stands for that it was given last. session: that, and its own writes. monotonic: these, and
 * what it has seen at this level before.
 */
export type ReadLevel = 'eventual' | 'monotonic' | 'session' | 'token'

export type Event =
  /** Acknowledged: certainly committed. unknown: it may have happened. What certainly failed is left out. */
  | {
      readonly kind: 'write'
      readonly session: number
      readonly object: string
      readonly value: number
      readonly outcome: 'acknowledged' | 'unknown'
    }
  /** list: `seen` is everything in it. register: `seen` is the value and all before it that the reader was told of. */
  | {
      readonly kind: 'read'
      readonly session: number
      readonly level: ReadLevel
      readonly object: string
      readonly seen: readonly number[]
      /** For people; null when it is not known. */
      readonly node: string | null
    }
  | { readonly kind: 'tokenTaken'; readonly session: number; readonly token: number }
  | { readonly kind: 'tokenUsed'; readonly session: number; readonly token: number }

export interface CausalHistory {
  /**
   * Of each session in the order in which it did it, each when its answer had come. A token is used after it was taken: the order of the
   * whole has to keep that, and nothing else between sessions.
   */
  readonly events: readonly Event[]
  /** Object -> its values as the primary has them at the end, in the order of their commits. */
  readonly finals: ReadonlyMap<string, readonly number[]>
}

export type CausalViolationKind =
  /** A session did not see what it had written itself. */
  | 'missed-own-write'
  /** A session did not see what a token stands for that it was given. */
  | 'missed-by-token'
  /** A session at level `monotonic` did not see what it had seen before. */
  | 'went-back'
  /** A value that nobody wrote, or that came before one that was committed earlier. */
  | 'impossible'

export interface CausalViolation {
  readonly kind: CausalViolationKind
  readonly sentence: string
}

export interface CausalCheck {
  readonly violations: readonly CausalViolation[]
  readonly reads: number
  readonly writes: number
  /** Acknowledged, and not there at the end: lost with a primary. */
  readonly lost: number
  /** Reads that had something to miss: a run in which there are few has shown little. */
  readonly demanding: number
}

/** Object -> values that must be seen from now on. */
type Known = Map<string, Set<number>>

interface SessionKnowledge {
  readonly own: Known
  given: Known
  readonly seen: Known
}

export function checkCausality(history: CausalHistory): CausalCheck {
  const check = new Check(history)
  for (const event of history.events) check.take(event)
  return check.result()
}

class Check {
  readonly #survived: ReadonlyMap<string, ReadonlyMap<number, number>>
  readonly #written = new Map<number, string>()
  readonly #sessions = new Map<number, SessionKnowledge>()
  readonly #tokens = new Map<number, Known>()
  readonly #violations: CausalViolation[] = []
  #reads = 0
  #writes = 0
  #lost = 0
  #demanding = 0

  constructor({ events, finals }: CausalHistory) {
    this.#survived = new Map(
      [...finals].map(([object, values]) => [object, new Map(values.map((value, index) => [value, index]))]),
    )
    for (const event of events) if (event.kind === 'write') this.#written.set(event.value, event.object)
  }

  take(event: Event): void {
    const session = this.#session(event.session)
    switch (event.kind) {
      case 'write':
        this.#write(event, session)
        break
      case 'read':
        this.#read(event, session)
        break
      case 'tokenTaken':
        this.#tokens.set(event.token, union(union(new Map(), session.own), session.given))
        break
      case 'tokenUsed':
        session.given = this.#tokens.get(event.token) ?? new Map()
        break
    }
  }

  result(): CausalCheck {
    return {
      violations: this.#violations,
      reads: this.#reads,
      writes: this.#writes,
      lost: this.#lost,
      demanding: this.#demanding,
    }
  }

  #session(id: number): SessionKnowledge {
    const known = this.#sessions.get(id) ?? { own: new Map(), given: new Map(), seen: new Map() }
    this.#sessions.set(id, known)
    return known
  }

  #write({ object, value, outcome }: Event & { readonly kind: 'write' }, { own }: SessionKnowledge): void {
    this.#writes += 1
    if (outcome === 'unknown') return
    if (this.#survived.get(object)?.has(value) === true) remember(own, object, value)
    else this.#lost += 1
  }

  #read(read: Event & { readonly kind: 'read' }, session: SessionKnowledge): void {
    this.#reads += 1
    const seen = new Set(read.seen)
    this.#possible(read, seen)
    const { own, given, seen: before } = session
    const demands = demandsOf(read.level, own, given, before)
    if (demands.some(([, known]) => (known.get(read.object)?.size ?? 0) > 0)) this.#demanding += 1
    for (const [kind, known] of demands) {
      const missed = [...(known.get(read.object) ?? [])].filter((value) => !seen.has(value))
      if (missed.length > 0) this.#violate(kind, read, `misses ${shown(missed)}`)
    }
    if (read.level !== 'monotonic') return
    for (const value of seen)
      if (this.#survived.get(read.object)?.has(value) === true) remember(before, read.object, value)
  }

  /** What survived of what was read is the beginning of the final log, and everything was written by somebody, to this object. */
  #possible(read: Event & { readonly kind: 'read' }, seen: ReadonlySet<number>): void {
    const order = this.#survived.get(read.object) ?? new Map<number, number>()
    const stranger = read.seen.find((value) => this.#written.get(value) !== read.object)
    if (stranger !== undefined) this.#violate('impossible', read, `has ${stranger}, which nobody wrote there`)
    let last = -1
    for (const value of read.seen) last = Math.max(last, order.get(value) ?? -1)
    const skipped = [...order]
      .filter(([value, index]) => index < last && !seen.has(value))
      .map(([value]) => value)
    if (skipped.length > 0) this.#violate('impossible', read, `has a later value without ${shown(skipped)}`)
  }

  #violate(
    kind: CausalViolationKind,
    { session, level, object, node, seen }: Event & { readonly kind: 'read' },
    what: string,
  ): void {
    const where = node === null ? '' : ` on ${node}`
    const sentence = `session ${session} at level ${level}: its read of ${object}${where} ${what}; it had ${shown(seen)}`
    this.#violations.push({ kind, sentence })
  }
}

function demandsOf(
  level: ReadLevel,
  own: Known,
  given: Known,
  seen: Known,
): readonly (readonly [CausalViolationKind, Known])[] {
  const byToken = ['missed-by-token', given] as const
  const ownWrites = ['missed-own-write', own] as const
  switch (level) {
    case 'eventual':
      return []
    case 'token':
      return [byToken]
    case 'session':
      return [byToken, ownWrites]
    case 'monotonic':
      return [byToken, ownWrites, ['went-back', seen]]
  }
}

function remember(known: Known, object: string, value: number): void {
  const values = known.get(object) ?? new Set()
  known.set(object, values.add(value))
}

/** Changes `into`, and gives it. */
function union(into: Known, from: ReadonlyMap<string, ReadonlySet<number>>): Known {
  for (const [object, values] of from) for (const value of values) remember(into, object, value)
  return into
}

function shown(values: readonly number[]): string {
  return values.length > 8 ? `…, ${values.slice(-8).join(', ')}` : `[${values.join(', ')}]`
}
