/** The parts of a run: each sets up what it measures, measures it round after round, and takes it down again. */
import { type IdleSample, measureIdle } from './idle.ts'
import { OutageCluster, type OutageKind, type OutageSample } from './outage.ts'
import { type MissingPeer, type Peer, type PeerName, startPeer } from './peers.ts'
import { Pgbench } from './pgbench.ts'
import { type Progress, tell } from './progress.ts'
import { measureReads, type ReadsSample } from './reads.ts'
import { BenchServer } from './server.ts'
import { type Cell, measure, type Sample } from './speed.ts'

export interface RunOptions {
  readonly pg: string
  readonly scale: number
  readonly rounds: number
  readonly seconds: number
  readonly rto: string
  /** The directory of another build, measured as `before`. */
  readonly before: string | null
}

export interface Given {
  readonly name: PeerName
  readonly given: string
}

/** The server, and whoever is installed of `names`; ended whatever happens. */
async function withPeers<T>(
  names: readonly PeerName[],
  options: RunOptions & { readonly balanced: boolean },
  use: (pgbench: Pgbench, peers: readonly Peer[], server: BenchServer) => Promise<T>,
): Promise<T> {
  const pgbench = Pgbench.find()
  tell(options.balanced ? 'three nodes with the tables of pgbench' : 'one node with the tables of pgbench')
  const server = await BenchServer.start(pgbench, { ...options, nodes: options.balanced ? 3 : 1 })
  const peers: Peer[] = []
  try {
    for (const name of names) {
      const peer = await startPeer(name, server, options)
      if (isMissing(peer)) tell(`left out: ${peer.name} is not installed. HINT: ${peer.hint}`)
      else peers.push(peer)
    }
    return await use(pgbench, peers, server)
  } finally {
    await Promise.all(peers.map((peer) => peer.stop()))
    await server.remove()
  }
}

function isMissing(peer: Peer | MissingPeer): peer is MissingPeer {
  return 'hint' in peer
}

/** One server, and every proxy before it. `idleClients`: 0 when that is not asked for. */
export function runAtPrimary(
  names: readonly PeerName[],
  what: { readonly cells: readonly Cell[]; readonly idleClients: number },
  options: RunOptions,
  progress: Progress,
): Promise<{
  readonly speed: readonly Sample[]
  readonly idle: readonly IdleSample[]
  readonly given: readonly Given[]
}> {
  return withPeers(names, { ...options, balanced: false }, async (pgbench, peers) => {
    // First of all: as they are started, and not as hours of load have left them.
    const idle = what.idleClients === 0 ? [] : await runIdle(peers, what.idleClients, options, progress)
    const speed = await runCells(pgbench, peers, what.cells, options, progress)
    return { speed, idle, given: givenOf(peers) }
  })
}

/** Three nodes, and those that lead reads to standbys. */
export function runBalanced(
  names: readonly PeerName[],
  what: { readonly cells: readonly Cell[]; readonly reads: boolean },
  options: RunOptions,
  progress: Progress,
): Promise<{
  readonly speed: readonly Sample[]
  readonly reads: readonly ReadsSample[]
  readonly given: readonly Given[]
}> {
  return withPeers(names, { ...options, balanced: true }, async (pgbench, peers, server) => {
    const reads: ReadsSample[] = []
    if (what.reads)
      for (let round = 1; round <= options.rounds; round++)
        for (const peer of peers)
          if (progress.goesOn(round, `eight reads, two writes, ${peer.name}`))
            reads.push(await measureReads(peer, server, { round, seconds: options.seconds }))
    const speed = await runCells(pgbench, peers, what.cells, options, progress)
    return { speed, reads, given: givenOf(peers) }
  })
}

function givenOf(peers: readonly Peer[]): readonly Given[] {
  return peers.map(({ name, given }) => ({ name, given }))
}

async function runCells(
  pgbench: Pgbench,
  peers: readonly Peer[],
  cells: readonly Cell[],
  { rounds, seconds }: RunOptions,
  progress: Progress,
): Promise<readonly Sample[]> {
  const samples: Sample[] = []
  if (cells.length > 0) await warmUp(pgbench, peers)
  for (const { round, cell, peer } of turnsOf(cells, rounds, peers)) {
    if (!progress.goesOn(round, `${cell.section}, ${cell.clients} clients, ${peer.name}`)) break
    const sample = await measure(pgbench, peer, cell, { seconds, round }).catch((error: Error) =>
      tell(`failed: ${error.message}`),
    )
    if (sample !== undefined) samples.push(sample)
  }
  return samples
}

/** Everybody begins each round at another place of it. */
function* turnsOf(
  cells: readonly Cell[],
  rounds: number,
  peers: readonly Peer[],
): Generator<{ readonly round: number; readonly cell: Cell; readonly peer: Peer }> {
  for (const cell of cells)
    for (const peer of peers) {
      const why = peer.missing(cell.mode, cell.clients)
      if (why !== null) tell(`left out: ${peer.name} in ${cell.section} with ${cell.clients} clients: ${why}`)
    }
  for (let round = 1; round <= rounds; round++)
    for (const cell of cells) {
      const able = peers.filter((peer) => peer.missing(cell.mode, cell.clients) === null)
      const from = round % Math.max(1, able.length)
      for (const peer of [...able.slice(from), ...able.slice(0, from)]) yield { round, cell, peer }
    }
}

async function warmUp(pgbench: Pgbench, peers: readonly Peer[]): Promise<void> {
  const cell = { script: 'select-only', clients: 10, seconds: 2, latencies: false } as const
  for (const peer of peers) {
    tell(`warming up ${peer.name}`)
    await pgbench.run(peer.target, { ...cell, mode: 'simple' })
    await pgbench.run(peer.target, { ...cell, mode: 'extended' })
  }
}

async function runIdle(
  peers: readonly Peer[],
  clients: number,
  { rounds }: RunOptions,
  progress: Progress,
): Promise<readonly IdleSample[]> {
  const samples: IdleSample[] = []
  const able = peers.filter((peer) => peer.pids.length > 0 && peer.missing('simple', clients) === null)
  for (let round = 1; round <= rounds; round++)
    for (const peer of able)
      if (progress.goesOn(round, `${clients} idle clients, ${peer.name}`))
        samples.push(await measureIdle(peer, clients, round))
  return samples
}

/** A cluster of three whose primary changes. */
export async function runOutages(
  kinds: readonly OutageKind[],
  { pg, rto, rounds }: RunOptions,
  progress: Progress,
): Promise<{ readonly outages: readonly OutageSample[]; readonly account: string }> {
  tell('a cluster of three and fifty clients')
  const cluster = await OutageCluster.start({ pg, rto })
  try {
    const outages: OutageSample[] = []
    for (let round = 1; round <= rounds; round++)
      for (const kind of kinds)
        if (progress.goesOn(round, kind)) outages.push(await cluster.measure(kind, round))
    const { acknowledged, missing, ghosts } = await cluster.account()
    const account = `${acknowledged} rows acknowledged, ${missing} of them missing; ${ghosts} are there that certainly did not happen`
    return { outages, account }
  } finally {
    await cluster.remove()
  }
}
