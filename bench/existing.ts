/**
 * How long nobody can write while a running primary of Debian is taken over, next to a restart of the same server by Debian's own tool: the
 * longest time between two acknowledged commits of a client that tries again at once. Alternately, medians. `npm run bench:existing -- --help`.
 */
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import pg from 'pg'
import { MAIN } from '../test/lab/program.ts'
import {
  APPLICATION_PASSWORD,
  DEBIAN_MISSING,
  type ExistingServer,
  openDebianCluster,
} from '../test/support/existing-server.ts'
import { freePort, giveToServerUser } from '../test/support/postgres-server.ts'
import { median } from './support/cluster-local.ts'

const USAGE = `npm run bench:existing -- [options]      as root; postgresql-15 and etcd-server of Debian
  --rounds N   of each of the two (5)
  --fill MB    data that is written before each (200)
  --json       print JSON`

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    fill: { type: 'string', default: '200' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

if (values.help) console.log(USAGE)
else if (DEBIAN_MISSING !== null) throw new Error(DEBIAN_MISSING)
else await main()

async function main(): Promise<void> {
  const workspace = mkdtempSync(path.join(tmpdir(), 'understudy-existing-'))
  giveToServerUser(workspace)
  execFileSync('chmod', ['755', workspace])
  const store = await startStore(workspace)
  const server = await openDebianCluster({ workspace, name: 'bench', configuration: ['fsync = on'] })
  const restarts: number[] = []
  const prepared: number[] = []
  const taken: number[] = []
  try {
    for (let round = 0; round < Number(values.rounds); round++) {
      await fill(server)
      restarts.push(await outageOf(server, () => restart(server)))
      await fill(server)
      await server.sql('CHECKPOINT')
      prepared.push(await outageOf(server, () => restart(server)))
      await fill(server)
      const words = takeWords(server, workspace, store.url, await freePort())
      taken.push(await outageOf(server, () => understudy(words)))
      await understudy(['init', '--undo', '--yes', '--dir', path.join(workspace, 'home')])
      console.error(
        `round ${round + 1}: restart ${restarts.at(-1)} ms, after a checkpoint ${prepared.at(-1)} ms, taken over ${taken.at(-1)} ms`,
      )
    }
  } finally {
    await server.remove()
    store.end()
    rmSync(workspace, { recursive: true, force: true })
  }
  const medians = { restart: median(restarts), prepared: median(prepared), taken: median(taken) }
  const result = { restarts, prepared, taken, medians, load: loadavg() }
  if (values.json) console.log(JSON.stringify(result))
  else {
    console.log(`pg_ctlcluster restart                     ${range(restarts)}`)
    console.log(`pg_ctlcluster restart, CHECKPOINT before  ${range(prepared)}`)
    console.log(`understudy init --from                    ${range(taken)}`)
  }
}

function range(times: readonly number[]): string {
  return `${median(times)} ms [${Math.min(...times)}–${Math.max(...times)}]`
}

function takeWords(
  server: ExistingServer,
  workspace: string,
  store: string,
  apiPort: number,
): readonly string[] {
  const home = path.join(workspace, 'home')
  return [
    ...['init', '--from', server.url, '--yes', '--dir', home, '--nodes', 'alpha=127.0.0.1'],
    ...[
      '--api-port',
      String(apiPort),
      '--store',
      store,
      '--bundle-directory',
      path.join(workspace, 'bundle'),
    ],
  ]
}

/** Dirty pages, as a server in use has them. */
async function fill(server: ExistingServer): Promise<void> {
  await server.asApplication('DROP TABLE IF EXISTS ballast')
  const rows = Number(values.fill) * 1_000
  await server.asApplication(
    `CREATE TABLE ballast AS SELECT n, repeat('x', 1000) AS text FROM generate_series(1, ${rows}) AS n`,
  )
}

/** Milliseconds between two commits, the longest while `change` goes on and a moment after. */
async function outageOf(server: ExistingServer, change: () => Promise<void>): Promise<number> {
  const writer = startWriter(server)
  await sleep(500)
  writer.forget()
  await change()
  await sleep(1_000)
  return Math.round(await writer.stop())
}

function startWriter({ port }: ExistingServer): { forget(): void; stop(): Promise<number> } {
  let ends = false
  let longest = 0
  let last = performance.now()
  const run = async (): Promise<void> => {
    let client: pg.Client | null = null
    while (!ends) {
      try {
        client ??= await connect(port)
        await client.query('INSERT INTO item VALUES (clock_timestamp()::text)')
        const now = performance.now()
        longest = Math.max(longest, now - last)
        last = now
        await sleep(1)
      } catch {
        void client?.end().catch(() => {})
        client = null
        await sleep(2)
      }
    }
    await client?.end().catch(() => {})
  }
  const running = run()
  return {
    forget: () => {
      longest = 0
    },
    stop: async () => {
      ends = true
      await running
      return longest
    },
  }
}

async function connect(port: number): Promise<pg.Client> {
  const where = { host: '127.0.0.1', port, user: 'shop', database: 'shop', password: APPLICATION_PASSWORD }
  const client = new pg.Client(where)
  client.on('error', () => {})
  await client.connect()
  return client
}

/** Beside the writer: a call that is waited for in place would keep it from writing. */
function restart({ configDirectory }: ExistingServer): Promise<void> {
  return run('pg_ctlcluster', ['15', path.basename(configDirectory), 'restart'])
}

function understudy(words: readonly string[]): Promise<void> {
  return run(process.execPath, [MAIN, ...words])
}

function run(program: string, words: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, words, { stdio: ['ignore', 'ignore', 'pipe'] })
    let said = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    child.once('error', reject)
    child.once('close', (code) => (code === 0 ? resolve() : reject(new Error(said))))
  })
}

async function startStore(workspace: string): Promise<{ readonly url: string; end(): void }> {
  const [client, peer] = [`http://127.0.0.1:${await freePort()}`, `http://127.0.0.1:${await freePort()}`]
  const directory = path.join(workspace, 'etcd')
  mkdirSync(directory)
  const listens = ['--listen-client-urls', client, '--advertise-client-urls', client]
  const peers = ['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer]
  const cluster = ['--initial-cluster', `default=${peer}`, '--data-dir', directory]
  const child = spawn('etcd', [...listens, ...peers, ...cluster], { stdio: 'ignore' })
  await sleep(2_000)
  return { url: client, end: () => void child.kill('SIGKILL') }
}
