/**
 * The proxy beside its peers: pgbench through each of them in turns, memory of idle clients, where reads go, and what clients see of a
 * change of primary. `npm run bench:proxy -- --help`.
 */
import { cpus, loadavg } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { figuresOf, type Samples } from './support/proxy/figures.ts'
import type { OutageKind, OutageSample } from './support/proxy/outage.ts'
import { PEER_NAMES, type PeerName } from './support/proxy/peers.ts'
import { minutes, Progress, tell } from './support/proxy/progress.ts'
import { reportFigures, reportRest, reportSpeed } from './support/proxy/report.ts'
import { type Given, type RunOptions, runAtPrimary, runBalanced, runOutages } from './support/proxy/runs.ts'
import { AUTO, type Cell, cellsOf, SPEED_SECTIONS, secondsOf } from './support/proxy/speed.ts'

const OUTAGES: readonly OutageKind[] = ['switchover', 'death']
const SECTIONS = [...SPEED_SECTIONS, 'idle', AUTO, 'reads', ...OUTAGES]
/** Who leads reads to standbys. */
const BALANCERS: readonly PeerName[] = ['understudy', 'pgpool', 'before']

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

interface Plan extends RunOptions {
  readonly sections: readonly string[]
  readonly clients: readonly number[]
  readonly peers: readonly PeerName[]
  readonly idleClients: number
}

/** Set-up of a server or a cluster, warming up of one peer, one change of primary with its mending, one round of idle clients. */
const SECONDS = { setUp: 30, peer: 5, switchover: 8, death: 12, idle: 15, reads: 23 } as const

if (values.help) console.log(USAGE)
else await main()

async function main(): Promise<void> {
  const plan = makePlan()
  const startedAtMs = performance.now()
  const expectedSeconds = expected(plan)
  tell(
    `about ${minutes(expectedSeconds)}, at most ${minutes(2 * expectedSeconds)}; load ${loadavg()[0]?.toFixed(1)}, ${cpus().length} cores`,
  )
  const deadlineMs = startedAtMs + 2_000 * expectedSeconds
  const progress = new Progress({ rounds: plan.rounds, expectedSeconds, deadlineMs })
  const { samples, given, account } = await run(plan, progress)
  const loads = { atTheEnd: loadavg()[0] ?? Number.NaN, highest: progress.highestLoad }
  const machine = { cores: cpus().length, node: process.version, loads }
  const figures = figuresOf(samples)
  if (values.json) {
    console.log(JSON.stringify({ machine, plan, given, ...samples, account, figures }, null, 2))
    return
  }
  const took = minutes((performance.now() - startedAtMs) / 1_000)
  const lines = [
    ...given.map((each) => `${each.name.padEnd(12)} ${each.given}`),
    ...reportSpeed(samples.speed, plan.peers),
    ...reportRest(samples),
    ...(account === null ? [] : [account]),
    ...reportFigures(figures),
    `${machine.cores} cores, Node ${machine.node}, load ${loads.atTheEnd.toFixed(1)} at the end, highest ${loads.highest.toFixed(1)}, ${took}`,
  ]
  console.log(lines.join('\n'))
}

async function run(
  plan: Plan,
  progress: Progress,
): Promise<{ readonly samples: Samples; readonly given: readonly Given[]; readonly account: string | null }> {
  const { atPrimary, balanced, outages, idle, reads } = partsOf(plan)
  const first = await part(
    atPrimary.length > 0 || idle,
    () =>
      runAtPrimary(
        plan.peers,
        { cells: atPrimary, idleClients: idle ? plan.idleClients : 0 },
        plan,
        progress,
      ),
    { speed: [], idle: [], given: [] },
  )
  const second = await part(
    balanced.length > 0 || reads,
    () => runBalanced(balancersOf(plan), { cells: balanced, reads }, plan, progress),
    { speed: [], reads: [], given: [] },
  )
  const third = await part<{ outages: readonly OutageSample[]; account: string | null }>(
    outages.length > 0,
    () => runOutages(outages, plan, progress),
    { outages: [], account: null },
  )
  const samples = {
    ...{ speed: [...first.speed, ...second.speed], idle: first.idle },
    ...{ reads: second.reads, outages: third.outages },
  }
  return { samples, given: [...first.given, ...second.given], account: third.account }
}

/** One that fails is told, and takes nothing from the others. */
async function part<T>(isWanted: boolean, measured: () => Promise<T>, nothing: T): Promise<T> {
  if (!isWanted) return nothing
  try {
    return await measured()
  } catch (error) {
    tell(`failed: ${error instanceof Error ? error.message : String(error)}`)
    process.exitCode = 1
    return nothing
  }
}

interface Parts {
  readonly atPrimary: readonly Cell[]
  readonly balanced: readonly Cell[]
  readonly outages: readonly OutageKind[]
  readonly idle: boolean
  readonly reads: boolean
}

function partsOf({ sections, clients }: Plan): Parts {
  const cells = sections.flatMap((section) => cellsOf(section, clients))
  return {
    atPrimary: cells.filter(({ section }) => section !== AUTO),
    balanced: cells.filter(({ section }) => section === AUTO),
    outages: OUTAGES.filter((kind) => sections.includes(kind)),
    idle: sections.includes('idle'),
    reads: sections.includes('reads'),
  }
}

function balancersOf({ peers }: Plan): readonly PeerName[] {
  return peers.filter((name) => BALANCERS.includes(name))
}

function makePlan(): Plan {
  const { quick } = values
  const peers = listed('--peers', values.peers, PEER_NAMES)
  const wanted = PEER_NAMES.filter((name) => name === 'understudy' || peers.includes(name))
  return {
    sections: listed('--only', values.only, SECTIONS),
    clients: (values.clients ?? (quick ? '10' : '1,10,50,100,1000'))
      .split(',')
      .map((text) => countOf('--clients', text)),
    peers: values.before === undefined ? wanted : [...wanted, 'before'],
    rounds: countOf('--rounds', values.rounds ?? (quick ? '1' : '5')),
    seconds: countOf('--seconds', values.seconds ?? (quick ? '1' : '3')),
    idleClients: countOf('--idle', values.idle ?? (quick ? '50' : '1000')),
    scale: countOf('--scale', values.scale ?? (quick ? '2' : '10')),
    ...{ pg: values.pg, rto: values.rto },
    before: values.before === undefined ? null : path.resolve(values.before),
  }
}

function listed<T extends string>(flag: string, text: string, known: readonly T[]): readonly T[] {
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

function expected(plan: Plan): number {
  const { atPrimary, balanced, outages, idle, reads } = partsOf(plan)
  const { rounds, seconds, peers } = plan
  const ofCells = (cells: readonly Cell[], count: number): number =>
    cells.reduce((sum, cell) => sum + secondsOf(cell, seconds), 0) * count * rounds
  const setUp = (count: number): number => SECONDS.setUp + SECONDS.peer * count
  const few = balancersOf(plan).length
  const first = ofCells(atPrimary, peers.length) + (idle ? SECONDS.idle * rounds * peers.length : 0)
  const second = ofCells(balanced, few) + (reads ? (seconds + SECONDS.reads) * rounds * few : 0)
  const third = outages.reduce((sum, kind) => sum + SECONDS[kind] * rounds, 0)
  return [
    first > 0 ? first + setUp(peers.length) : 0,
    second > 0 ? second + setUp(few) : 0,
    third > 0 ? third + SECONDS.setUp : 0,
  ].reduce((sum, part) => sum + part, 0)
}
