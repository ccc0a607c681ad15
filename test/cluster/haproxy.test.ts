/** A real HAProxy, configured as for Patroni, in front of a real cluster: it finds the primary and the standbys by the agents' health paths. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { said, startCluster, type TestCluster } from '../support/cluster-harness.ts'
import { signal } from '../support/cluster-processes.ts'

const HAS_HAPROXY = spawnSync('haproxy', ['-v']).status === 0
/** Of the cluster's range; nothing else of it is there. */
const WRITES = 81
const READS = 82

function configuration(cluster: TestCluster): string {
  const listen = (name: string, offset: number, check: string): string =>
    [
      `listen ${name}`,
      `  bind 127.0.0.1:${cluster.portBase + offset}`,
      `  ${check}`,
      '  http-check expect status 200',
      '  default-server inter 200ms fastinter 100ms fall 2 rise 1 on-marked-down shutdown-sessions',
      ...cluster.nodes.map(
        (node) => `  server ${node} 127.0.0.1:${cluster.port(node)} check port ${cluster.apiPort(node)}`,
      ),
      '',
    ].join('\n')
  return [
    'defaults',
    '  mode tcp',
    '  retries 2',
    '  timeout connect 2s',
    '  timeout check 2s',
    '  timeout client 60s',
    '  timeout server 60s',
    '',
    listen('writes', WRITES, 'option httpchk OPTIONS /primary'),
    listen('reads', READS, 'option httpchk GET /replica?lag=64MB'),
  ].join('\n')
}

describe.skipIf(!HAS_HAPROXY)('behind HAProxy (apt install haproxy)', () => {
  let cluster: TestCluster
  let haproxy: ChildProcess

  beforeAll(async () => {
    cluster = await startCluster()
    const file = path.join(cluster.workspace, 'haproxy.cfg')
    writeFileSync(file, configuration(cluster))
    haproxy = spawn('haproxy', ['-db', '-q', '-f', file], { cwd: cluster.workspace, stdio: 'ignore' })
  })

  afterAll(async () => {
    haproxy.kill('SIGKILL')
    await cluster.remove()
  })

  /** Which node answers there, and whether as a standby; null: nobody. */
  async function ask(offset: number): Promise<{ node: string; standby: boolean } | null> {
    const client = await cluster.connect('alpha', { port: cluster.portBase + offset }).catch(() => null)
    if (client === null) return null
    try {
      const { rows } = await client.query<{ node: string; standby: boolean }>(
        `SELECT current_setting('cluster_name') AS node, pg_is_in_recovery() AS standby`,
      )
      return rows[0] ?? null
    } catch {
      return null
    } finally {
      await client.end().catch(() => {})
    }
  }

  async function readers(): Promise<ReadonlySet<string>> {
    const answers = []
    for (let each = 0; each < 6; each++) answers.push(await ask(READS))
    return new Set(answers.map((answer) => (answer === null ? 'nobody' : answer.node)))
  }

  async function writesGoTo(node: string, standbys: readonly string[]): Promise<void> {
    await cluster.waitFor(`writes to ${node}`, async () => {
      const answer = await ask(WRITES)
      return answer?.node === node && !answer.standby
    })
    await cluster.waitFor(`reads from ${standbys.join(', ')}`, async () => {
      const seen = await readers()
      return seen.size === standbys.length && standbys.every((each) => seen.has(each))
    })
  }

  test('writes reach the primary, reads the standbys in turn', async () => {
    await writesGoTo('alpha', ['bravo', 'charlie'])
  })

  test('both follow a switchover', async () => {
    // Seen to fail: with /primary answered as it was before, writes stay with alpha.
    const result = await cluster.run(['switchover', '--to', 'bravo', '--yes'])
    expect(result.code, said(result)).toBe(0)
    await writesGoTo('bravo', ['alpha', 'charlie'])
  })

  test('a standby whose PostgreSQL is frozen is out of the reads, and the others go on', async () => {
    const pids = cluster.postgresPids('charlie')
    for (const pid of pids) signal(pid, 'SIGSTOP')
    try {
      await writesGoTo('bravo', ['alpha'])
    } finally {
      for (const pid of pids) signal(pid, 'SIGCONT')
    }
    await writesGoTo('bravo', ['alpha', 'charlie'])
  })

  test('both follow a failover, and the old primary comes back for reads', async () => {
    await cluster.kill(cluster.postmasterPid('bravo'))
    await cluster.waitFor('the next epoch', async () => ((await cluster.status())?.epoch ?? 0) > 2)
    const next = (await cluster.healthy()).primary ?? ''
    expect(next).not.toBe('bravo')
    await writesGoTo(
      next,
      cluster.nodes.filter((node) => node !== next),
    )
  })

  test('the metrics of all nodes agree on one primary', async () => {
    let scrapes: readonly string[] = []
    const scrape = async (): Promise<readonly string[]> => {
      scrapes = await Promise.all(
        cluster.nodes.map(async (node) => {
          const answer = await fetch(`http://127.0.0.1:${cluster.apiPort(node)}/metrics`)
          return answer.text()
        }),
      )
      return scrapes
    }
    const values = (name: string): readonly string[] =>
      scrapes.map((text) => new RegExp(`^${name} (.*)$`, 'm').exec(text)?.[1] ?? 'absent')
    const streaming = (text: string): string => /^understudy_quorum_streaming .*$/m.exec(text)?.[0] ?? ''
    // The one that came back last streams for a moment before the primary has looked again.
    await cluster.waitFor('two streams', async () =>
      (await scrape()).some((text) => / 2$/m.test(streaming(text))),
    )
    expect([...values('understudy_primary')].sort()).toEqual(['0', '0', '1'])
    expect([...values('understudy_standby')].sort()).toEqual(['0', '1', '1'])
    expect(new Set(values('understudy_epoch')).size).toBe(1)
    expect([...values('understudy_quorum_streaming')].sort()).toEqual(['2', 'absent', 'absent'])
    for (const text of scrapes)
      expect(text).toMatch(/^understudy_slot_retained_bytes\{slot="understudy_\w+"\} \d+$/m)
  })
})
