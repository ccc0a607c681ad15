/** A server that ran before understudy did becomes the primary of a cluster where its data lies, and can be given back. */
import { execFileSync, spawn } from 'node:child_process'
import { appendFileSync, existsSync, lstatSync, mkdirSync, renameSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { roleStatementsByHand } from '../../src/cli/existing/by-hand.ts'
import { JOIN_STEPS, STEPS } from '../../src/cli/existing/carry-out.ts'
import { type Journal, readJournal } from '../../src/cli/existing/journal.ts'
import { ROOT_ROLE } from '../../src/cli/existing/names.ts'
import { agentPids } from '../../src/cli/existing/steps/agent.ts'
import { REPLICATION_ROLE } from '../../src/postgres/layout.ts'
import { clusterKeys } from '../../src/store/keys.ts'
import { clientOf, ETCD_MISSING, type StoreServer, startEtcd } from '../store/servers.ts'
import { ensureBuilt } from '../support/built.ts'
import { type CliResult, cliEnvironment, collect, MAIN, runCli } from '../support/cli.ts'
import { signal } from '../support/cluster-processes.ts'
import {
  countPostmasters,
  DEBIAN_MISSING,
  type ExistingServer,
  endAllIn,
  nodeDirectoryBeside,
  openDebianCluster,
  openPlainServer,
  openStandbyOf,
  postmasterIn,
  textOf,
} from '../support/existing-server.ts'
import { findInstalls, type PostgresInstall } from '../support/postgres-installs.ts'
import { freePort, giveToServerUser, makeWorkspace } from '../support/postgres-server.ts'

let store: StoreServer
let stage: Stage | null = null

beforeAll(async () => {
  ensureBuilt()
  if (ETCD_MISSING === null) store = await startEtcd()
})
afterAll(async () => store?.dispose())
afterEach(async () => {
  await stage?.close()
  stage = null
})

/** One server, and what is said to the command of it. */
class Stage {
  readonly workspace: ReturnType<typeof makeWorkspace>
  readonly home: string
  readonly bundle: string
  readonly server: ExistingServer
  readonly #apiPort: number
  #journal: Journal | null = null

  private constructor(server: ExistingServer, workspace: ReturnType<typeof makeWorkspace>, apiPort: number) {
    this.workspace = workspace
    this.server = server
    this.home = path.join(workspace.path, 'home')
    this.bundle = path.join(workspace.path, 'bundle')
    this.#apiPort = apiPort
  }

  static async open(make: (workspace: string) => Promise<ExistingServer>): Promise<Stage> {
    const workspace = makeWorkspace('existing')
    stage = new Stage(await make(workspace.path), workspace, await freePort())
    return stage
  }

  words(...more: readonly string[]): readonly string[] {
    return [
      ...['init', '--from', this.server.url, '--dir', this.home, '--nodes', 'alpha=127.0.0.1'],
      ...['--api-port', String(this.#apiPort), '--store', store.url, '--bundle-directory', this.bundle],
      ...more,
    ]
  }

  async take(...more: readonly string[]): Promise<CliResult> {
    const result = await runCli(this.words('--yes', ...more))
    await this.note()
    return result
  }

  async undo(): Promise<CliResult> {
    await this.note()
    return runCli(['init', '--undo', '--yes', '--dir', this.home])
  }

  async note(): Promise<Journal | null> {
    const journal = await readJournal(this.home)
    this.#journal = journal ?? this.#journal
    return journal
  }

  /** Starts it, and kills it when so many steps are done, and a moment more. */
  async takeUntil(steps: number, momentMs: number): Promise<void> {
    const isThatFar = async (): Promise<boolean> => ((await this.note())?.done.length ?? -1) >= steps
    await killed(this.words('--yes'), momentMs, isThatFar)
    await this.note()
  }

  async agents(): Promise<readonly number[]> {
    return this.#journal === null ? [] : agentPids(this.#journal)
  }

  async isTaken(): Promise<void> {
    expect(await postmasterIn(this.server.dataDirectory)).toMatchObject({ ofAgent: true })
    expect(await countPostmasters(this.server.dataDirectory)).toBe(1)
    expect(await this.server.asApplication('SELECT name FROM item')).toEqual([{ name: 'of before' }])
    expect(await this.server.sql('SHOW work_mem')).toEqual([{ work_mem: '7MB' }])
    await this.server.asApplication(
      "INSERT INTO item VALUES ('written under understudy'); DELETE FROM item WHERE name <> 'of before'",
    )
  }

  async isGivenBack(): Promise<void> {
    const { dataDirectory, configDirectory } = this.server
    expect(await postmasterIn(dataDirectory)).toMatchObject({ ofAgent: false })
    expect(await countPostmasters(dataDirectory)).toBe(1)
    expect(await this.server.sql('SHOW config_file')).toEqual([
      { config_file: path.join(configDirectory, 'postgresql.conf') },
    ])
    expect(await this.server.sql("SELECT rolname FROM pg_roles WHERE rolname LIKE 'understudy%'")).toEqual([])
    expect(await this.server.asApplication('SELECT name FROM item')).toEqual([{ name: 'of before' }])
    expect(existsSync(nodeDirectoryBeside(dataDirectory))).toBe(false)
    expect(existsSync(this.bundle)).toBe(false)
    expect(textOf(path.join(this.home, 'existing.json'))).toBeNull()
    if (this.#journal !== null) expect(await agentPids(this.#journal)).toEqual([])
    const client = clientOf(store)
    const known = await client.list(clusterKeys('main').all)
    client.close()
    expect(known).toMatchObject({ kind: 'ok', value: { entries: [] } })
  }

  async close(): Promise<void> {
    for (const pid of await this.agents()) signal(pid, 'SIGKILL')
    await endAllIn(path.join(nodeDirectoryBeside(this.server.dataDirectory), 'data'))
    await this.server.remove()
    this.workspace.remove()
    const client = clientOf(store)
    await client.transact({ compare: [], success: [{ op: 'deletePrefix', prefix: clusterKeys('main').all }] })
    client.close()
  }
}

const onEtcd = describe.skipIf(ETCD_MISSING !== null)

onEtcd('a packaged cluster of Debian (root; apt install postgresql-15, etcd-server)', () => {
  test.skipIf(DEBIAN_MISSING !== null)(
    'is taken over with one restart, keeps what it had, and cannot be started by its old service beside it',
    async () => {
      const { server, take, undo } = await debian()
      const before = textOf(server.startFile)
      const [identity] = await server.sql(
        'SELECT system_identifier::text AS id, pg_postmaster_start_time() FROM pg_control_system()',
      )
      const looked = await runCli(current().words('--dry-run', '--json'))
      expect(looked).toMatchObject({ code: 0 })
      expect(JSON.parse(looked.stdout)).toMatchObject({ possible: true, changed: false, restarts: 1 })
      expect(
        await server.sql(
          'SELECT system_identifier::text AS id, pg_postmaster_start_time() FROM pg_control_system()',
        ),
      ).toEqual([identity])
      expect(existsSync(current().home)).toBe(false)

      expect(await take()).toMatchObject({ code: 0 })
      await current().isTaken()
      expect(await server.sql('SELECT system_identifier::text AS id FROM pg_control_system()')).toEqual([
        { id: identity?.['id'] },
      ])
      // peer, as it was: nobody's lines of pg_hba.conf have lost their order.
      expect(await server.sql('SELECT current_user::text AS me')).toEqual([{ me: 'postgres' }])
      expect(() => server.start()).toThrow(/Cluster is disabled/)
      expect(await countPostmasters(server.dataDirectory)).toBe(1)

      expect(await undo()).toMatchObject({ code: 0 })
      await current().isGivenBack()
      expect(textOf(server.startFile)).toBe(before)
      expect(await server.sql('SHOW wal_log_hints')).toEqual([{ wal_log_hints: 'off' }])
    },
  )

  test.skipIf(DEBIAN_MISSING !== null)(
    'is refused with everything that is in the way, and nothing is changed',
    async () => {
      const { server } = await debian('archive_mode = on', "archive_command = '/bin/true'")
      const place = path.join(current().workspace.path, 'elsewhere')
      mkdirSync(place)
      giveToServerUser(place)
      await server.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
      await server.sql('SELECT pg_reload_conf()')
      await server.sql('CREATE ROLE understudy_agent')
      await server.sql("SELECT pg_create_physical_replication_slot('of_somebody')")
      await server.sql(`CREATE TABLESPACE elsewhere LOCATION '${place}'`)
      const patroni = spawn('/bin/sh', [writeScript(path.join(current().workspace.path, 'patroni'))], {
        stdio: 'ignore',
      })
      try {
        const refused = await runCli(current().words('--yes', '--json', '--owner', 'root'))
        expect(refused.code).toBe(1)
        const { refusals, warnings, possible } = JSON.parse(refused.stdout) as Refused
        expect(possible).toBe(false)
        expect(refusals.map(({ code }) => code).sort()).toEqual([
          ...[
            'archive-set',
            'managed-elsewhere',
            'role-exists',
            'sync-names-set',
            'tablespaces',
            'wrong-owner',
          ],
        ])
        expect(warnings.join('\n')).toContain(
          'The slot of_somebody (physical, not in use) is not understudy’s: it stays',
        )
        for (const { message, hint } of refusals) expect([message, hint]).not.toContain('')
        expect(await postmasterIn(server.dataDirectory)).toMatchObject({ ofAgent: false })
        expect(existsSync(current().home)).toBe(false)
      } finally {
        patroni.kill('SIGKILL')
      }
    },
  )

  async function debian(...configuration: readonly string[]): Promise<Taken> {
    return taken(
      await Stage.open((workspace) => openDebianCluster({ workspace, name: 'test', configuration })),
    )
  }
})

onEtcd('a server of its own (apt install etcd-server)', () => {
  async function plain(...configuration: readonly string[]): Promise<Taken> {
    const install = newest()
    return taken(
      await Stage.open((workspace) => openPlainServer({ workspace, name: 'plain', install, configuration })),
    )
  }

  test('is taken over, and its old start fails as long as that lasts', async () => {
    const { server, take, undo } = await plain()
    expect(await take()).toMatchObject({ code: 0 })
    await current().isTaken()
    expect(() => server.start()).toThrow()
    expect(await undo()).toMatchObject({ code: 0 })
    await current().isGivenBack()
  })

  test('is asked of its superuser, on its own machine, while it is a primary', async () => {
    const { server } = await plain()
    const asShop = server.url.replace('///postgres', '//shop@/shop')
    const other = current()
      .words('--dry-run')
      .map((word) => (word === server.url ? asShop : word))
    expect(await runCli(other)).toMatchObject({ code: 1, stderr: expect.stringContaining('not-superuser') })
    const nobody = current()
      .words('--dry-run')
      .map((word) => (word === server.url ? 'postgresql://127.0.0.1:1/x' : word))
    expect(await runCli(nobody)).toMatchObject({ code: 4, stderr: expect.stringContaining('unreachable') })
    const silent = current()
      .words('--dry-run')
      .map((word) => (word === store.url ? 'http://127.0.0.1:1' : word))
    expect(await runCli(silent)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('store-unreachable'),
    })
  })

  test('brings its standby with it, without a new clone, and both can be given back', async () => {
    const { server, undo } = await plain()
    await withStandby(async ({ standby, join, nodeDirectory }) => {
      const [before] = await server.sql('SELECT pg_postmaster_start_time()::text AS at')
      const looked = await join('--dry-run', '--json')
      expect(JSON.parse(looked.stdout)).toMatchObject({ possible: true, refusals: [], changed: false })
      expect(await join('--yes')).toMatchObject({ code: 0 })

      await server.asApplication("INSERT INTO item VALUES ('after')")
      await until(async () => (await standby.asApplication('SELECT name FROM item')).length === 2)
      expect(await standby.sql('SELECT pg_is_in_recovery() AS standby')).toEqual([{ standby: true }])
      expect(await streaming(server)).toContain('bravo')
      // It is the directory of before: nothing was cloned, and nothing moved aside.
      expect(existsSync(path.join(nodeDirectory, 'aside'))).toBe(false)
      // Neither did the primary stop for its first standby, nor for the lease that it needs from then on (I10).
      expect(await server.sql('SELECT pg_postmaster_start_time()::text AS at')).toEqual([before])
      expect(await undo()).toMatchObject({
        code: 1,
        stderr: expect.stringContaining('bravo belongs to the cluster, too'),
      })

      expect(await join('--undo', '--yes')).toMatchObject({ code: 0 })
      expect(await standby.sql('SHOW config_file')).toEqual([{ config_file: standby.startFile }])
      await server.asApplication("INSERT INTO item VALUES ('again')")
      await until(async () => (await standby.asApplication('SELECT name FROM item')).length === 3)
    })
  })

  test('is a node like any other: it follows another primary, and a clone takes the place of the link', async () => {
    const { server, undo } = await plain()
    await withStandby(async ({ standby, join }) => {
      expect(await join('--yes')).toMatchObject({ code: 0 })
      const config = ['--config', path.join(current().bundle, 'understudy.yaml'), '--yes']
      // The primary looks once a second: it may not have seen yet that bravo streams.
      await until(async () => (await runCli(['switchover', '--to', 'bravo', ...config])).code === 0)
      expect(await join('--undo', '--yes')).toMatchObject({
        code: 1,
        stderr: expect.stringContaining('no standby any more'),
      })
      await until(async () => (await streaming(standby)).includes('alpha'))
      expect(await countPostmasters(server.dataDirectory)).toBe(1)
      expect(await runCli(['reinit', 'alpha', ...config])).toMatchObject({ code: 0 })
      const data = path.join(nodeDirectoryBeside(server.dataDirectory), 'data')
      await until(async () => lstatSync(data, { throwIfNoEntry: false })?.isDirectory() === true)
      await until(async () => (await streaming(standby)).includes('alpha'))
      // What it had is where it was, and nobody's to remove (P5).
      expect(existsSync(path.join(server.dataDirectory, 'PG_VERSION'))).toBe(true)
      expect(await countPostmasters(server.dataDirectory)).toBe(0)
      expect(await undo()).toMatchObject({
        code: 1,
        stderr: expect.stringContaining('a clone has taken the place'),
      })
    })
  })

  test('and its standby are released as plain replication, which no agent looks after and no restart ends', async () => {
    const { server } = await plain()
    await withStandby(async ({ standby, nodeDirectory: ofBravo, join, agents }) => {
      expect(await join('--yes')).toMatchObject({ code: 0 })
      const began = async (): Promise<unknown> =>
        Promise.all(
          [server, standby].map((each) => each.sql('SELECT pg_postmaster_start_time()::text AS at')),
        )
      const before = await began()
      const release = (...more: readonly string[]): Promise<CliResult> =>
        runCli(['release', '--dir', current().home, '--json', ...more])
      const looked = await release('--dry-run')
      expect(JSON.parse(looked.stdout)).toMatchObject({
        released: false,
        nodes: [
          { node: 'bravo', role: 'standby', service: { kind: 'plain' } },
          { node: 'alpha', role: 'primary', service: { kind: 'plain' } },
        ],
      })
      // Killed as soon as the agent of the standby has heard it: that one cannot be asked again.
      const child = spawn(process.execPath, [MAIN, 'release', '--yes', '--dir', current().home], {
        env: cliEnvironment(),
        stdio: 'ignore',
      })
      const ended = collect(child)
      while (child.exitCode === null && !existsSync(path.join(ofBravo, 'releasing.json'))) await sleep(1)
      child.kill('SIGKILL')
      await ended
      await until(async () => (await agents()).length === 1)
      expect(await release('--yes')).toMatchObject({ code: 0 })
      await until(async () => (await agents()).length === 0)
      expect(await began()).toEqual(before)
      await server.asApplication("INSERT INTO item VALUES ('after')")
      await until(async () => (await standby.asApplication('SELECT name FROM item')).length === 2)
      expect(
        await standby.sql("SELECT FROM pg_replication_slots WHERE slot_name LIKE 'understudy%'"),
      ).toEqual([])
      expect(await standby.sql('SHOW restart_after_crash')).toEqual([{ restart_after_crash: 'on' }])
      const client = clientOf(store)
      expect(await client.list(clusterKeys('main').all)).toMatchObject({ kind: 'ok', value: { entries: [] } })
      client.close()
      const agent = ['agent', '--config', path.join(current().bundle, 'understudy.yaml')]
      expect(await runCli(agent)).toMatchObject({ code: 1, stderr: expect.stringContaining('released') })

      // By hand, as it was printed: the file of before gets its name again, and includes what they run with.
      for (const [each, nodeDirectory] of [
        [server, nodeDirectoryBeside(server.dataDirectory)],
        [standby, path.join(path.dirname(standby.dataDirectory), 'node')],
      ] as const) {
        renameSync(`${each.startFile}.before-understudy`, each.startFile)
        appendFileSync(each.startFile, `include '${nodeDirectory}/conf/postgresql.conf'\n`)
        each.stop()
        each.start()
        expect(await each.sql('SHOW config_file')).toEqual([{ config_file: each.startFile }])
      }
      await until(async () => (await streaming(server)).includes('bravo'))
      for (const statement of roleStatementsByHand(ROOT_ROLE)) await server.sql(statement)
      expect(await server.sql("SELECT rolname FROM pg_roles WHERE rolname LIKE 'understudy%'")).toEqual([
        { rolname: REPLICATION_ROLE },
      ])
      await server.asApplication("INSERT INTO item VALUES ('at last')")
      await until(async () => (await standby.asApplication('SELECT name FROM item')).length === 3)
    })
  })

  test('and its standby are nodes, plain servers again, or released, wherever `join` and `release` were killed', async () => {
    const random = numbersFrom(seedOfThisRun())
    const { server } = await plain()
    await withStandby(async (standing) => {
      const { standby, join, agents } = standing
      const rounds = numberFrom('UNDERSTUDY_ROUNDS', 2)
      for (let round = 0; round < rounds; round++) {
        // All of them in turn, where there are so many rounds.
        const steps = rounds > JOIN_STEPS.length ? round % (JOIN_STEPS.length + 1) : Math.floor(random() * 6)
        await standing.joinUntil(steps, Math.floor(random() * 80))
        expect(await countPostmasters(standby.dataDirectory), `killed after ${steps} steps`).toBeLessThan(2)
        if (random() < 0.5) {
          expect(await join('--yes'), `finished after ${steps} steps`).toMatchObject({ code: 0 })
          await until(async () => (await streaming(server)).includes('bravo'))
        }
        await killed(standing.joinWords('--undo', '--yes'), Math.floor(random() * 2_500))
        if (await standing.isBegun()) expect(await join('--undo', '--yes')).toMatchObject({ code: 0 })
        expect(await standby.sql('SHOW config_file')).toEqual([{ config_file: standby.startFile }])
        await server.asApplication(`INSERT INTO item VALUES ('round ${round}')`)
        await until(async () => (await standby.asApplication('SELECT name FROM item')).length === 2 + round)
      }
      expect(await join('--yes')).toMatchObject({ code: 0 })
      await until(async () => (await streaming(server)).includes('bravo'))

      const words = ['release', '--yes', '--dir', current().home]
      const began = async (): Promise<unknown> =>
        Promise.all(
          [server, standby].map((each) => each.sql('SELECT pg_postmaster_start_time()::text AS at')),
        )
      const before = await began()
      for (let kill = 0; kill < 4; kill++) await killed(words, Math.floor(300 + random() * 1_500))
      const client = clientOf(store)
      const known = async (): Promise<number> => {
        const found = await client.list(clusterKeys('main').all)
        return found.kind === 'ok' ? found.value.entries.length : Number.NaN
      }
      // One of them may have come to its end, which is the removal of its record.
      const isOver = textOf(path.join(current().home, '.released.json')) === null && (await known()) === 0
      if (!isOver) {
        const last = await runCli(words)
        expect(last, `${last.stdout}${last.stderr}`).toMatchObject({ code: 0 })
      }
      await until(async () => (await agents()).length === 0)
      expect(await began()).toEqual(before)
      await server.asApplication("INSERT INTO item VALUES ('at last')")
      await until(async () => (await standby.asApplication('SELECT name FROM item')).length === 2 + rounds)
      expect(await known()).toBe(0)
      client.close()
    })
  }, 900_000)

  test('is given back without what the store knows of another cluster that has got its name meanwhile', async () => {
    const { undo } = await plain()
    await current().takeUntil(2, 0)
    const client = clientOf(store)
    const { all, identity } = clusterKeys('main')
    const value = JSON.stringify({ systemIdentifier: '7', major: 15, createdBy: 'other' })
    await client.transact({ compare: [], success: [{ op: 'put', key: identity, value }] })
    expect(await undo()).toMatchObject({ code: 0, stderr: expect.stringContaining('another cluster') })
    expect(await client.list(all)).toMatchObject({ kind: 'ok', value: { entries: [{ key: identity }] } })
    client.close()
  })

  test('is finished or given back, at whichever step the command was killed', async () => {
    const random = numbersFrom(seedOfThisRun())
    const { take, undo } = await plain()
    for (let steps = 0; steps <= STEPS.length; steps++) {
      const finishes = random() < 0.5
      await current().takeUntil(steps, Math.floor(random() * 80))
      expect(
        await countPostmasters(current().server.dataDirectory),
        `killed after ${steps} steps`,
      ).toBeLessThanOrEqual(1)
      if (finishes) {
        expect(await take(), `finished after ${steps} steps`).toMatchObject({ code: 0 })
        await current().isTaken()
      }
      if ((await current().note()) !== null) {
        // The way back is interrupted, too.
        await killed(['init', '--undo', '--yes', '--dir', current().home], Math.floor(random() * 2_500))
        if ((await current().note()) !== null)
          expect(await undo(), `undone after ${steps} steps`).toMatchObject({ code: 0 })
      }
      await current().isGivenBack()
    }
  }, 600_000)
})

interface Standing {
  readonly standby: ExistingServer
  readonly nodeDirectory: string
  readonly join: (...more: readonly string[]) => Promise<CliResult>
  readonly joinWords: (...more: readonly string[]) => readonly string[]
  /** Starts it, and kills it when so many steps are done, and a moment more. */
  readonly joinUntil: (steps: number, momentMs: number) => Promise<void>
  /** There is something to finish or to undo. */
  readonly isBegun: () => Promise<boolean>
  /** Of both nodes. */
  readonly agents: () => Promise<readonly number[]>
}

/** The server is taken over; a standby of it, which streams as a person has set it up, has the bundle of bravo beside it. */
async function withStandby(work: (standing: Standing) => Promise<void>): Promise<void> {
  const { server, home } = current()
  const place = makeWorkspace('joining')
  const bundle = path.join(place.path, 'bundle')
  const nodeDirectory = path.join(place.path, 'node')
  const standby = await openStandbyOf(server, { workspace: place.path, install: newest() })
  const agentsOfStandby = async (): Promise<readonly number[]> => {
    const journal = await readJournal(bundle).catch(() => null)
    return journal === null ? [] : agentPids(journal)
  }
  try {
    expect(await current().take()).toMatchObject({ code: 0 })
    const bravo = ['add', `bravo=127.0.0.1:${standby.port}`, '--api-port', String(await freePort())]
    const places = ['--dir', home, '--directory', nodeDirectory, '--socket-directory', place.path]
    expect(await runCli([...bravo, ...places])).toMatchObject({ code: 0 })
    mkdirSync(bundle, { mode: 0o700 })
    const archive = path.join(home, 'bundles', 'bravo.tar.gz')
    execFileSync('tar', ['-xzf', archive, '-C', bundle, '--no-same-owner'])
    giveToServerUser(bundle, { recursive: true })
    // It finds its primary again within five seconds of a restart (wal_retrieve_retry_interval).
    await until(async () => (await streaming(server)).length > 0)
    const config = path.join(bundle, 'understudy.yaml')
    const joinWords = (...more: readonly string[]): readonly string[] => [
      ...['join', '--config', config, '--from', standby.url],
      ...more,
    ]
    const begun = (): Promise<Journal | null> => readJournal(bundle).catch(() => null)
    await work({
      ...{ standby, nodeDirectory, joinWords },
      join: (...more) => runCli(joinWords(...more)),
      joinUntil: (steps, momentMs) =>
        killed(joinWords('--yes'), momentMs, async () => ((await begun())?.done.length ?? -1) >= steps),
      isBegun: async () => (await begun()) !== null,
      agents: async () => [...(await agentsOfStandby()), ...(await current().agents())],
    })
  } finally {
    for (const pid of await agentsOfStandby()) signal(pid, 'SIGKILL')
    await standby.remove()
    place.remove()
  }
}

/** Names of what streams from it. */
async function streaming(server: ExistingServer): Promise<readonly unknown[]> {
  const rows = await server.sql(
    "SELECT application_name AS name FROM pg_stat_replication WHERE state = 'streaming'",
  )
  return rows.map(({ name }) => name)
}

function newest(): PostgresInstall {
  const [found] = findInstalls().toSorted((a, b) => b.major - a.major)
  if (found === undefined) throw new Error('no PostgreSQL was found')
  return found
}

/** Fails with what the agents say, when it has waited for too long. */
async function until(holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 60_000
  while (!(await holds())) {
    if (performance.now() > deadline) {
      const config = path.join(current().bundle, 'understudy.yaml')
      const { stdout, stderr } = await runCli(['why', '--config', config])
      throw new Error(`it does not come to be so: ${stdout}${stderr}`)
    }
    await sleep(50)
  }
}

interface Refused {
  readonly possible: boolean
  readonly refusals: readonly { readonly code: string; readonly message: string; readonly hint: string }[]
  readonly warnings: readonly string[]
}

interface Taken {
  readonly server: ExistingServer
  readonly take: () => Promise<CliResult>
  readonly undo: () => Promise<CliResult>
}

function taken(opened: Stage): Taken {
  return { server: opened.server, take: () => opened.take(), undo: () => opened.undo() }
}

function current(): Stage {
  if (stage === null) throw new Error('no stage is open')
  return stage
}

/** By its name it is what it is taken for. */
function writeScript(file: string): string {
  writeFileSync(file, 'while :; do sleep 1; done\n')
  return file
}

/** Starts a command, and kills it a moment after it has come so far, unless it ends before. */
async function killed(
  words: readonly string[],
  momentMs: number,
  isThatFar: () => Promise<boolean> = async () => true,
): Promise<void> {
  const child = spawn(process.execPath, [MAIN, ...words], { env: cliEnvironment(), stdio: 'ignore' })
  const ended = collect(child)
  while (child.exitCode === null && !(await isThatFar())) await sleep(1)
  await Promise.race([ended, sleep(momentMs)])
  child.kill('SIGKILL')
  await ended
}

function seedOfThisRun(): number {
  const seed = numberFrom('UNDERSTUDY_SEED', Date.now() % 1_000_000)
  console.info(`seed ${seed} (UNDERSTUDY_SEED repeats it)`)
  return seed
}

function numberFrom(variable: string, otherwise: number): number {
  return Number(process.env[variable] ?? otherwise)
}

/** mulberry32. */
function numbersFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
