/**
 * Every timer follows from `rto`, how soon the primary's silence counts as death. Each says how and why, in words that
 * `understudy config explain` prints. Pure.
 */

export interface TimerRule {
  /** How it follows from rto. */
  readonly from: string
  readonly why: string
  readonly ms: (rtoMs: number) => number
}

export const TIMER_RULES = {
  silenceMs: {
    from: 'rto',
    why: 'Silence of the primary that counts as death. A refused connection counts at once.',
    ms: (rtoMs) => rtoMs,
  },
  doubtMs: {
    from: 'rto / 2',
    why: 'Silence of its stream after which new connections are tried; when those are not answered for as long again, the primary counts as dead.',
    ms: (rtoMs) => rtoMs / 2,
  },
  probeMs: {
    from: 'rto / 6, from 50 to 500 ms',
    why: 'Between probes of a primary that is not known to be well.',
    ms: (rtoMs) => Math.max(50, Math.min(500, rtoMs / 6)),
  },
  pauseMs: {
    from: 'rto / 2, at least 250 ms',
    why: 'A pause of the agent’s own process that makes older evidence worthless.',
    ms: (rtoMs) => Math.max(250, rtoMs / 2),
  },
  takeOverMs: {
    from: 'rto / 4, at least 200 ms',
    why: 'How long an election waits for its starter before another node carries it on; times the node’s place, so that they do not collide.',
    ms: (rtoMs) => Math.max(200, rtoMs / 4),
  },
  yieldMs: {
    from: 'rto / 8, at least 200 ms',
    why: 'How long a primary that has crashed lets the standbys vote before it recovers, to vote too.',
    ms: (rtoMs) => Math.max(200, rtoMs / 8),
  },
  candidateMs: {
    from: 'rto, at least 2 s',
    why: 'How long a switchover waits for the chosen candidate before another one is taken.',
    ms: (rtoMs) => Math.max(2_000, rtoMs),
  },
  recoveringMs: {
    from: 'rto',
    why: 'A postmaster that restarts after a backend’s crash is not dead before this.',
    ms: (rtoMs) => rtoMs,
  },
  primaryLeaseMs: {
    from: 'rto, at least 2 s',
    why: 'With durability async: how long the primary’s lease lasts, and so how long a promotion has to wait for it to end.',
    ms: (rtoMs) => Math.max(2_000, rtoMs),
  },
  selfFenceMarginMs: {
    from: 'rto / 4, at least 500 ms',
    why: 'How much earlier than its lease’s end a primary that cannot renew it stops itself.',
    ms: (rtoMs) => Math.max(500, rtoMs / 4),
  },
  standbyLostMs: {
    from: '3 × rto, at least 10 s',
    why: 'A standby that is away for longer need not acknowledge any more (whenStandbyLost: relax).',
    ms: (rtoMs) => Math.max(10_000, 3 * rtoMs),
  },
  membershipMs: {
    from: '3 × rto, at least 6 s',
    why: 'How long a node’s report outlives its agent: long enough that a slow store does not make a live one vanish.',
    ms: (rtoMs) => Math.max(6_000, 3 * rtoMs),
  },
  storeAnswerMs: {
    from: 'rto / 2, from 500 ms to 5 s',
    why: 'How long the store may take to answer before another of its members is asked.',
    ms: (rtoMs) => Math.max(500, Math.min(5_000, rtoMs / 2)),
  },
} as const satisfies Readonly<Record<string, TimerRule>>

export type TimerName = keyof typeof TIMER_RULES
export type Timers = { readonly [name in TimerName]: number }

const known = new Map<number, Timers>()

/** Asked for many times in a cycle, always with the same few numbers. */
export function timersOf(rtoMs: number): Timers {
  const before = known.get(rtoMs)
  if (before !== undefined) return before
  const entries = Object.entries(TIMER_RULES).map(([name, { ms }]) => [name, ms(rtoMs)] as const)
  const timers = Object.fromEntries(entries) as Timers
  if (known.size < 100) known.set(rtoMs, timers)
  return timers
}
