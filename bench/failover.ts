/**
 * How long nobody can write when a primary is lost, or given up on purpose: real clusters of three, a client in a process of its own that
 * tries all nodes, real SIGKILL and SIGSTOP, and packets that are really dropped. Each run ends with the cluster healthy again and every
 * row accounted for.
 * `npm run bench:failover -- --help`.
 */
import { loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { parseDuration } from '../src/config/fields.ts'
import { spread } from './support/cluster-local.ts'
import { FAULTS, FailoverCluster, type FailoverRun, type Fault } from './support/failover-runs.ts'
import { labMissing } from './support/failover-subject.ts'

const USAGE = `npm run bench:failover -- [options]
  --runs N      of each fault (20)
  --faults LIST ${Object.keys(FAULTS).join(',')}
  --pg VERSION  as for --pg of understudy up (15)
  --rto TIME    (3s); with a list, like 3s,1s, each of them
  --retry-ms N  pause of the client between two tries of a node (20)
  --json        print JSON
  --verbose     the phases of each run, from the events of the agents

cut needs root: its cluster is in network namespaces, with etcd where that is installed. It is left out where that cannot be.`

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '20' },
    faults: { type: 'string', default: Object.keys(FAULTS).join(',') },
    pg: { type: 'string', default: '15' },
    rto: { type: 'string', default: '3s' },
    'retry-ms': { type: 'string', default: '20' },
    json: { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

if (values.help) console.log(USAGE)
else await main()

async function main(): Promise<void> {
  const wanted = values.faults.split(',').map((name) => {
    const fault = FAULTS[name]
    if (fault === undefined) throw new Error(`no fault ${name}; there are ${Object.keys(FAULTS).join(', ')}`)
    return fault
  })
  const missing = wanted.some(({ inLab }) => inLab) ? await labMissing() : null
  if (missing !== null) console.error(`left out: what needs network namespaces, because ${missing}`)
  const faults = missing === null ? wanted : wanted.filter(({ inLab }) => inLab !== true)
  for (const rto of values.rto.split(','))
    for (const inLab of [false, true]) {
      const some = faults.filter((fault) => (fault.inLab ?? false) === inLab)
      if (some.length > 0) await measure(some, rto, inLab)
    }
}

async function measure(faults: readonly Fault[], rto: string, inLab: boolean): Promise<void> {
  const cluster = await FailoverCluster.start({
    pg: values.pg,
    rtoMs: durationOf(rto),
    retryMs: Number(values['retry-ms']),
    inLab,
  })
  const runs: FailoverRun[] = []
  try {
    for (let round = 1; round <= Number(values.runs); round++) {
      // In turns, so that whatever changes on the machine meets all of them.
      for (const fault of faults) runs.push(await oneRun(cluster, fault, round))
    }
    const lost = await cluster.account()
    if (values.json) console.log(JSON.stringify({ rto, runs, ...lost }, null, 2))
    else report(faults, rto, runs, lost)
  } finally {
    await cluster.remove()
  }
}

function durationOf(text: string): number {
  const ms = parseDuration(text)
  if (ms === null) throw new Error(`--rto ${text} is no duration`)
  return ms
}

async function oneRun(cluster: FailoverCluster, fault: Fault, round: number): Promise<FailoverRun> {
  const run = await cluster.run(fault)
  if (!values.json) {
    const load = (loadavg()[0] ?? 0).toFixed(1)
    console.log(
      `run ${round}  ${fault.name.padEnd(10)} ${run.from} -> ${run.to}  outage ${Math.round(run.outageMs)} ms  healed ${(run.healedMs / 1_000).toFixed(1)} s  load ${load}`,
    )
    if (values.verbose) for (const line of run.phases) console.log(`    ${line}`)
  }
  return run
}

function report(
  faults: readonly Fault[],
  rto: string,
  runs: readonly FailoverRun[],
  { acknowledged, missing, twice }: Awaited<ReturnType<FailoverCluster['account']>>,
): void {
  console.log(`\nPostgreSQL ${values.pg}, rto ${rto}; write outage in ms, median [min-max]`)
  for (const fault of faults) {
    const of = runs.filter((run) => run.fault === fault.name)
    const outages = spread(
      of.map((run) => run.outageMs),
      0,
    )
    const rejoins = of.flatMap((run) => (run.rejoinMs === null ? [] : [run.rejoinMs / 1_000]))
    const rejoin =
      rejoins.length === 0 ? '' : `; old primary streams after the start of its agent ${spread(rejoins)} s`
    console.log(`${fault.title.padEnd(44)} ${outages} (n=${of.length})${rejoin}`)
  }
  console.log(`${acknowledged} writes acknowledged, ${missing} of them missing, ${twice} rows twice`)
}
