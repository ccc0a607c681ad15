/**
 * The proxy beside its peers: pgbench through each of them in turns, memory of idle clients, and what clients see of a change of primary.
 * `npm run bench:proxy -- --help`.
 */
import { cpus, loadavg } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { figuresOf, type Samples } from './support/proxy/figures.ts'
import { type IdleSample, measureIdle } from './support/proxy/idle.ts'
import { OutageCluster, type OutageKind, type OutageSample } from './support/proxy/outage.ts'
import { type MissingPeer, PEER_NAMES, type Peer, type PeerName, startPeer } from './support/proxy/peers.ts'
import { Pgbench } from './support/proxy/pgbench.ts'
import { minutes, Progress, tell } from './support/proxy/progress.ts'
import { reportFigures, reportRest, reportSpeed } from './support/proxy/report.ts'
import { BenchServer } from './support/proxy/server.ts'
import { type Cell, cellsOf, measure, type Sample, SPEED_SECTIONS, secondsOf } from './support/proxy/speed.ts'

const OUTAGES: readonly OutageKind[] = ['switchover', 'death']
const SECTIONS = [...SPEED_SECTIONS, 'idle', ...OUTAGES]

const USAGE = `npm run bench:proxy -- [options]
  --only LIST    ${SECTIONS.join(',')}
  --peers LIST   beside it: ${PEER_NAMES.filter((name) => name !== 'understudy').join(',')} (all that are installed)
  --clients LIST (1,10,50,100,1000)
  --rounds N     of everything; the figures are their medians (5)
  --seconds N    of pgbench for each number (3)
  --idle N       clients that do nothing (1000)
  --scale N      of pgbench's tables (10)
  --pg VERSION   as for understudy up (15)
  --rto TIME     of the cluster whose primary changes (3s)
  --before DIR   another checkout, built: its proxy is measured beside this one and compared with it
  --quick        whether it runs: one round of one second, 10 clients, 50 idle ones
  --json         print every sample as JSON

It prints at first how long it will take, and ends after twice that, whatever happens.`

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: SECTIONS.join(',') },
    peers: { type: 'string', default: PEER_NAMES.join(',') },
    clients: { type: 'string' },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    idle: { type: 'string' },
    scale: { type: 'string' },
    pg: { type: 'string', default: '15' },
    rto: { type: 'string', default: '3s' },
    before: { type: 'string' },
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

interface Plan {
  readonly sections: readonly string[]
  readonly cells: readonly Cell[]
  readonly peers: readonly PeerName[]
  readonly rounds: number
  readonly seconds: number
  readonly idleClients: number
  readonly scale: number
}

/** Set-up of the server and of the cluster, warming up, one change of primary with its mending, one round of idle clients. */
const SECONDS = { server: 30, peer: 5, cluster: 20, switchover: 8, death: 12, idle: 15 } as const

if (values.help) console.log(USAGE)
else await main()

async function main(): Promise<void> {
  const plan = makePlan()
  const startedAtMs = performance.now()
  const expectedSeconds = expected(plan)
  const deadlineMs = startedAtMs + 2_000 * expectedSeconds
  tell(
    `about ${minutes(expectedSeconds)}, at most ${minutes(2 * expectedSeconds)}; load ${loadavg()[0]?.toFixed(1)}, ${cpus().length} cores`,
  )
  const progress = new Progress({ rounds: plan.rounds, expectedSeconds, deadlineMs })
  const speedAndIdle = await measureProxies(plan, progress)
  const outages = await measureOutages(plan, progress)
  const samples: Samples = { ...speedAndIdle, outages: outages.samples }
  const loads = { atTheEnd: loadavg()[0] ?? Number.NaN, highest: progress.highestLoad }
  const machine = { cores: cpus().length, node: process.version, loads }
  const figures = [
    ...figuresOf(samples),
    ...(values.before === undefined ? [] : figuresOf({ ...samples, idle: [], outages: [] }, 'before')),
  ]
  if (values.json) {
    console.log(
      JSON.stringify(
        { machine, plan, given: speedAndIdle.given, ...samples, accounts: outages.account, figures },
        null,
        2,
      ),
    )
    return
  }
  const lines = [
    ...speedAndIdle.given.map(({ name, given }) => `${name.padEnd(12)} ${given}`),
    ...reportSpeed(samples.speed, plan.peers),
    ...reportRest(samples),
    ...(outages.account === null ? [] : [outages.account]),
    ...reportFigures(figures),
    `${machine.cores} cores, Node ${machine.node}, load ${loads.atTheEnd.toFixed(1)} at the end, highest ${loads.highest.toFixed(1)}, ${minutes((performance.now() - startedAtMs) / 1_000)}`,
  ]
  console.log(lines.join('\n'))
}

function makePlan(): Plan {
  const { quick } = values
  const sections = listed(values.only, SECTIONS, '--only')
  const clients = (values.clients ?? (quick ? '10' : '1,10,50,100,1000'))
    .split(',')
    .map((text) => countOf('--clients', text))
  const peers = listed(values.peers, PEER_NAMES, '--peers')
  const wanted = PEER_NAMES.filter((name) => name === 'understudy' || peers.includes(name))
  return {
    sections,
    cells: sections.flatMap((section) => cellsOf(section, clients)),
    peers: values.before === undefined ? wanted : [...wanted, 'before'],
    rounds: countOf('--rounds', values.rounds ?? (quick ? '1' : '5')),
    seconds: countOf('--seconds', values.seconds ?? (quick ? '1' : '3')),
    idleClients: countOf('--idle', values.idle ?? (quick ? '50' : '1000')),
    scale: countOf('--scale', values.scale ?? (quick ? '2' : '10')),
  }
}

function listed<T extends string>(text: string, known: readonly T[], flag: string): readonly T[] {
  return text.split(',').map((name) => {
    const found = known.find((each) => each === name.trim())
    if (found === undefined) throw new Error(`${flag} ${name}: it is one of ${known.join(', ')}`)
    return found
  })
}

function countOf(flag: string, text: string): number {
  const count = Number(text)
  if (!Number.isInteger(count) || count < 1) throw new Error(`${flag} ${text} is no number from 1 on`)
  return count
}

function expected({ sections, cells, peers, rounds, seconds }: Plan): number {
  const speed = cells.reduce((sum, cell) => sum + secondsOf(cell, seconds), 0) * peers.length * rounds
  const has = (section: string): boolean => sections.includes(section)
  const idle = has('idle') ? SECONDS.idle * rounds * peers.length : 0
  const proxies = speed + idle > 0 ? SECONDS.server + SECONDS.peer * peers.length : 0
  const outages = OUTAGES.filter(has).reduce((sum, kind) => sum + SECONDS[kind] * rounds, 0)
  return speed + idle + proxies + outages + (outages > 0 ? SECONDS.cluster : 0)
}

async function measureProxies(
  plan: Plan,
  progress: Progress,
): Promise<Omit<Samples, 'outages'> & { readonly given: readonly { name: PeerName; given: string }[] }> {
  const isIdleWanted = plan.sections.includes('idle')
  if (plan.cells.length === 0 && !isIdleWanted) return { speed: [], idle: [], given: [] }
  const pgbench = Pgbench.find()
  tell('one node with the tables of pgbench')
  const server = await BenchServer.start(pgbench, { pg: values.pg, scale: plan.scale })
  const peers: Peer[] = []
  try {
    for (const name of plan.peers) {
      const peer = await startPeer(
        name,
        server,
        values.before === undefined ? null : path.resolve(values.before),
      )
      if (isMissing(peer)) tell(`left out: ${peer.name} is not installed. HINT: ${peer.hint}`)
      else peers.push(peer)
    }
    // First of all: as they are started, and not as hours of load have left them.
    const idle = isIdleWanted ? await measureAllIdle(plan, peers, progress) : []
    if (plan.cells.length > 0) await warmUp(pgbench, peers)
    const speed: Sample[] = []
    for (const turn of turnsOf(plan, peers)) {
      if (
        !progress.goesOn(turn.round, `${turn.cell.section}, ${turn.cell.clients} clients, ${turn.peer.name}`)
      )
        break
      const sample = await measure(pgbench, turn.peer, turn.cell, {
        seconds: plan.seconds,
        round: turn.round,
      }).catch((error: Error) => tell(`failed: ${error.message}`))
      if (sample !== undefined) speed.push(sample)
    }
    return { speed, idle, given: peers.map(({ name, given }) => ({ name, given })) }
  } finally {
    await Promise.all(peers.map((peer) => peer.stop()))
    await server.remove()
  }
}

function isMissing(peer: Peer | MissingPeer): peer is MissingPeer {
  return 'hint' in peer
}

/** Everybody begins each round at another place of it. */
function* turnsOf(
  plan: Plan,
  peers: readonly Peer[],
): Generator<{ readonly round: number; readonly cell: Cell; readonly peer: Peer }> {
  for (const cell of plan.cells)
    for (const peer of peers) {
      const why = peer.missing(cell.mode, cell.clients)
      if (why !== null) tell(`left out: ${peer.name} in ${cell.section} with ${cell.clients} clients: ${why}`)
    }
  for (let round = 1; round <= plan.rounds; round++)
    for (const cell of plan.cells) {
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

async function measureAllIdle(plan: Plan, peers: readonly Peer[], progress: Progress): Promise<IdleSample[]> {
  const samples: IdleSample[] = []
  const able = peers.filter(
    (peer) => peer.pids.length > 0 && peer.missing('simple', plan.idleClients) === null,
  )
  for (let round = 1; round <= plan.rounds; round++)
    for (const peer of able)
      if (progress.goesOn(round, `${plan.idleClients} idle clients, ${peer.name}`))
        samples.push(await measureIdle(peer, plan.idleClients, round))
  return samples
}

async function measureOutages(
  plan: Plan,
  progress: Progress,
): Promise<{ readonly samples: readonly OutageSample[]; readonly account: string | null }> {
  const kinds = OUTAGES.filter((kind) => plan.sections.includes(kind))
  if (kinds.length === 0) return { samples: [], account: null }
  tell('a cluster of three and fifty clients')
  const cluster = await OutageCluster.start({ pg: values.pg, rto: values.rto })
  try {
    const samples: OutageSample[] = []
    for (let round = 1; round <= plan.rounds; round++)
      for (const kind of kinds)
        if (progress.goesOn(round, kind)) samples.push(await cluster.measure(kind, round))
    const { acknowledged, missing, ghosts } = await cluster.account()
    const account = `${acknowledged} rows acknowledged, ${missing} of them missing; ${ghosts} are there that certainly did not happen`
    return { samples, account }
  } finally {
    await cluster.remove()
  }
}
