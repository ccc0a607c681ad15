/**
 * How long a start takes: from typing `understudy up --detach` to its end, when all three nodes stream under the quorum and a row was
 * read on each. First starts (nothing there yet) and second ones (the data is there), split by what the agents recorded.
 * `npm run bench:start -- --help`.
 */
import { existsSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { BenchCluster, type Finished, median, type RecordedEvent, spread } from './support/cluster-local.ts'

const USAGE = `npm run bench:start -- [options]
  --runs N     starts of each kind and version (5)
  --pg LIST    versions, as for --pg of understudy up (18,15: the embedded one and Debian's)
  --json       print JSON`

/** Seconds since the command was started, in the order in which they are reached. */
type Marks = Readonly<Record<string, number>>

interface Series {
  readonly pg: string
  readonly kind: 'first' | 'second'
  readonly runs: Marks[]
}

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '5' },
    pg: { type: 'string', default: '18,15' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

if (values.help) console.log(USAGE)
else await main()

async function main(): Promise<void> {
  const versions = values.pg.split(',').filter(isInstalled)
  const series = versions.flatMap((pg): Series[] => [
    { pg, kind: 'first', runs: [] },
    { pg, kind: 'second', runs: [] },
  ])
  for (let round = 1; round <= Number(values.runs); round++) {
    // In turns, so that whatever changes on the machine meets all of them.
    for (const pg of versions) {
      const [first, second] = await startTwice(pg)
      series.find((each) => each.pg === pg && each.kind === 'first')?.runs.push(first)
      series.find((each) => each.pg === pg && each.kind === 'second')?.runs.push(second)
      if (!values.json)
        console.log(`run ${round}  PostgreSQL ${pg}  first ${seconds(first)}  second ${seconds(second)}`)
    }
  }
  report(series)
}

function isInstalled(pg: string): boolean {
  if (pg !== '15' || existsSync('/usr/lib/postgresql/15/bin/postgres')) return true
  console.error('PostgreSQL 15 is left out: apt install postgresql-15')
  return false
}

async function startTwice(pg: string): Promise<readonly [Marks, Marks]> {
  const cluster = await BenchCluster.make(pg)
  try {
    const first = await cluster.up({ first: true })
    const firstMarks = marksOf(first, cluster, [
      ['initialized', (event) => event.kind === 'initialize-done'],
      ['primaryRuns', (event) => event.kind === 'start-done' && event.node === 'alpha'],
      ['cloned', (event) => event.kind === 'clone-done'],
      ['standbysRun', (event) => event.kind === 'start-done' && event.node !== 'alpha'],
      ['quorum', (event) => event.kind === 'primacy' && event.message.startsWith('commits wait for')],
    ])
    const down = await cluster.down()
    const second = await cluster.up({ first: false })
    const secondMarks = marksOf(second, cluster, [['allRun', (event) => event.kind === 'start-done']])
    return [
      { ...firstMarks, ready: first.seconds, down: down.seconds },
      { ...secondMarks, ready: second.seconds },
    ]
  } finally {
    await cluster.remove()
  }
}

/** The last event of each kind since the command was started. */
function marksOf(
  run: Finished,
  cluster: BenchCluster,
  kinds: readonly (readonly [string, (event: RecordedEvent) => boolean])[],
): Marks {
  const since = (atMs: number | undefined): number => ((atMs ?? Number.NaN) - run.startedAtMs) / 1_000
  const events = cluster.events().filter((event) => event.atMs >= run.startedAtMs)
  const marks: Record<string, number> = { partsStarted: since(cluster.partsStartedAtMs().at(-1)) }
  for (const [name, fits] of kinds) marks[name] = since(events.findLast(fits)?.atMs)
  return marks
}

function seconds(marks: Marks): string {
  return `${(marks['ready'] ?? Number.NaN).toFixed(2)} s`
}

function report(series: readonly Series[]): void {
  const summary = series.map(({ pg, kind, runs }) => {
    const names = Object.keys(runs[0] ?? {})
    const of = (name: string): readonly number[] => runs.map((run) => run[name] ?? Number.NaN)
    return {
      pg,
      kind,
      runs: runs.length,
      seconds: Object.fromEntries(
        names.map((name) => [
          name,
          { median: median(of(name)), min: Math.min(...of(name)), max: Math.max(...of(name)) },
        ]),
      ),
      lines: names.map((name) => `  ${name.padEnd(14)} ${spread(of(name))} s`),
    }
  })
  const machine = { cpus: cpus().length, node: process.version, load: loadavg()[0] }
  if (values.json) {
    console.log(JSON.stringify({ machine, starts: summary.map(({ lines, ...each }) => each) }, null, 2))
    return
  }
  for (const each of summary)
    console.log(
      `\nPostgreSQL ${each.pg}, ${each.kind} start: median [min-max] of ${each.runs}, seconds since the command\n${each.lines.join('\n')}`,
    )
  console.log(`\n${machine.cpus} cores, Node ${machine.node}, load ${machine.load?.toFixed(2)} at the end`)
}
