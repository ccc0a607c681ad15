/**
 * Eight reads and two writes out of ten on the port `auto`, as clients that look after themselves: how many reads standbys serve, and whether any
 * of them misses what its own session had written.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { connectTo, type Peer, type PeerName } from './peers.ts'
import type { BenchServer } from './server.ts'

export interface ReadsSample {
  readonly peer: PeerName
  readonly round: number
  readonly reads: number
  readonly atStandbys: number
  readonly writes: number
  /** Reads that showed something older than the last acknowledged write of their own session. */
  readonly missed: number
}

const CLIENTS = 20
const WRITES = 0.2
/** Of a client between two statements: what is measured is where reads go, and not how many. */
const PAUSE_MS = 5
/** A session that is idle tells its counts after ten seconds (PGSTAT_IDLE_INTERVAL). */
const COUNTED_AFTER_MS = 11_000

const SCHEMA = `CREATE TABLE IF NOT EXISTS mixed (id int PRIMARY KEY, value bigint NOT NULL);
INSERT INTO mixed SELECT id, 0 FROM generate_series(1, ${CLIENTS}) AS id ON CONFLICT (id) DO UPDATE SET value = 0`

/**
 * Every client has a row of its own and a connection of its own, which it keeps. Where reads went is counted at the nodes: asking in the
 * read itself, which node it is, would keep it on the primary.
 */
export async function measureReads(
  peer: Peer,
  server: BenchServer,
  options: { readonly round: number; readonly seconds: number },
): Promise<ReadsSample> {
  const clients = await Promise.all(Array.from({ length: CLIENTS }, () => connectTo(peer)))
  try {
    await clients[0]?.query(SCHEMA)
    await waitForRows(clients)
    await sleep(COUNTED_AFTER_MS)
    const scansBefore = await scansAtStandbys(server)
    const untilMs = performance.now() + 1_000 * options.seconds
    const each = await Promise.all(clients.map((client, index) => mix(client, index + 1, untilMs)))
    const sum = (pick: (of: Counts) => number): number =>
      each.reduce((total, counts) => total + pick(counts), 0)
    await sleep(COUNTED_AFTER_MS)
    const atStandbys = (await scansAtStandbys(server)) - scansBefore
    return {
      ...{ peer: peer.name, round: options.round, reads: sum(({ reads }) => reads), atStandbys },
      ...{ writes: sum(({ writes }) => writes), missed: sum(({ missed }) => missed) },
    }
  } finally {
    await Promise.all(clients.map((client) => client.end().catch(() => {})))
  }
}

interface Counts {
  reads: number
  writes: number
  missed: number
}

async function mix(client: pg.Client, id: number, untilMs: number): Promise<Counts> {
  const counts: Counts = { reads: 0, writes: 0, missed: 0 }
  for (let value = 0; performance.now() < untilMs; await sleep(PAUSE_MS)) {
    if (Math.random() < WRITES) {
      value++
      await client.query('UPDATE mixed SET value = $1 WHERE id = $2', [value, id])
      counts.writes++
      continue
    }
    const { rows } = await client.query<{ value: string }>('SELECT value FROM mixed WHERE id = $1', [id])
    counts.reads++
    if (Number(rows[0]?.value ?? -1) < value) counts.missed++
  }
  return counts
}

/** Of the table that nobody else there reads. */
async function scansAtStandbys({ nodes, cluster }: BenchServer): Promise<number> {
  const counts = await Promise.all(
    nodes.slice(1).map(async ({ socketDirectory, port }) => {
      const client = new pg.Client({
        ...{ host: socketDirectory, port, user: 'postgres', database: 'app' },
        password: cluster.secret('superuser'),
      })
      await client.connect()
      try {
        const text = "SELECT seq_scan + idx_scan AS scans FROM pg_stat_user_tables WHERE relname = 'mixed'"
        return Number((await client.query<{ scans: string }>(text)).rows[0]?.scans ?? 0)
      } finally {
        await client.end()
      }
    }),
  )
  return counts.reduce((sum, count) => sum + count, 0)
}

/** The one that made them need not be the one that reads them. */
async function waitForRows(clients: readonly pg.Client[]): Promise<void> {
  for (const client of clients)
    for (let attempt = 0; attempt < 200; attempt++) {
      const made = await client.query('SELECT sum(value) AS sum FROM mixed').then(
        ({ rows }) => Number(rows[0]?.['sum']) === 0,
        () => false,
      )
      if (made) break
      await sleep(20)
    }
}
