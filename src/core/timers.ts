/** Every timer follows from `rto`, how soon the primary's silence counts as death. Pure; `understudy config explain` prints them. */

export interface Timers {
  /** Silence of the primary that counts as death. A refused connection counts at once. */
  readonly silenceMs: number
  /** Silence of its stream after which new connections are tried; when those are not answered for as long again, it is as above. */
  readonly doubtMs: number
  /** Between probes of a primary that is not known to be well. */
  readonly probeMs: number
  /** A pause of the own process that makes older evidence worthless. */
  readonly pauseMs: number
  /** How long an election waits for its starter before another node carries it on; times the node's place, so that they do not collide. */
  readonly takeOverMs: number
  /** How long a primary that has crashed lets the standbys vote before it recovers, to vote too. */
  readonly yieldMs: number
  /** How long a switchover waits for the chosen candidate before another one is taken. */
  readonly candidateMs: number
  /** A postmaster that restarts after a backend's crash is not dead before this. */
  readonly recoveringMs: number
  /** Time to live of the lease of I10, and how much earlier its holder fences itself. */
  readonly primaryLeaseMs: number
  readonly selfFenceMarginMs: number
}

export function timersOf(rtoMs: number): Timers {
  return {
    silenceMs: rtoMs,
    doubtMs: rtoMs / 2,
    probeMs: Math.max(50, Math.min(500, rtoMs / 6)),
    pauseMs: Math.max(250, rtoMs / 2),
    takeOverMs: Math.max(200, rtoMs / 4),
    yieldMs: Math.max(200, rtoMs / 8),
    candidateMs: Math.max(2_000, rtoMs),
    recoveringMs: rtoMs,
    primaryLeaseMs: Math.max(2_000, rtoMs),
    selfFenceMarginMs: Math.max(500, rtoMs / 4),
  }
}
