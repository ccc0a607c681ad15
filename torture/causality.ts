/**
 * `npm run causality`: sessions that write and read through the proxy's auto port while standbys are late and primaries die, and a proof that
 * none of them ever read less than its level promises. Exit code 1: something is wrong; what is printed has the seed.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import pg from 'pg'
import { BenchCluster } from '../bench/support/cluster-local.ts'
import { type CausalCluster, type CausalRun, runCausality } from '../test/lab/clients/causal-run.ts'

const USAGE = `npm run causality -- [options]
  --minutes N       how long the sessions work (5)
  --seed S          what is drawn from it (a new one each time)
  --pg VERSION      15, 18 or a directory with the programs (18)
  --durability MODE quorum or async (async: more is lost, and more positions are used again)
  --sessions N      how many at once (10)
  --failovers N     seconds from one death of a primary to the next; 0: nobody dies (20)
  --lie             read at level eventual and say otherwise: the checker must find it`

/** The first violations say enough. */
const SHOWN = 12
const HEALTHY_MS = 120_000

interface Options {
  readonly minutes: number
  readonly seed: number
  readonly pg: string
  readonly durability: string
  readonly sessions: number
  readonly failoverMs: number
  readonly lie: boolean
}

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '5' },
    seed: { type: 'string', default: String(1 + Math.floor(Math.random() * 1_000_000)) },
    pg: { type: 'string', default: '18' },
    durability: { type: 'string', default: 'async' },
    sessions: { type: 'string', default: '10' },
    failovers: { type: 'string', default: '20' },
    lie: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

if (values.help) console.log(USAGE)
else {
  const options: Options = {
    minutes: Number(values.minutes),
    seed: Number(values.seed),
    pg: values.pg,
    durability: values.durability,
    sessions: Number(values.sessions),
    failoverMs: Number(values.failovers) * 1000,
    lie: values.lie,
  }
  process.exitCode = (await main(options)) ? 0 : 1
}

async function main(options: Options): Promise<boolean> {
  console.log(
    `seed ${options.seed}, ${options.minutes} minutes, PostgreSQL ${options.pg}, ${options.durability}`,
  )
  const cluster = await BenchCluster.make(options.pg, ['--durability', options.durability, '--rto', '1s'])
  try {
    await cluster.up({ first: true })
    const run = await runCausality(causal(cluster), { ...options, forMs: options.minutes * 60_000 })
    return report(run, options.lie)
  } finally {
    await cluster.remove()
  }
}

function causal(cluster: BenchCluster): CausalCluster {
  const portOf = (name: string): number => cluster.nodes.find((each) => each.name === name)?.port ?? 0
  const asSuperuser = {
    user: 'postgres',
    password: cluster.secret('superuser'),
    connectionTimeoutMillis: 2000,
  }
  return {
    nodes: cluster.nodes.map(({ name }) => name),
    places: [cluster.directory],
    connect: (options) => connect(cluster, cluster.portBase + 32, { options }),
    superuser: (node) => connect(cluster, portOf(node), asSuperuser),
    healthy: () => healthy(cluster),
  }
}

function report({ check, deaths, standbyReads, errors }: CausalRun, lie: boolean): boolean {
  const { violations, reads, writes, lost, demanding } = check
  console.log(`${deaths} primaries died; ${writes} writes, ${lost} of them lost with a primary`)
  console.log(
    `${reads} reads, ${demanding} of which had something to miss; standbys still know of ${standbyReads} scans`,
  )
  console.log(`errors: ${[...errors].map(([code, count]) => `${code} ${count}`).join(', ') || 'none'}`)
  for (const { kind, sentence } of violations.slice(0, SHOWN)) console.log(`${kind}: ${sentence}`)
  if (lie) {
    console.log(
      violations.length > 0 ? `found, as it must be: ${violations.length}` : 'NOT FOUND: the sessions lied',
    )
    return violations.length > 0
  }
  const wrong = violations.length
  console.log(wrong === 0 ? 'no session read less than its level promises' : `WRONG: ${wrong} violations`)
  return wrong === 0
}

async function connect(cluster: BenchCluster, port: number, more: pg.ClientConfig): Promise<pg.Client> {
  const client = new pg.Client({
    ...{ host: '127.0.0.1', port, user: 'app', password: cluster.secret('application'), database: 'app' },
    ...{ ssl: { ca: cluster.caPem }, connectionTimeoutMillis: 15_000, query_timeout: 60_000 },
    ...more,
  })
  client.on('error', () => {})
  await client.connect()
  return client
}

/** The primary's name. */
async function healthy(cluster: BenchCluster): Promise<string> {
  const until = performance.now() + HEALTHY_MS
  for (;;) {
    const status = await cluster.status()
    if (status?.healthy === true && status.primary !== null) return status.primary
    if (performance.now() > until)
      throw new Error(`the cluster is not healthy: ${JSON.stringify(status?.problems)}`)
    await sleep(200)
  }
}
