/**
 * Sessions that write and read lists and registers through one address, at every level, and hand tokens to one another: what they did and saw
 * is the history that `checkCausality` looks at. Each is one connection; a connection that broke is followed by another session.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { Random } from '../../../sim/random.ts'
import type { CausalHistory, Event, ReadLevel } from './causality.ts'

export interface CausalClientsOptions {
  readonly seed: number
  readonly sessions: number
  /** Through the proxy, on the port where reads may go to standbys. `options`: start-up parameters. */
  connect(options: string): Promise<pg.Client>
  /**
   * The clients read at level eventual and say that they did not: the checker must find that. For seeing that a run can fail.
   */
  readonly lie?: boolean
}

const LEVELS: readonly ReadLevel[] = ['session', 'monotonic', 'token', 'session', 'eventual']
const LISTS = 6
const REGISTERS = 4
/** After so many values a list is left and another begun, so that reading them stays quick. */
const LIST_VALUES = 300
const PAUSE_MS = 4
const RECONNECT_MS = 100
/** Of tokens, the newest are handed on: an old one asks for nothing. */
const RECENT_TOKENS = 8

/** What certainly did not happen: refused, or rolled back. */
const CERTAINLY_NOT = new Set(['40001', '57P03', '53300', '25006'])

export const CAUSAL_SCHEMA = `
  CREATE TABLE IF NOT EXISTS causal_lists (id text PRIMARY KEY, items int[] NOT NULL DEFAULT '{}');
  CREATE TABLE IF NOT EXISTS causal_registers (id text PRIMARY KEY, version int NOT NULL, value int NOT NULL);
  CREATE TABLE IF NOT EXISTS causal_log (id text, version int, value int, PRIMARY KEY (id, version))`

/** One statement each, so that it is one transaction also when it is autocommit. */
const APPEND =
  'INSERT INTO causal_lists AS l VALUES ($1, ARRAY[$2::int]) ON CONFLICT (id) DO UPDATE SET items = l.items || $2::int'
const OVERWRITE = `WITH w AS (INSERT INTO causal_registers AS r VALUES ($1, 1, $2::int)
    ON CONFLICT (id) DO UPDATE SET version = r.version + 1, value = excluded.value RETURNING id, version, value)
  INSERT INTO causal_log SELECT id, version, value FROM w`
const READ_LIST = 'SELECT items FROM causal_lists WHERE id = $1'
const READ_REGISTER = 'SELECT version, value FROM causal_registers WHERE id = $1'

/** A register's read until the end is known: only then it can be said what came before its value. */
type Recorded =
  | Event
  | (Omit<Extract<Event, { kind: 'read' }>, 'seen'> & { readonly version: number; readonly value: number })

interface Token {
  readonly token: number
  readonly text: string
}

export class CausalClients {
  readonly #options: CausalClientsOptions
  readonly #events: Recorded[] = []
  readonly #tokens: Token[] = []
  /** Codes of errors, and how often. */
  readonly errors = new Map<string, number>()
  #session = 0
  #value = 0
  #token = 0
  #stopping = false
  readonly #done: Promise<unknown>

  constructor(options: CausalClientsOptions) {
    this.#options = options
    this.#done = Promise.all(Array.from({ length: options.sessions }, (_, index) => this.#live(index)))
  }

  get operations(): number {
    return this.#events.length
  }

  /** Ends when each has had its answer, or its connection has broken. */
  async stop(): Promise<void> {
    this.#stopping = true
    await this.#done
  }

  /** `primary` is asked for what there is at the end; nothing is written any more. */
  async history(primary: pg.Client): Promise<CausalHistory> {
    const finals = new Map<string, readonly number[]>()
    const lists = await primary.query<{ id: string; items: number[] }>('SELECT id, items FROM causal_lists')
    for (const { id, items } of lists.rows) finals.set(id, items)
    const log = await primary.query<{ id: string; values: number[] }>(
      'SELECT id, array_agg(value ORDER BY version) AS values FROM causal_log GROUP BY id',
    )
    for (const { id, values } of log.rows) finals.set(id, values)
    const writtenAt = new Map<number, number>()
    for (const [index, event] of this.#events.entries())
      if (event.kind === 'write') writtenAt.set(event.value, index)
    const events = this.#events.map((event): Event => {
      if (!('version' in event)) return event
      const { version, value, ...read } = event
      return { ...read, seen: behind(finals.get(read.object) ?? [], version, value, writtenAt) }
    })
    return { events, finals }
  }

  async #live(index: number): Promise<void> {
    const random = new Random(this.#options.seed * 1000 + index)
    const level = LEVELS[index % LEVELS.length] ?? 'session'
    while (!this.#stopping) {
      let client: pg.Client | null = null
      try {
        client = await this.#options.connect(index % 2 === 1 ? '-c synchronous_commit=off' : '')
        await client.query(`SET understudy.level = '${this.#options.lie === true ? 'eventual' : level}'`)
        await this.#actUntilBroken(client, { id: ++this.#session, level, random })
      } catch (error) {
        this.#count(error)
        await sleep(RECONNECT_MS)
      } finally {
        await client?.end().catch(() => {})
      }
    }
  }

  /** Until the connection breaks. */
  async #actUntilBroken(
    client: pg.Client,
    session: { id: number; level: ReadLevel; random: Random },
  ): Promise<void> {
    let isBroken = false
    client.on('end', () => {
      isBroken = true
    })
    while (!this.#stopping && !isBroken) {
      try {
        await this.#act(client, session)
      } catch (error) {
        this.#count(error)
        if ((error as { severity?: string }).severity !== 'ERROR') return
        await client.query('ROLLBACK')
      }
      await sleep(session.random.int(2 * PAUSE_MS))
    }
  }

  #act(
    client: pg.Client,
    { id, level, random }: { id: number; level: ReadLevel; random: Random },
  ): Promise<void> {
    const dice = random.next()
    if (dice < 0.18) return this.#append(client, id, random)
    if (dice < 0.3) return this.#overwrite(client, id, random)
    if (dice < 0.36) return this.#takeToken(client, id)
    if (dice < 0.45 && level !== 'eventual') return this.#useToken(client, id, random)
    if (dice < 0.55) return this.#readBoth(client, id, level, random)
    if (dice < 0.8) return this.#readList(client, id, level, random)
    return this.#readRegister(client, id, level, random)
  }

  #list(random: Random): string {
    return `list ${random.int(LISTS)} ${Math.floor(this.#value / (LIST_VALUES * LISTS))}`
  }

  #register(random: Random): string {
    return `register ${random.int(REGISTERS)} ${Math.floor(this.#value / (LIST_VALUES * LISTS))}`
  }

  async #append(client: pg.Client, session: number, random: Random): Promise<void> {
    const object = this.#list(random)
    if (random.chance(0.6))
      return this.#write(session, object, (value) => client.query(APPEND, [object, value]))
    return this.#write(session, object, async (value) => {
      await client.query('BEGIN')
      await client.query(APPEND, [object, value])
      return client.query('COMMIT')
    })
  }

  #overwrite(client: pg.Client, session: number, random: Random): Promise<void> {
    const object = this.#register(random)
    return this.#write(session, object, (value) =>
      client.query({ name: 'overwrite', text: OVERWRITE, values: [object, value] }),
    )
  }

  async #write(
    session: number,
    object: string,
    run: (value: number) => Promise<pg.QueryResult>,
  ): Promise<void> {
    const value = ++this.#value
    try {
      const { command } = await run(value)
      if (command !== 'ROLLBACK')
        this.#events.push({ kind: 'write', session, object, value, outcome: 'acknowledged' })
    } catch (error) {
      const { code = '' } = error as { code?: string }
      if (!CERTAINLY_NOT.has(code))
        this.#events.push({ kind: 'write', session, object, value, outcome: 'unknown' })
      throw error
    }
  }

  async #readList(client: pg.Client, session: number, level: ReadLevel, random: Random): Promise<void> {
    const object = this.#list(random)
    const { rows } = await client.query<{ items: number[] }>(READ_LIST, [object])
    this.#events.push({ kind: 'read', session, level, object, seen: rows[0]?.items ?? [], node: null })
  }

  async #readRegister(client: pg.Client, session: number, level: ReadLevel, random: Random): Promise<void> {
    const object = this.#register(random)
    const { rows } = await client.query<{ version: number; value: number }>({
      name: 'register',
      text: READ_REGISTER,
      values: [object],
    })
    const { version = 0, value = 0 } = rows[0] ?? {}
    this.#events.push({ kind: 'read', session, level, object, version, value, node: null })
  }

  /** In a transaction that goes to one node as a whole. */
  async #readBoth(client: pg.Client, session: number, level: ReadLevel, random: Random): Promise<void> {
    await client.query('BEGIN READ ONLY')
    await this.#readList(client, session, level, random)
    await this.#readRegister(client, session, level, random)
    await client.query('COMMIT')
  }

  async #takeToken(client: pg.Client, session: number): Promise<void> {
    const token = this.#token++
    // At the time of asking: what is acknowledged meanwhile is another session's, and not asked of it.
    const { rows } = await client.query<Record<string, string>>('SHOW understudy.token')
    const text = Object.values(rows[0] ?? {})[0] ?? ''
    this.#events.push({ kind: 'tokenTaken', session, token })
    if (text === '') return
    this.#tokens.push({ token, text })
    if (this.#tokens.length > RECENT_TOKENS) this.#tokens.shift()
  }

  async #useToken(client: pg.Client, session: number, random: Random): Promise<void> {
    if (this.#tokens.length === 0) return
    const { token, text } = random.pick(this.#tokens)
    await client.query(`SET understudy.token = '${text}'`)
    this.#events.push({ kind: 'tokenUsed', session, token })
  }

  #count(error: unknown): void {
    const { code, message } = error as { code?: string; message?: string }
    const name = code ?? message ?? 'unknown'
    this.errors.set(name, (this.errors.get(name) ?? 0) + 1)
  }
}

/**
 * What the reader of a register was told of: its value and all before it. A value that was lost with a primary has a version that another
 * may have now; before it came, of what is there at the end, what has a smaller version and was written earlier.
 */
function behind(
  log: readonly number[],
  version: number,
  value: number,
  writtenAt: ReadonlyMap<number, number>,
): readonly number[] {
  if (version === 0) return []
  if (log[version - 1] === value) return log.slice(0, version)
  const until = writtenAt.get(value) ?? Number.POSITIVE_INFINITY
  return [...log.slice(0, version - 1).filter((each) => (writtenAt.get(each) ?? 0) < until), value]
}
