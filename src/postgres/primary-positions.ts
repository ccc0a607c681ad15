/**
 * Asks the primary where its WAL ends, for bounds of reads: one connection, as the proxy's own role, kept until the primary is another one.
 * The insert position, and not what is flushed: with synchronous_commit=off a commit is acknowledged before its WAL is even written.
 */
import { Client } from 'pg'
import { parseLsn } from '../core/lsn.ts'
import { endOfRecords } from '../core/read-bound.ts'
import type { PrimaryPosition, PrimaryPositions, RoutedNode } from '../ports/proxy.ts'
import { AGENT_DATABASE, PROXY_ROLE } from './layout.ts'

export interface PrimaryPositionsOptions {
  /** A directory when the node is on this machine. */
  readonly socketDirectory: (node: RoutedNode) => string | undefined
  readonly password: () => Promise<string>
  readonly caPem: string
}

const CONNECT_TIMEOUT_MS = 1_000
const QUERY_TIMEOUT_MS = 1_000

const SQL = `SELECT pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text AS lsn,
  pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8) AS timeline`
const SIZES_SQL = `SELECT pg_catalog.current_setting('wal_block_size')::pg_catalog.int4 AS block,
  pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size'))::pg_catalog.int4 AS segment`

interface Connected {
  readonly client: Client
  readonly node: RoutedNode
  readonly blockBytes: number
  readonly segmentBytes: number
}

export class PostgresPrimaryPositions implements PrimaryPositions {
  readonly #options: PrimaryPositionsOptions
  #connected: Promise<Connected> | null = null
  #node: RoutedNode | null = null

  constructor(options: PrimaryPositionsOptions) {
    this.#options = options
  }

  async ask(primary: RoutedNode): Promise<PrimaryPosition> {
    if (this.#node !== null && !isSame(this.#node, primary)) this.close()
    this.#node = primary
    this.#connected ??= this.#connect(primary)
    const connecting = this.#connected
    try {
      const { client, blockBytes, segmentBytes } = await connecting
      const { rows } = await client.query<{ lsn: string; timeline: string }>({ name: 'position', text: SQL })
      const lsn = parseLsn(rows[0]?.lsn ?? '')
      const timelineId = Number.parseInt(rows[0]?.timeline ?? '', 16)
      if (lsn === null || !(timelineId > 0)) throw new Error('the primary gave no position')
      return { timelineId, lsn: endOfRecords(lsn, { blockBytes, segmentBytes }) }
    } catch (error) {
      // Whatever it was: the next question begins anew.
      if (this.#connected === connecting) this.close()
      throw error
    }
  }

  close(): void {
    const connected = this.#connected
    this.#connected = null
    this.#node = null
    connected?.then(
      ({ client }) => client.end().catch(() => undefined),
      () => undefined,
    )
  }

  async #connect(node: RoutedNode): Promise<Connected> {
    const socketDirectory = this.#options.socketDirectory(node)
    const client = new Client({
      host: socketDirectory ?? node.host,
      port: node.port,
      user: PROXY_ROLE,
      database: AGENT_DATABASE,
      password: this.#options.password,
      ssl: socketDirectory === undefined ? { ca: this.#options.caPem } : false,
      application_name: 'understudy proxy positions',
      options: '-c search_path=pg_catalog -c default_transaction_read_only=on',
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      query_timeout: QUERY_TIMEOUT_MS,
      keepAlive: true,
    })
    // What broke is told by the next question.
    client.on('error', () => undefined)
    client.on('end', () => {
      if (this.#node !== null && isSame(this.#node, node)) this.#connected = null
    })
    await client.connect()
    const { rows } = await client.query<{ block: number; segment: number }>(SIZES_SQL)
    return { client, node, blockBytes: rows[0]?.block ?? 8192, segmentBytes: rows[0]?.segment ?? 1 << 24 }
  }
}

function isSame(a: RoutedNode, b: RoutedNode): boolean {
  return a.name === b.name && a.host === b.host && a.port === b.port
}
