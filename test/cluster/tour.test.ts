/**
 * The tour of running clusters: what it says was really asked, what it changes is whole again at its end, and nothing of it stays, however it
 * ends.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { TourStep } from '../../src/cli/tour/station.ts'
import { cliEnvironment, collect, MAIN } from '../support/cli.ts'
import { DEBIAN, hasDebian, startCluster, type TestCluster } from '../support/cluster-harness.ts'
import { signal } from '../support/cluster-processes.ts'

interface Tour {
  readonly primary: string
  readonly healthy: boolean
  readonly left: string | null
  readonly steps: readonly TourStep[]
}

const TITLES = [
  ...['prerequisites', 'replication-role', 'primary-configuration', 'base-backup', 'standby-configuration'],
  ...['start', 'verification', 'synchronous-replication', 'switchover', 'failover', 'return'],
]
const NOTHING_LEFT = "SELECT to_regnamespace('understudy_tour') IS NULL AS gone"
const hasScript = spawnSync('script', ['--version']).status === 0

async function primaryOf(cluster: TestCluster): Promise<string> {
  const status = await cluster.healthy()
  if (status.primary === null) throw new Error(cluster.explain('there is no primary'))
  return status.primary
}

/** On every node, and no session of the tour is left. */
async function nothingIsLeft(cluster: TestCluster): Promise<void> {
  const primary = await primaryOf(cluster)
  await cluster.waitFor('the end of the tour’s sessions', async () => {
    const sessions = "SELECT FROM pg_stat_activity WHERE application_name = 'understudy tour'"
    return (await cluster.sql(primary, sessions)).length === 0
  })
  for (const node of cluster.nodes)
    await cluster.waitFor(`nothing of the tour on ${node}`, async () => {
      const [row] = await cluster.sql<{ gone: boolean }>(node, NOTHING_LEFT)
      return row?.gone
    })
}

const stepOf = ({ steps }: Tour, id: string): TourStep => {
  const step = steps.find((each) => each.id === id)
  if (step === undefined) throw new Error(`the tour has no step ${id}`)
  return step
}

describe.skipIf(!hasDebian)(
  'three nodes with the PostgreSQL of the system (apt install postgresql-15)',
  () => {
    let cluster: TestCluster
    beforeAll(async () => {
      cluster = await startCluster({ pg: DEBIAN })
    })
    afterAll(() => cluster.remove())

    test('--yes goes through everything, a switchover and the death of a primary included', async () => {
      const result = await cluster.run(['tour', '--yes', '--json'])
      expect({ code: result.code, stderr: result.stderr }).toEqual({ code: 0, stderr: '' })
      const tour = JSON.parse(result.stdout) as Tour
      expect(tour.steps.map(({ id }) => id)).toEqual(TITLES)
      expect(tour.left).toBeNull()
      expect(await primaryOf(cluster)).toBe(tour.primary)

      const names = stepOf(tour, 'prerequisites').seen[0]?.rows.map((row) => [row['node'], row['standby']])
      expect(names).toEqual([
        ['alpha', 'f'],
        ['bravo', 't'],
        ['charlie', 't'],
      ])
      expect(stepOf(tour, 'primary-configuration').seen[0]?.rows).toContainEqual(
        expect.objectContaining({ name: 'wal_log_hints', setting: 'on' }),
      )
      const walsenders = stepOf(tour, 'start').seen[0]?.rows ?? []
      expect(walsenders.map((row) => [row['application_name'], row['sync_state']])).toEqual([
        ['bravo', 'quorum'],
        ['charlie', 'quorum'],
      ])
      expect(stepOf(tour, 'verification').seen[0]?.lines.join('\n')).toMatch(
        /alpha: the commit was acknowledged after .*\nbravo: the row is there .* later\ncharlie: the row is there/,
      )
      const [switchover, failover] = [stepOf(tour, 'switchover'), stepOf(tour, 'failover')]
      expect(switchover).toMatchObject({ result: 'done', change: { from: 'alpha', reached: true } })
      expect(failover).toMatchObject({ result: 'done', change: { from: switchover.change?.to } })
      expect(failover.change?.epoch).toBe((switchover.change?.epoch ?? 0) + 1)
      expect(stepOf(tour, 'return').seen[0]?.lines.join('\n')).toContain(
        'the old primary alpha streams from here',
      )
      await nothingIsLeft(cluster)
    })

    test('what is paused is not changed, the reason is said, and no password is printed', async () => {
      const { epoch } = await cluster.healthy()
      await cluster.run(['pause', '--reason', 'a test'])
      const { code, stdout } = await cluster.run(['tour', '--yes'])
      await cluster.run(['resume'])
      expect(code).toBe(0)
      expect(stdout.match(/^ {2}Not done: .*pause/gm)).toHaveLength(2)
      expect(stdout).toMatch(/\n11 of 11 {2}The return of the old primary\n/)
      expect(stdout.trimEnd()).toMatch(/the cluster is as healthy as before\.$/)
      expect(stdout).not.toContain('\u001b')
      for (const secret of ['superuser', 'replication', 'agent', 'proxy', 'application'])
        expect(stdout).not.toContain(cluster.secret(secret))
      expect((await cluster.healthy()).epoch).toBe(epoch)
      await nothingIsLeft(cluster)
    })

    // Seen to fail: without the session that waits to remove it the schema stays.
    test('killed while its row is there, PostgreSQL itself removes it', async () => {
      const primary = await primaryOf(cluster)
      const child = cluster.spawn(['tour', '--no-changes'])
      const ended = cluster.ended(child)
      await cluster.waitFor('its row', async () => {
        if (child.exitCode !== null) throw new Error('the tour ended before its row was seen')
        return (await cluster.sql<{ gone: boolean }>(primary, NOTHING_LEFT))[0]?.gone === false
      })
      child.kill('SIGKILL')
      expect((await ended).signal).toBe('SIGKILL')
      await nothingIsLeft(cluster)
    })

    test('Ctrl-C during the failover waits for a whole cluster, and a kill leaves one that becomes whole', async () => {
      for (const name of ['SIGINT', 'SIGKILL'] as const) {
        const primary = await primaryOf(cluster)
        const postmaster = cluster.postmasterPid(primary)
        const child = cluster.spawn(['tour', '--yes'])
        const ended = cluster.ended(child)
        // What comes after the switchover is the failover.
        await saidOnStderr(child, /waiting until every standby streams again\n +\w+: /)
        child.kill(name)
        const { code, stderr } = await ended
        // Nobody waits for a kill.
        const inOrder = code === 130 && stderr.includes('leaving when the cluster is whole again')
        expect({ name, inOrder }).toEqual({ name, inOrder: name === 'SIGINT' })
        if (inOrder) expect((await cluster.status())?.healthy).toBe(true)
        await cluster.healthy()
        expect(cluster.pids('postmaster')).toHaveLength(3)
        expect(cluster.pids('postmaster')).not.toContain(postmaster)
        await nothingIsLeft(cluster)
      }
    })

    test.skipIf(!hasScript)(
      'on a terminal it waits for keys, and a no changes nothing (apt install bsdutils)',
      async () => {
        const epoch = (await cluster.healthy()).epoch
        const whole = await onTerminal(cluster, [...' '.repeat(8), 'n', ' ', 'x', 'n', ' '])
        expect({ code: whole.code, end: whole.stdout.trimEnd().endsWith('as healthy as before.') }).toEqual({
          code: 0,
          end: true,
        })
        expect(whole.stdout.match(/Not done: you said no\./g)).toHaveLength(2)
        const left = await onTerminal(cluster, [' ', 'q'])
        expect(left.code).toBe(0)
        expect(left.stdout).toContain('2 of 11')
        expect(left.stdout).not.toContain('3 of 11')
        expect((await cluster.healthy()).epoch).toBe(epoch)
        await nothingIsLeft(cluster)
      },
    )
  },
)

test('two nodes with the PostgreSQL from npm: where commits wait for nobody, no primary is ended', async () => {
  const cluster = await startCluster({ nodes: 2 })
  const tour = JSON.parse((await cluster.run(['tour', '--yes', '--json'])).stdout) as Tour
  expect(tour.steps.map(({ id }) => id)).toEqual(TITLES)
  expect(stepOf(tour, 'switchover')).toMatchObject({ result: 'done', change: { from: 'alpha', to: 'bravo' } })
  expect(stepOf(tour, 'failover')).toMatchObject({
    result: 'skipped',
    reason: expect.stringContaining('commits wait for no standby here'),
  })
  expect(await primaryOf(cluster)).toBe('bravo')
  await nothingIsLeft(cluster)
  await cluster.remove()
})

function saidOnStderr(child: ChildProcess, what: RegExp): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = ''
    child.stderr?.on('data', (chunk: string | Buffer) => {
      text += String(chunk)
      if (what.test(text)) resolve()
    })
    child.once('exit', () => reject(new Error(`it ended before it said ${what.source}:\n${text}`)))
  })
}

/** Types one key after the other, each when it is asked for one. */
async function onTerminal(
  cluster: TestCluster,
  keys: readonly string[],
): Promise<{ readonly code: number | null; readonly stdout: string }> {
  const command = `stty cols 100 rows 30; node '${MAIN}' tour --data '${cluster.data}'`
  const child = spawn('script', ['-qec', command, '/dev/null'], {
    env: cliEnvironment({ TERM: 'xterm-256color' }),
    stdio: ['pipe', 'pipe', 'pipe'],
    cwd: cluster.workspace,
  })
  const left = [...keys]
  let asked = 0
  let text = ''
  child.stdout.on('data', (chunk: string) => {
    text += chunk
    for (const seen = text.match(/q leaves /g)?.length ?? 0; asked < seen; asked++) {
      const key = left.shift() ?? 'q'
      child.stdin.write(key)
      // A key that means nothing is not an answer: it is still asked.
      if (key === 'x') child.stdin.write(left.shift() ?? 'q')
    }
  })
  const timer = setTimeout(() => signal(child.pid ?? 0, 'SIGKILL'), 60_000)
  try {
    return await collect(child)
  } finally {
    clearTimeout(timer)
  }
}
