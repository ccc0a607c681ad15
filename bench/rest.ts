/**
 * What a cluster costs that nobody uses: memory and processor time of each agent, and how often the store is written. The store and
 * PostgreSQL beside them, as a measure. `npm run bench:rest -- --help`.
 */
import { readFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { partsOf } from '../src/cli/local/layout.ts'
import { type OpenCluster, openCluster } from '../src/cli/local/open.ts'
import { findPart } from '../src/cli/local/processes.ts'
import { createStoreClient } from '../src/store/gateway-client.ts'
import { BenchCluster, median } from './support/cluster-local.ts'
import { treeOf, type Usage, usageOf } from './support/cluster-usage.ts'

const USAGE = `npm run bench:rest -- [options]
  --seconds N   how long is looked at (60)
  --settle N    how long is waited before (10)
  --pg VERSION  as for understudy up (18)
  --json        print JSON`

interface Part {
  readonly name: string
  readonly pids: () => readonly number[]
  readonly samples: Usage[]
}

interface Row {
  readonly name: string
  readonly rssMb: number
  readonly rssMaxMb: number
  readonly pssMb: number
  readonly cpuPercent: number
  readonly writtenKbPerSecond: number
}

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    settle: { type: 'string', default: '10' },
    pg: { type: 'string', default: '18' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

if (values.help) console.log(USAGE)
else await main()

async function main(): Promise<void> {
  const cluster = await BenchCluster.make(values.pg)
  try {
    await cluster.up({ first: true })
    await sleep(1_000 * Number(values.settle))
    await measure(await openCluster({ data: cluster.data }))
  } finally {
    await cluster.remove()
  }
}

async function measure(cluster: OpenCluster): Promise<void> {
  const parts = findParts(cluster)
  const before = await storeRevision(cluster)
  const beganAt = performance.now()
  for (let second = 0; second <= Number(values.seconds); second++) {
    await sleep(Math.max(0, beganAt + 1_000 * second - performance.now()))
    for (const part of parts) part.samples.push(usageOf(part.pids()))
  }
  const seconds = (performance.now() - beganAt) / 1_000
  const revisions = Number((await storeRevision(cluster)) - before)
  const rows = parts.map((part) => rowOf(part, seconds))
  report(rows, { seconds, writesPerSecond: revisions / seconds, agents: cluster.config.nodes.length })
}

function findParts({ directory, configFile, config }: OpenCluster): readonly Part[] {
  const own = partsOf(directory, configFile, config).map((part): Part => {
    const pid = findPart(part)
    if (pid === null) throw new Error(`${part.name} does not run`)
    return { name: part.kind === 'agent' ? `agent ${part.name}` : part.name, pids: () => [pid], samples: [] }
  })
  const servers = config.nodes.map((node): Part => {
    const file = path.join(node.directory, 'data', 'postmaster.pid')
    const pid = Number(readFileSync(file, 'utf8').split('\n')[0])
    return { name: `PostgreSQL ${node.name}`, pids: () => treeOf(pid), samples: [] }
  })
  return [...own, ...servers]
}

/** Grows by one with every transaction that changes something. */
async function storeRevision({ config }: OpenCluster): Promise<bigint> {
  const store = createStoreClient({
    endpoints: config.store.endpoints,
    credentials: { token: readFileSync(config.store.tokenFile ?? '', 'utf8').trim() },
    requestTimeoutMs: 5_000,
    nowMs: () => performance.now(),
  })
  try {
    const listing = await store.list('/understudy/')
    if (listing.kind !== 'ok') throw new Error(`the store does not answer: ${listing.reason}`)
    return listing.value.revision
  } finally {
    store.close()
  }
}

function rowOf({ name, samples }: Part, seconds: number): Row {
  const [first, last] = [samples[0], samples.at(-1)]
  const grown = (pick: (usage: Usage) => number): number =>
    first === undefined || last === undefined ? Number.NaN : (pick(last) - pick(first)) / seconds
  const rss = samples.map((usage) => usage.rssMb)
  return {
    name,
    rssMb: median(rss),
    rssMaxMb: Math.max(...rss),
    pssMb: median(samples.map((usage) => usage.pssMb)),
    cpuPercent: 100 * grown((usage) => usage.cpuSeconds),
    writtenKbPerSecond: grown((usage) => usage.writtenBytes) / 1_024,
  }
}

function report(
  rows: readonly Row[],
  store: { readonly seconds: number; readonly writesPerSecond: number; readonly agents: number },
): void {
  const machine = { cpus: cpus().length, node: process.version, load: loadavg()[0] }
  if (values.json) {
    console.log(JSON.stringify({ machine, pg: values.pg, store, processes: rows }, null, 2))
    return
  }
  console.log(`PostgreSQL ${values.pg}, three nodes at rest for ${store.seconds.toFixed(0)} s`)
  console.log(`${'process'.padEnd(20)}  RSS MB (max)    Pss MB   CPU % of a core   written kB/s`)
  for (const row of rows) {
    const rss = `${row.rssMb.toFixed(1)} (${row.rssMaxMb.toFixed(1)})`
    const numbers = [row.pssMb.toFixed(1).padStart(8), row.cpuPercent.toFixed(2).padStart(16)]
    console.log(
      `${row.name.padEnd(20)}  ${rss.padEnd(14)}${numbers.join('  ')}  ${row.writtenKbPerSecond.toFixed(1).padStart(13)}`,
    )
  }
  const each = store.writesPerSecond / store.agents
  console.log(
    `store writes: ${store.writesPerSecond.toFixed(3)} per second, ${each.toFixed(3)} per second and agent`,
  )
  console.log(`${machine.cpus} cores, Node ${machine.node}, load ${machine.load?.toFixed(2)} at the end`)
}
