/**
 * False alarms: a healthy cluster under pgbench that saturates every core for minutes must keep its primary. Counted are epochs, and the
 * moments in which somebody doubted. `npm run bench:calm -- --help`.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { cpus, loadavg } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { BenchCluster } from './support/cluster-local.ts'

const USAGE = `npm run bench:calm -- [options]
  --minutes N   (30)
  --clients N   of pgbench (16)
  --rto TIME    (3s)
  --pg VERSION  as for --pg of understudy up (15)
  --pgbench P   the program (/usr/lib/postgresql/15/bin/pgbench, or pgbench)
  --json        print JSON`

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '30' },
    clients: { type: 'string', default: '16' },
    rto: { type: 'string', default: '3s' },
    pg: { type: 'string', default: '15' },
    pgbench: { type: 'string' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

const LOOK_EVERY_MS = 10_000

if (values.help) console.log(USAGE)
else await main()

async function main(): Promise<void> {
  const pgbench = values.pgbench ?? findPgbench()
  const cluster = await BenchCluster.make(values.pg, ['--rto', values.rto])
  process.exitCode = 1
  try {
    await cluster.up({ first: true })
    const before = await cluster.status()
    const primary = cluster.nodes.find((node) => node.name === before?.primary)
    if (before === null || primary === undefined) throw new Error('there is no primary')
    const environment = {
      ...process.env,
      PGHOST: primary.host,
      PGPORT: String(primary.port),
      PGUSER: 'app',
      PGDATABASE: 'app',
      PGPASSWORD: cluster.secret('application'),
      PGSSLMODE: 'verify-full',
      PGSSLROOTCERT: path.join(cluster.data, 'tls', 'ca.crt'),
    }
    const made = spawnSync(pgbench, ['-i', '-q', '-s', '10'], { env: environment, encoding: 'utf8' })
    if (made.status !== 0) throw new Error(`pgbench -i failed: ${made.stderr}`)
    const load = run(pgbench, environment)
    let highest = 0
    while (load.child.exitCode === null) {
      await Promise.race([sleep(LOOK_EVERY_MS), load.ended])
      highest = Math.max(highest, loadavg()[0] ?? 0)
    }
    const after = await cluster.status()
    const doubts = cluster.events().filter((event) => event.message.includes('does not answer')).length
    const epochs = (after?.epoch ?? Number.NaN) - (before.epoch ?? 0)
    const tps = /tps = ([\d.]+)/.exec(load.output())?.[1] ?? 'unknown'
    const result = {
      minutes: Number(values.minutes),
      rto: values.rto,
      falseFailovers: epochs,
      doubts,
      tps,
      load: highest,
    }
    console.log(
      values.json
        ? JSON.stringify(result, null, 2)
        : `${values.minutes} minutes of pgbench with ${values.clients} clients on ${cpus().length} cores, load up to ${highest.toFixed(1)}, ${tps} transactions per second, rto ${values.rto}: ${epochs} false failovers, ${doubts} doubts`,
    )
    process.exitCode = epochs === 0 ? 0 : 1
  } finally {
    await cluster.remove()
  }
}

function findPgbench(): string {
  const debian = '/usr/lib/postgresql/15/bin/pgbench'
  return spawnSync(debian, ['--version']).status === 0 ? debian : 'pgbench'
}

function run(
  pgbench: string,
  env: NodeJS.ProcessEnv,
): { readonly child: ChildProcess; readonly ended: Promise<unknown>; output(): string } {
  const seconds = String(Math.round(Number(values.minutes) * 60))
  const child = spawn(pgbench, ['-c', values.clients, '-j', '2', '-T', seconds, '-n'], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    text += piece
  })
  return { child, ended: new Promise((resolve) => child.once('close', resolve)), output: () => text }
}
