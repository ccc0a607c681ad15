/**
 * How far the local server is, for whoever spreads reads: looked at ten times a second while somebody listens, and every few milliseconds
 * while somebody waits. On a connection of its own, so that no look of the agent's waits behind it.
 */
import { randomBytes } from 'node:crypto'
import { parseLsn } from '../core/lsn.ts'
import { endOfRecords } from '../core/read-bound.ts'
import type { PositionReading } from '../ports/proxy.ts'
import { Session, type SessionOptions } from './session.ts'

export interface PositionWatchOptions {
  readonly node: string
  readonly session: Omit<SessionOptions, 'onBreak'>
  readonly nowMs: () => number
}

const CALM_MS = 100
const HURRIED_MS = 3
/** Who waits asks again. */
const HURRY_FOR_MS = 60
/** A reading that says nothing new tells that its agent lives. */
const HEARTBEAT_MS = 200
const CONNECT_DEADLINE_MS = 1_000
const LOOK_DEADLINE_MS = 1_000

const IDENTITY_SQL = `SELECT system_identifier::text AS id, current_setting('wal_block_size')::int AS block,
  pg_size_bytes(current_setting('wal_segment_size'))::int AS segment FROM pg_control_system()`
/** One that is promoted between the two looks at its role fails, and is looked at again. */
const POSITION_SQL = `
SELECT pg_is_in_recovery() AS standby,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END::text AS lsn,
       CASE WHEN pg_is_in_recovery() THEN receiver.received_tli
            ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint END::text AS timeline,
       coalesce(receiver.status = 'streaming', false) AS streaming,
       CASE WHEN NOT pg_is_in_recovery() THEN NULL
            WHEN current_setting('recovery_min_apply_delay') <> '0' THEN 'delayed'
            WHEN pg_is_wal_replay_paused() THEN 'paused' END AS held
FROM (SELECT) AS one LEFT JOIN pg_stat_get_wal_receiver() AS receiver ON receiver.pid IS NOT NULL`

type Listener = (reading: PositionReading) => void

export class PositionWatch {
  readonly #options: PositionWatchOptions
  readonly #listeners = new Set<Listener>()
  #session: Session | null = null
  #incarnation = ''
  #systemIdentifier = ''
  #walSizes = { blockBytes: 0, segmentBytes: 0 }
  /** Of this server, as far as it has said: without a walreceiver nothing else tells it as cheaply. */
  #timelineId: number | null = null
  #newest: PositionReading | null = null
  #toldAtMs = 0
  #hurriedUntilMs = 0
  #timer: NodeJS.Timeout | null = null
  #looking = false
  #closed = false

  constructor(options: PositionWatchOptions) {
    this.#options = options
  }

  /** What is known is told at once. Ends with the returned function. */
  subscribe(listener: Listener): () => void {
    this.#listeners.add(listener)
    if (this.#newest !== null) listener(this.#newest)
    void this.#look()
    return () => {
      this.#listeners.delete(listener)
      if (this.#listeners.size === 0) this.#rest()
    }
  }

  /** Somebody waits. */
  hurry(): void {
    const { nowMs } = this.#options
    this.#hurriedUntilMs = nowMs() + HURRY_FOR_MS
    if (this.#listeners.size > 0) void this.#look()
  }

  close(): void {
    this.#closed = true
    this.#listeners.clear()
    this.#rest()
  }

  /** Nobody listens: nothing is looked at. */
  #rest(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    this.#session?.destroy()
    this.#session = null
    this.#newest = null
  }

  async #look(): Promise<void> {
    if (this.#looking) return
    this.#looking = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    try {
      this.#tell(await this.#read())
    } finally {
      this.#looking = false
    }
    if (this.#listeners.size === 0 || this.#closed) {
      this.#rest()
      return
    }
    const hurried = this.#hurriedUntilMs > this.#options.nowMs()
    this.#timer = setTimeout(() => void this.#look(), hurried ? HURRIED_MS : CALM_MS)
  }

  async #read(): Promise<PositionReading> {
    const session = await this.#connected()
    if (session === null) return this.#unknown()
    const rows = await session.query({ name: 'position', text: POSITION_SQL }, LOOK_DEADLINE_MS)
    const row = rows.kind === 'ok' ? rows.value[0] : undefined
    if (row === undefined || !session.isOpen) return this.#unknown()
    const timeline = row['timeline']
    if (typeof timeline === 'string') this.#timelineId = Number(timeline)
    const { held } = row
    const isStandby = row['standby'] === true
    const lsn = parseLsn(String(row['lsn']))
    return {
      node: this.#options.node,
      role: isStandby ? 'standby' : 'primary',
      systemIdentifier: this.#systemIdentifier,
      timelineId: this.#timelineId,
      // Else standbys of an idle primary would seem to lack something for ever, now and then.
      lsn: lsn === null || isStandby ? lsn : endOfRecords(lsn, this.#walSizes),
      streaming: row['streaming'] === true,
      heldBack: held === 'delayed' || held === 'paused' ? held : null,
      incarnation: this.#incarnation,
    }
  }

  async #connected(): Promise<Session | null> {
    if (this.#session?.isOpen === true) return this.#session
    this.#session = null
    // Whoever broke the connection may have been the whole server, which then replays from an earlier point on.
    const connected = await Session.connect(
      { ...this.#options.session, onBreak: () => this.#broken() },
      CONNECT_DEADLINE_MS,
    )
    if (connected.kind !== 'ok') return null
    const rows = await connected.value.query({ text: IDENTITY_SQL }, LOOK_DEADLINE_MS)
    const row = rows.kind === 'ok' ? rows.value[0] : undefined
    const id = row?.['id']
    if (typeof id !== 'string' || this.#closed) {
      connected.value.destroy()
      return null
    }
    this.#systemIdentifier = id
    this.#walSizes = { blockBytes: Number(row?.['block']), segmentBytes: Number(row?.['segment']) }
    this.#incarnation = randomBytes(6).toString('hex')
    this.#timelineId = null
    this.#session = connected.value
    return connected.value
  }

  /** Told at once: nobody may rely on what it had replayed before. */
  #broken(): void {
    if (this.#looking || this.#listeners.size === 0) return
    this.#tell(this.#unknown())
    void this.#look()
  }

  #tell(reading: PositionReading): void {
    const now = this.#options.nowMs()
    const before = this.#newest
    if (before !== null && isSame(before, reading) && now - this.#toldAtMs < HEARTBEAT_MS) return
    this.#newest = reading
    this.#toldAtMs = now
    for (const listener of this.#listeners) listener(reading)
  }

  #unknown(): PositionReading {
    return {
      node: this.#options.node,
      role: 'unknown',
      systemIdentifier: '',
      timelineId: null,
      lsn: null,
      streaming: false,
      heldBack: null,
      incarnation: '',
    }
  }
}

function isSame(a: PositionReading, b: PositionReading): boolean {
  return (
    a.lsn === b.lsn &&
    a.role === b.role &&
    a.timelineId === b.timelineId &&
    a.streaming === b.streaming &&
    a.heldBack === b.heldBack &&
    a.incarnation === b.incarnation
  )
}
