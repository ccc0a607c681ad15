/**
 * A small model of a primary, standbys that are late and a proxy that places reads, from a seed: what the checker of causality is shown to
 * find, with a proxy that does it right and with ones that make the mistakes that such proxies make.
 */
import { Random } from '../../sim/random.ts'
import type { CausalHistory, Event, ReadLevel } from '../lab/clients/causality.ts'

export type Mistake =
  | 'none'
  /** Any standby will do. */
  | 'bound ignored'
  /** The position is asked of the primary when the write is sent, not after it was acknowledged. */
  | 'bound sampled before the commit'
  /** Positions are compared as bare numbers, which a newer timeline uses again. */
  | 'timeline ignored'
  /** A token is taken, and not looked at. */
  | 'token ignored'
  /** The standby that was read last is forgotten. */
  | 'monotonic forgotten'
  /** A standby's position is what it has received, not what it has replayed. */
  | 'received taken for replayed'

interface Position {
  readonly timeline: number
  readonly lsn: number
}

interface WalRecord {
  readonly object: string
  readonly value: number
}

/** A line of WAL: the position of a record is its number. What a newer timeline shares with the older ends at its switchpoint. */
interface Node {
  name: string
  timeline: number
  wal: readonly WalRecord[]
  replayed: number
}

interface Session {
  readonly id: number
  readonly level: ReadLevel
  bound: Position | null
  token: Position | null
  seen: { readonly node: string; readonly timeline: number } | null
  /** Sent and not acknowledged yet. */
  pending: { readonly record: WalRecord; readonly early: Position; steps: number; committed: boolean } | null
}

const OBJECTS = ['a', 'b', 'c']
const LEVELS: readonly ReadLevel[] = ['session', 'session', 'monotonic', 'token', 'eventual']

export function modelledHistory(seed: number, mistake: Mistake, steps = 300): CausalHistory {
  return new Model(seed, mistake).run(steps)
}

class Model {
  readonly #random: Random
  readonly #mistake: Mistake
  readonly #events: Event[] = []
  readonly #sessions: readonly Session[]
  readonly #tokens: (readonly [token: number, bound: Position | null])[] = []
  #primary: Node = { name: 'alpha', timeline: 1, wal: [], replayed: 0 }
  #standbys: Node[] = ['bravo', 'charlie', 'delta'].map((name) => ({
    name,
    timeline: 1,
    wal: [],
    replayed: 0,
  }))
  /** Where each timeline was left. */
  readonly #switchpoints = new Map<number, number>()
  #value = 0

  constructor(seed: number, mistake: Mistake) {
    this.#random = new Random(seed)
    this.#mistake = mistake
    this.#sessions = Array.from({ length: 5 }, (_, id) => ({
      id,
      level: LEVELS[id] ?? 'session',
      ...{ bound: null, token: null, seen: null, pending: null },
    }))
  }

  run(steps: number): CausalHistory {
    for (let step = 0; step < steps; step += 1) this.#step()
    this.#forget()
    const finals = new Map<string, number[]>()
    for (const { object, value } of this.#primary.wal)
      finals.set(object, [...(finals.get(object) ?? []), value])
    return { events: this.#events, finals }
  }

  #step(): void {
    const random = this.#random
    for (const standby of this.#standbys) this.#replicate(standby)
    if (random.chance(0.01)) this.#failover()
    const session = random.pick(this.#sessions)
    if (session.pending !== null) this.#goOn(session)
    else if (random.chance(0.35)) this.#send(session)
    else if (random.chance(0.1)) this.#takeToken(session)
    else if (random.chance(0.15) && this.#tokens.length > 0) this.#useToken(session)
    else this.#read(session)
  }

  /** Receives quickly and replays slowly; one on an older timeline follows only after a while. */
  #replicate(standby: Node): void {
    const random = this.#random
    if (standby.timeline !== this.#primary.timeline) {
      if (!random.chance(0.05)) return
      const shared = this.#switchpoints.get(standby.timeline) ?? 0
      const length = Math.min(standby.wal.length, shared)
      Object.assign(standby, { timeline: this.#primary.timeline, wal: standby.wal.slice(0, length) })
      standby.replayed = Math.min(standby.replayed, length)
    }
    if (random.chance(0.6))
      standby.wal = this.#primary.wal.slice(
        0,
        Math.max(standby.wal.length, this.#primary.wal.length - random.int(3)),
      )
    if (random.chance(0.3))
      standby.replayed = Math.min(standby.wal.length, standby.replayed + 1 + random.int(3))
  }

  /** Not to the one that has most: what only the others have is lost, and its positions are used again. */
  #failover(): void {
    const next = this.#random.pick(this.#standbys)
    if (next.timeline !== this.#primary.timeline) return
    this.#switchpoints.set(this.#primary.timeline, next.wal.length)
    const old = { ...this.#primary, replayed: this.#primary.wal.length }
    this.#standbys = [...this.#standbys.filter((each) => each !== next), old]
    this.#primary = { ...next, timeline: old.timeline + 1, replayed: next.wal.length }
    this.#forget()
  }

  /** What was under way is left without an answer. */
  #forget(): void {
    for (const session of this.#sessions) {
      if (session.pending === null) continue
      const { record } = session.pending
      this.#events.push({ kind: 'write', session: session.id, ...record, outcome: 'unknown' })
      session.pending = null
    }
  }

  get #now(): Position {
    return { timeline: this.#primary.timeline, lsn: this.#primary.wal.length }
  }

  #send(session: Session): void {
    this.#value += 1
    const record = { object: this.#random.pick(OBJECTS), value: this.#value }
    session.pending = { record, early: this.#now, steps: this.#random.int(3), committed: false }
  }

  #goOn(session: Session): void {
    const { pending } = session
    if (pending === null) return
    if (pending.steps > 0) {
      pending.steps -= 1
      return
    }
    if (!pending.committed) {
      this.#primary.wal = [...this.#primary.wal, pending.record]
      pending.committed = true
      return
    }
    this.#events.push({ kind: 'write', session: session.id, ...pending.record, outcome: 'acknowledged' })
    session.bound = this.#mistake === 'bound sampled before the commit' ? pending.early : this.#now
    session.pending = null
  }

  #takeToken(session: Session): void {
    const token = this.#tokens.length
    this.#tokens.push([token, this.#later(session.bound, session.token)])
    this.#events.push({ kind: 'tokenTaken', session: session.id, token })
  }

  #useToken(session: Session): void {
    const [token, bound] = this.#random.pick(this.#tokens)
    session.token = bound
    this.#events.push({ kind: 'tokenUsed', session: session.id, token })
  }

  #later(a: Position | null, b: Position | null): Position | null {
    if (a === null || b === null) return a ?? b
    // What lies behind a switchpoint may be lost: everything that the primary has covers the rest.
    if (this.#isPast(a) || this.#isPast(b)) return this.#now
    return a.lsn >= b.lsn ? a : b
  }

  #isPast({ timeline, lsn }: Position): boolean {
    const end = this.#switchpoints.get(timeline)
    return end !== undefined && lsn > end
  }

  #read(session: Session): void {
    const object = this.#random.pick(OBJECTS)
    const node = this.#place(session)
    const shownTo = node === this.#primary ? node.wal.length : node.replayed
    const seen = node.wal
      .slice(0, shownTo)
      .flatMap((record) => (record.object === object ? [record.value] : []))
    this.#events.push({
      kind: 'read',
      session: session.id,
      level: session.level,
      object,
      seen,
      node: node.name,
    })
    if (session.level !== 'monotonic') return
    // What the primary showed no standby has to have yet.
    if (node === this.#primary) Object.assign(session, { seen: null, bound: this.#now })
    else session.seen = { node: node.name, timeline: node.timeline }
  }

  #place(session: Session): Node {
    const bounds = this.#boundsOf(session)
    const able = this.#standbys.filter((standby) => bounds.every((bound) => this.#has(standby, bound)))
    const { seen } = session
    if (session.level === 'monotonic' && seen !== null && this.#mistake !== 'monotonic forgotten') {
      return (
        able.find(({ name, timeline }) => name === seen.node && timeline === seen.timeline) ?? this.#primary
      )
    }
    return able.length === 0 ? this.#primary : this.#random.pick(able)
  }

  #boundsOf({ level, bound, token }: Session): readonly Position[] {
    const ownBound = level === 'session' || level === 'monotonic' ? bound : null
    const given = level === 'eventual' || this.#mistake === 'token ignored' ? null : token
    return [ownBound, given].filter((each) => each !== null)
  }

  #has(standby: Node, bound: Position): boolean {
    const position = this.#mistake === 'received taken for replayed' ? standby.wal.length : standby.replayed
    if (this.#mistake === 'bound ignored') return true
    if (this.#mistake === 'timeline ignored') return position >= bound.lsn
    if (this.#isPast(bound)) return false
    return (
      position >= bound.lsn &&
      (standby.timeline >= bound.timeline || position <= (this.#switchpoints.get(standby.timeline) ?? 0))
    )
  }
}
