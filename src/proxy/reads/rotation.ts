/**
 * Which standbys may be read from: those that stream, replay as they should, and are not too far behind. One that was left out comes back only
 * when it has been good for a while, so that a node on the edge is not taken and left again all the time. Pure: time comes in as an argument.
 */
import { type Lsn, lagBytes } from '../../core/lsn.ts'
import type { Line } from '../../core/read-bound.ts'
import { isOnHistory } from '../../core/timeline.ts'
import type { PositionReading } from '../../ports/proxy.ts'

/** A standby that may be read from. */
export interface ReadableStandby {
  readonly node: string
  readonly timelineId: number
  /** At least so far it has replayed. */
  readonly replayLsn: Lsn
  readonly incarnation: string
  readonly replayLagMs: number
  readonly replayLagBytes: number
}

/** What a person is shown of a standby. */
export interface RotationEntry {
  readonly node: string
  /** null: it is in rotation. */
  readonly outBecause: string | null
  /** Nothing is heard from there. */
  readonly isSilent: boolean
  readonly replayLsn: Lsn | null
  /** null: not known. */
  readonly replayLagMs: number | null
  readonly replayLagBytes: number | null
}

interface Watched {
  readonly reading: PositionReading
  readonly receivedAtMs: number
  /** When its replay position was last seen to grow. */
  readonly movedAtMs: number
  /** null: it streams. */
  readonly streamLostAtMs: number | null
  readonly outBecause: string | null
  /** While it is out: since when nothing speaks against it; null: something does. */
  readonly goodSinceMs: number | null
}

const NOT_HEARD = 'its agent is not heard'
const NO_ANSWER = 'its server does not answer'
/** A reading comes at least every 200 ms. */
const SILENT_AFTER_MS = 1_000
/** A walreceiver that connects anew. */
const STREAM_GRACE_MS = 1_000
const THAW_GRACE_MS = 1_000
const STUCK_AFTER_MS = 5_000
const BACK_AFTER_MS = 1_000
/** Points of the primary's way that are kept. */
const TRACK_POINTS = 500
const TRACK_AT_LEAST_EVERY_MS = 20

export class Rotation {
  readonly #maxLagMs: number
  readonly #track: { readonly atMs: number; readonly lsn: Lsn }[] = []
  readonly #watched = new Map<string, Watched>()
  #members: readonly string[] = []
  #line: Line | null = null
  /** Nobody takes writes: nothing becomes older, and standbys that have turned away from the old primary lack nothing. */
  #frozen = true
  #thawedAtMs = Number.NEGATIVE_INFINITY
  #primary: { readonly reading: PositionReading; readonly receivedAtMs: number } | null = null
  #standbys: readonly ReadableStandby[] = []

  constructor({ maxLagMs }: { readonly maxLagMs: number }) {
    this.#maxLagMs = maxLagMs
  }

  /** In rotation, as of the last reading or look. */
  get standbys(): readonly ReadableStandby[] {
    return this.#standbys
  }

  /** `primary` null: nobody takes writes. */
  cluster(primary: string | null, members: readonly string[], line: Line | null, nowMs: number): void {
    if (line?.history.timelineId !== this.#line?.history.timelineId) this.#track.length = 0
    this.#line = line
    this.#members = members.filter((name) => name !== primary)
    const thawed = this.#frozen && primary !== null
    this.#frozen = primary === null
    if (thawed) this.#thawedAtMs = nowMs
    for (const [name, watched] of this.#watched) {
      if (!members.includes(name)) this.#watched.delete(name)
      // From now on they have to turn to the new one, and are given the time for it.
      else if (thawed && watched.streamLostAtMs !== null)
        this.#watched.set(name, { ...watched, streamLostAtMs: nowMs, movedAtMs: nowMs })
    }
    this.look(nowMs)
  }

  take(node: string, reading: PositionReading | null, nowMs: number): void {
    if (reading === null) {
      this.#watched.delete(node)
      if (this.#primary?.reading.node === node) this.#primary = null
    } else if (reading.role === 'primary') {
      this.#watched.delete(node)
      // A stale one may still believe that it is one (I9).
      if (!this.#members.includes(node)) this.#followPrimary(reading, nowMs)
    } else {
      this.#watched.set(node, this.#next(this.#watched.get(node) ?? null, reading, nowMs))
    }
    this.look(nowMs)
  }

  /** Time has passed. */
  look(nowMs: number): void {
    const standbys: ReadableStandby[] = []
    for (const node of this.#members) {
      const watched = this.#watched.get(node)
      if (watched === undefined) continue
      const judged = this.#judged(watched, nowMs)
      this.#watched.set(node, judged)
      const { timelineId, lsn, incarnation } = judged.reading
      if (judged.outBecause !== null || timelineId === null || lsn === null) continue
      standbys.push({
        ...{ node, timelineId, replayLsn: lsn, incarnation },
        replayLagMs: this.#lagMs(lsn, nowMs) ?? (this.#frozen ? 0 : Number.POSITIVE_INFINITY),
        replayLagBytes: this.#lagBytes(lsn) ?? 0,
      })
    }
    this.#standbys = standbys
  }

  entries(nowMs: number): readonly RotationEntry[] {
    return this.#members.map((node) => {
      const watched = this.#watched.get(node)
      const lsn = watched?.reading.lsn ?? null
      return {
        node,
        outBecause: watched === undefined ? NOT_HEARD : watched.outBecause,
        isSilent:
          watched === undefined || watched.outBecause === NOT_HEARD || watched.outBecause === NO_ANSWER,
        replayLsn: lsn,
        replayLagMs: lsn === null ? null : this.#lagMs(lsn, nowMs),
        replayLagBytes: lsn === null ? null : this.#lagBytes(lsn),
      }
    })
  }

  #next(before: Watched | null, reading: PositionReading, nowMs: number): Watched {
    const moved = before === null || before.reading.lsn === null || reading.lsn !== before.reading.lsn
    const streamLostAtMs = reading.streaming ? null : (before?.streamLostAtMs ?? nowMs)
    return {
      reading,
      receivedAtMs: nowMs,
      movedAtMs: moved ? nowMs : before.movedAtMs,
      streamLostAtMs,
      outBecause: before === null ? 'it has just appeared' : before.outBecause,
      // The first one of a proxy that has just begun has nothing to prove.
      goodSinceMs: before === null ? nowMs - BACK_AFTER_MS : before.goodSinceMs,
    }
  }

  #judged(watched: Watched, nowMs: number): Watched {
    const against = this.#against(watched, nowMs)
    if (against !== null) return { ...watched, outBecause: against, goodSinceMs: null }
    if (watched.outBecause === null) return watched
    const goodSinceMs = watched.goodSinceMs ?? nowMs
    const lagMs = watched.reading.lsn === null ? null : this.#lagMs(watched.reading.lsn, nowMs)
    // Half of what is allowed: at the very edge it would be out again in a moment.
    const isBack =
      nowMs - goodSinceMs >= BACK_AFTER_MS &&
      (this.#frozen || (lagMs !== null && lagMs <= this.#maxLagMs / 2))
    return { ...watched, goodSinceMs, outBecause: isBack ? null : watched.outBecause }
  }

  /** What speaks against reading there; null: nothing. */
  #against({ reading, receivedAtMs, movedAtMs, streamLostAtMs }: Watched, nowMs: number): string | null {
    const { role, systemIdentifier, timelineId, lsn, heldBack } = reading
    if (nowMs - receivedAtMs > SILENT_AFTER_MS) return NOT_HEARD
    if (role !== 'standby' || lsn === null) return NO_ANSWER
    if (this.#line === null) return 'the cluster is not known yet'
    if (systemIdentifier !== this.#line.systemIdentifier) return 'it has another cluster’s data'
    if (timelineId === null) return 'its timeline is not known'
    if (!isOnHistory(this.#line.history, { timelineId, lsn })) return 'it is not on the timeline in force'
    if (heldBack === 'paused') return 'its replay is paused'
    if (heldBack === 'delayed') return 'it is delayed on purpose'
    if (this.#frozen) return null
    if (streamLostAtMs !== null && nowMs - streamLostAtMs > STREAM_GRACE_MS) return 'it does not stream'
    const lagMs = this.#lagMs(lsn, nowMs)
    // The new primary's agent has not told yet where it is.
    if (lagMs === null && nowMs - this.#thawedAtMs < THAW_GRACE_MS) return null
    if (lagMs === null) return 'how far it is behind is not known'
    if (lagMs > this.#maxLagMs) return `it is more than ${this.#maxLagMs} ms behind`
    if (lagMs > STUCK_AFTER_MS && nowMs - movedAtMs > STUCK_AFTER_MS) return 'it replays nothing'
    return null
  }

  #followPrimary(reading: PositionReading, nowMs: number): void {
    this.#primary = { reading, receivedAtMs: nowMs }
    const { lsn } = reading
    if (lsn === null) return
    const last = this.#track.at(-1)
    if (last !== undefined && lsn <= last.lsn) {
      // A primary goes back only when it is another one.
      if (lsn === last.lsn) return
      this.#track.length = 0
    }
    const everyMs = Math.max(TRACK_AT_LEAST_EVERY_MS, (this.#maxLagMs * 1.5) / TRACK_POINTS)
    // A position keeps the time at which it was first passed: so a lag is never told too small.
    if (last !== undefined && nowMs - last.atMs < everyMs && this.#track.length > 1)
      this.#track[this.#track.length - 1] = { atMs: last.atMs, lsn }
    else this.#track.push({ atMs: nowMs, lsn })
    if (this.#track.length > TRACK_POINTS) this.#track.shift()
  }

  /** For how long at least the primary has had something that is not replayed up to `replayLsn`. */
  #lagMs(replayLsn: Lsn, nowMs: number): number | null {
    const last = this.#track.at(-1)
    if (last === undefined || this.#primary === null) return null
    if (nowMs - this.#primary.receivedAtMs > SILENT_AFTER_MS) return null
    if (replayLsn >= last.lsn) return 0
    const missing = this.#track.find(({ lsn }) => lsn > replayLsn) ?? last
    return nowMs - missing.atMs
  }

  #lagBytes(replayLsn: Lsn): number | null {
    const lsn = this.#primary?.reading.lsn ?? null
    return lsn === null ? null : lagBytes(replayLsn, lsn)
  }
}
