/**
 * Several writers and a reader, which look for a primary by themselves and keep a history of what they sent and were told. Writers write
 * ever new numbers, as rows and at the ends of lists; no number is ever sent twice, so whatever is there twice was made by the cluster.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { PrimaryFinder } from './finder.ts'
import type { FinalState, Operation, Outcome, Reading } from './history.ts'
import { type ConnectionOf, reasonOf, refusalOf, Session } from './session.ts'

export interface WorkloadOptions {
  readonly nodes: readonly string[]
  readonly connectionOf: ConnectionOf
  /** For looking at the end: into the same database, as a role that sees everything. */
  readonly superuserOf: ConnectionOf
  readonly writers?: number
  /** Between two operations of one writer. */
  readonly pauseMs?: number
  readonly lists?: number
  /** SET in every session, to break a promise on purpose. */
  readonly synchronousCommit?: 'local' | 'off'
  /** Of a client with an answer. */
  readonly patienceMs?: number
}

/** Longer than a failover that goes well. Whoever waits longer at a primary that hangs measures his own patience. */
const OPERATION_MS = 1_500
const CONNECT_MS = 1_500
const READ_EVERY_MS = 100

/** read_only_sql_transaction: whoever says so is no primary any more. */
const READ_ONLY = '25006'

const TIMELINE = `('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int`

const SCHEMA = `
CREATE TABLE IF NOT EXISTS written (value bigint NOT NULL, round int NOT NULL);
CREATE TABLE IF NOT EXISTS lists (round int, list int, items bigint[] NOT NULL DEFAULT '{}', PRIMARY KEY (round, list));`

export class Workload {
  readonly #options: WorkloadOptions
  readonly #finder: PrimaryFinder
  readonly #lists: number
  #round = 0
  #next = 1
  #running = false
  #loops: readonly Promise<void>[] = []
  #operations: Operation[] = []
  #readings: Reading[] = []
  /** When each write of this round was acknowledged, in order of time. */
  readonly acknowledgedAtMs: number[] = []

  constructor(options: WorkloadOptions) {
    this.#options = options
    this.#lists = options.lists ?? 6
    this.#finder = new PrimaryFinder(options.nodes, options.connectionOf)
  }

  get operations(): readonly Operation[] {
    return this.#operations
  }

  get readings(): readonly Reading[] {
    return this.#readings
  }

  get round(): number {
    return this.#round
  }

  /** A new round with empty lists, once they are acknowledged; the histories of earlier ones are dropped. */
  async begin(deadlineMs = 60_000): Promise<void> {
    if (this.#running) throw new Error('the round before has not ended')
    this.#round++
    this.#operations = []
    this.#readings = []
    this.acknowledgedAtMs.length = 0
    await this.#prepare(performance.now() + deadlineMs)
    this.#running = true
    const { writers = 4 } = this.#options
    this.#loops = [...Array.from({ length: writers }, (_, index) => this.#write(index)), this.#read()]
  }

  /** Nothing is written any more when it returns. */
  async end(): Promise<void> {
    this.#running = false
    await Promise.all(this.#loops)
  }

  async close(): Promise<void> {
    this.#running = false
    await this.#finder.close()
    await Promise.all(this.#loops)
  }

  async #prepare(deadline: number): Promise<void> {
    const rows = Array.from({ length: this.#lists }, (_, list) => `(${this.#round}, ${list})`).join(', ')
    const text = `${SCHEMA} INSERT INTO lists (round, list) VALUES ${rows} ON CONFLICT DO NOTHING;`
    for (;;) {
      const session = await this.#connect(0)
      try {
        if (session === null) throw new Error('the workload was closed')
        await session.query(text, [], OPERATION_MS)
        return
      } catch (error) {
        if (performance.now() > deadline || session === null) throw error
        await sleep(100)
      } finally {
        await session?.close()
      }
    }
  }

  async #connect(preference: number): Promise<Session | null> {
    const node = await this.#finder.find(preference)
    if (node === null) return null
    const session = await Session.open(node, this.#options.connectionOf, CONNECT_MS)
    const { synchronousCommit } = this.#options
    if (synchronousCommit !== undefined)
      await session.query(`SET synchronous_commit = ${synchronousCommit}`, [], CONNECT_MS)
    return session
  }

  async #write(index: number): Promise<void> {
    const { pauseMs = 10 } = this.#options
    let session: Session | null = null
    for (let turn = index; this.#running; turn++) {
      try {
        session ??= await this.#connect(index)
      } catch {
        await sleep(pauseMs)
        continue
      }
      if (session === null) break
      await this.#operate(session, turn)
      if (!session.isOpen) session = null
      await sleep(pauseMs)
    }
    await session?.close()
  }

  /** Every third is of each kind. */
  async #operate(session: Session, turn: number): Promise<void> {
    const kind = (['insert', 'append', 'rewrite'] as const)[turn % 3] ?? 'insert'
    const value = this.#next++
    const list = kind === 'insert' ? null : Math.floor(Math.random() * this.#lists)
    const startedAtMs = performance.now()
    const { patienceMs = OPERATION_MS } = this.#options
    const done = await execute(session, { kind, value, list: list ?? 0, round: this.#round, patienceMs })
    const endedAtMs = performance.now()
    this.#operations.push({
      value,
      kind,
      list,
      round: this.#round,
      node: session.node,
      startedAtMs,
      endedAtMs,
      ...done,
    })
    if (done.outcome === 'acknowledged') this.acknowledgedAtMs.push(endedAtMs)
  }

  async #read(): Promise<void> {
    let session: Session | null = null
    for (let turn = 0; this.#running; turn++) {
      try {
        session ??= await this.#connect(turn)
        if (session === null) break
        await this.#readOne(session, turn % this.#lists)
      } catch {
        session?.abandon()
        session = null
      }
      await sleep(READ_EVERY_MS)
    }
    await session?.close()
  }

  async #readOne(session: Session, list: number): Promise<void> {
    const startedAtMs = performance.now()
    const { rows } = await session.query<{ items: string[]; timeline: number }>(
      `SELECT items, ${TIMELINE} AS timeline FROM lists WHERE round = $1 AND list = $2`,
      [this.#round, list],
      OPERATION_MS,
    )
    const [row] = rows
    if (row === undefined) return
    this.#readings.push({
      round: this.#round,
      node: session.node,
      timelineId: row.timeline,
      list,
      items: row.items.map(Number),
      startedAtMs,
      endedAtMs: performance.now(),
    })
  }

  /** What a node has of a round; all nodes must have replayed everything. Rounds of `undefined`: of all. */
  async finalState(node: string, round?: number): Promise<FinalState> {
    const session = await Session.open(node, this.#options.superuserOf, CONNECT_MS)
    const which = round === undefined ? 'true' : `round = ${round}`
    try {
      const { rows } = await session.query<{
        standby: boolean
        timeline: number
        identifier: string
        checksum: string
        values: string[] | null
        lists: Record<string, number[]> | null
      }>(
        `SELECT pg_is_in_recovery() AS standby,
          CASE WHEN pg_is_in_recovery()
            THEN (SELECT received_tli FROM pg_stat_wal_receiver)
            ELSE ${TIMELINE} END AS timeline,
          (SELECT system_identifier::text FROM pg_control_system()) AS identifier,
          md5(coalesce((SELECT string_agg(value || ':' || round, ',' ORDER BY round, value) FROM written WHERE ${which}), '')
            || coalesce((SELECT string_agg(round || ':' || list || ':' || items::text, ';' ORDER BY round, list)
              FROM lists WHERE ${which}), '')) AS checksum,
          (SELECT array_agg(value) FROM written WHERE ${which}) AS values,
          (SELECT jsonb_object_agg(list, items) FROM lists WHERE ${which}) AS lists`,
        [],
        60_000,
      )
      const [row] = rows
      if (row === undefined) throw new Error(`${node} has no answer`)
      return {
        node,
        role: row.standby ? 'standby' : 'primary',
        timelineId: row.timeline,
        systemIdentifier: row.identifier,
        checksum: row.checksum,
        values: (row.values ?? []).map(Number),
        lists: new Map(Object.entries(row.lists ?? {}).map(([list, items]) => [Number(list), items])),
      }
    } finally {
      await session.close()
    }
  }
}

interface Write {
  readonly kind: Operation['kind']
  readonly value: number
  readonly list: number
  readonly round: number
  readonly patienceMs: number
}

type Done = Pick<Operation, 'timelineId' | 'outcome' | 'reason'>

async function execute(session: Session, write: Write): Promise<Done> {
  if (write.kind === 'rewrite') return rewrite(session, write)
  const { value, list, round, patienceMs } = write
  const [text, values] =
    write.kind === 'insert'
      ? [
          `INSERT INTO written (value, round) VALUES ($1, $2) RETURNING ${TIMELINE} AS timeline`,
          [value, round],
        ]
      : [
          `UPDATE lists SET items = items || $1::bigint WHERE round = $2 AND list = $3 RETURNING ${TIMELINE} AS timeline`,
          [value, round, list],
        ]
  try {
    const { rows } = await session.query<{ timeline: number }>(text, values, patienceMs)
    // Nothing to append to: then nothing was written.
    if (rows.length === 0) return { timelineId: null, outcome: 'failed', reason: 'no such list' }
    return acknowledged(rows[0]?.timeline)
  } catch (error) {
    const refusal = refusalOf(error)
    if (refusal.reason.startsWith(READ_ONLY)) session.abandon()
    return { timelineId: null, ...refusal }
  }
}

/** Before COMMIT is sent nothing can have been committed, whatever happens to the connection. */
async function rewrite(session: Session, { value, list, round, patienceMs }: Write): Promise<Done> {
  let timelineId: number | null = null
  try {
    await session.query('BEGIN ISOLATION LEVEL SERIALIZABLE', [], patienceMs)
    const read = await session.query<{ items: string[]; timeline: number }>(
      `SELECT items, ${TIMELINE} AS timeline FROM lists WHERE round = $1 AND list = $2`,
      [round, list],
      patienceMs,
    )
    const items = read.rows[0]?.items
    if (items === undefined) throw new Error('no such list')
    timelineId = read.rows[0]?.timeline ?? null
    await session.query(
      'UPDATE lists SET items = $1::bigint[] WHERE round = $2 AND list = $3',
      [[...items, value], round, list],
      patienceMs,
    )
  } catch (error) {
    const reason = reasonOf(error)
    if (session.isOpen) await session.query('ROLLBACK', [], patienceMs).catch(() => session.abandon())
    return { timelineId, outcome: 'failed', reason }
  }
  try {
    const { command } = await session.query('COMMIT', [], patienceMs)
    if (command !== 'COMMIT')
      return { timelineId, outcome: 'failed', reason: `COMMIT was answered with ${command}` }
    return acknowledged(timelineId)
  } catch (error) {
    return { timelineId, ...refusalOf(error) }
  }
}

function acknowledged(timelineId: number | null | undefined): Done {
  const outcome: Outcome = 'acknowledged'
  return { timelineId: timelineId ?? null, outcome, reason: '' }
}
