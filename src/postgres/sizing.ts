/** The numbers in the configuration, each derived from what a user sets (rto) or has (a disk), with its reasons. PURE. */

const MB = 1024 * 1024
const GB = 1024 * MB

/**
 * Equal on every node and never changed: both can only be changed by a restart, and a standby does not start when its
 * max_wal_senders is below its primary's (manual: 27.4.3). Twenty is enough for seven nodes, each with a stream and a clone under way,
 * plus an archiver, and an unused one costs a few hundred bytes.
 */
export const NEEDED_WALSENDERS = 20
export const NEEDED_SLOTS = 20

/** Below this a standby that only restarts could already need a new clone. */
export const LEAST_WAL_KEEP_MB = 64

/**
 * How much WAL a slot may hold back for a standby that does not take it; afterwards that standby needs a new clone. It must be
 * finite: a standby that is gone for good would otherwise fill the primary's disk and stop it.
 *  - a tenth of the disk, so that seven nodes on one disk (a laptop) still leave room for data
 *  - at most 64 GB: a standby that is further behind is cloned faster than it catches up
 *  - at least 512 MB, or a standby that restarts under load is lost on a tiny disk
 */
export function slotWalKeepMb(diskBytes: number): number {
  const bounded = Math.min(diskBytes / 10, 64 * GB)
  return Math.floor(Math.max(bounded, 512 * MB) / MB)
}

/**
 * WAL kept without a slot: what a standby needs in the moments when its slot does not exist yet, on a new primary or at a clone's
 * end. A quarter of what slots may hold, and not more than 1 GB, which is minutes of heavy writing.
 */
export function walKeepMb(diskBytes: number): number {
  return Math.floor(Math.max(Math.min(slotWalKeepMb(diskBytes) / 4, 1024), LEAST_WAL_KEEP_MB))
}

export interface StreamTimer {
  /** How it follows from rto. */
  readonly from: string
  readonly why: string
  /** In the unit that its name ends in. */
  readonly of: (rtoMs: number) => number
}

/** Every timer of a stream follows from rto, after which the primary's silence counts as death. */
export const STREAM_TIMERS = {
  walReceiverTimeoutMs: {
    from: 'rto × 1.5, at least 2.5 s',
    why:
      'A standby that has heard nothing must not go on waiting: it asks at half of this time and is answered at once. Longer than rto, so that the ' +
      'agent still sees how old the last word is when it has to judge by it; and not below 2.5 s, since a stall of the disk on either side would cut a healthy stream.',
    of: (rtoMs) => Math.round(Math.max(rtoMs * 1.5, 2_500)),
  },
  walSenderTimeoutMs: {
    from: 'rto × 3, at least 10 s',
    why: 'A standby’s silence is no reason to hurry: cutting its stream early helps nobody, and its own disk may be what is slow.',
    of: (rtoMs) => Math.max(rtoMs * 3, 10_000),
  },
  walReceiverStatusIntervalS: {
    from: 'rto / 3 in whole seconds, at least 1 s',
    why: 'Positions for `status` and routing are at most this old on an idle stream; whole seconds are PostgreSQL’s unit.',
    of: (rtoMs) => Math.max(1, Math.floor(rtoMs / 3_000)),
  },
  connectTimeoutS: {
    from: 'rto in whole seconds, at least 2 s',
    why: 'How long a standby tries to reach its upstream; libpq takes whole seconds and makes two of one.',
    of: (rtoMs) => Math.max(2, Math.ceil(rtoMs / 1_000)),
  },
  keepalivesIdleS: {
    from: 'rto / 3 in whole seconds, at least 1 s',
    why: 'A peer whose machine is gone sends no reset: the kernel’s probes end the connection within about the rto.',
    of: (rtoMs) => Math.max(1, Math.floor(rtoMs / 3_000)),
  },
  keepalivesIntervalS: {
    from: 'always 1 s',
    why: 'Between the kernel’s probes.',
    of: () => 1,
  },
  keepalivesCount: {
    from: 'rto / 2 in whole seconds, at least 2',
    why: 'So many probes without answer end the connection.',
    of: (rtoMs) => Math.max(2, Math.ceil(rtoMs / 2_000)),
  },
  tcpUserTimeoutMs: {
    from: 'rto × 1.5, at least 2.5 s',
    why: 'What was sent and is not acknowledged for so long ends the connection.',
    of: (rtoMs) => Math.round(Math.max(rtoMs * 1.5, 2_500)),
  },
} as const satisfies Readonly<Record<string, StreamTimer>>

export type ReplicationTimings = { readonly [name in keyof typeof STREAM_TIMERS]: number }

export function replicationTimings(rtoMs: number): ReplicationTimings {
  const entries = Object.entries(STREAM_TIMERS).map(([name, timer]) => [name, timer.of(rtoMs)] as const)
  return Object.fromEntries(entries) as ReplicationTimings
}
