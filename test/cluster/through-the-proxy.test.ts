/** The contract of docs/proxy.md on whole clusters: what clients see that reach `up` through its proxy when the primary changes. */
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import type pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DEBIAN, EMBEDDED, hasDebian, startCluster, type TestCluster } from '../support/cluster-harness.ts'
import { isRunning, signal } from '../support/cluster-processes.ts'
import { ProxyClients, type Way } from '../support/proxy-clients.ts'

const EIGHT: readonly Way[] = [
  ...(['autocommit', 'autocommit', 'transaction', 'transaction'] as const),
  ...(['thoughtful', 'thoughtful', 'thoughtful', 'thoughtful'] as const),
]
/** On one of the two with several workers; however busy this machine is, nobody is to be told that he has waited too long. */
const settingsOf = (version: string): string => `holdTimeout: 2m, workers: ${version === EMBEDDED ? 2 : 1}`
const versions = hasDebian ? [EMBEDDED, DEBIAN] : [EMBEDDED]

describe.each(versions)('through the proxy, PostgreSQL %s (apt install postgresql-15)', (version) => {
  let cluster: TestCluster
  let writers: ProxyClients
  let url: string

  beforeAll(async () => {
    cluster = await startCluster({ pg: version, flags: ['--rto', '1s'] })
    url = (await cluster.run(['url'])).stdout.trim()
  })

  afterAll(async () => {
    await writers?.stop()
    await cluster.remove()
  })

  const connect = (): Promise<pg.Client> =>
    cluster.connect('', { superuser: false, port: cluster.portBase + 33, query_timeout: 60_000 })

  const psql = async (statement: string): Promise<string> =>
    (await promisify(execFile)('psql', [url, '-X', '-A', '-t', '-c', statement])).stdout.trim()

  /** What was acknowledged is on every node, and nothing of what certainly did not happen is on any. */
  async function checkRows(): Promise<void> {
    const [acknowledged, lost] = [[...writers.acknowledged], [...writers.lost]]
    for (const node of cluster.nodes)
      await cluster.waitFor(`${acknowledged.length} rows on ${node}`, async () => {
        const client = await cluster.connect(node, { database: 'app' })
        try {
          const { rows } = await client.query<{ id: string }>('SELECT id FROM through_proxy')
          const ids = new Set(rows.map(({ id }) => Number(id)))
          expect(lost.filter((id) => ids.has(id))).toEqual([])
          return acknowledged.every((id) => ids.has(id))
        } finally {
          await client.end().catch(() => {})
        }
      })
  }

  const goOn = async (): Promise<void> => {
    const before = writers.acknowledged.length
    await cluster.waitFor('more rows', () => writers.acknowledged.length > before + 20)
  }

  test('a killed proxy is started again by the supervisor, with the settings that it has by then', async () => {
    const file = path.join(cluster.data, 'understudy.yaml')
    writeFileSync(file, readFileSync(file, 'utf8').replace('proxy: {', `proxy: { ${settingsOf(version)},`))
    const idle = await connect()
    const ended = new Promise((resolve) => idle.once('end', resolve))
    const [proxy = 0] = cluster.pids('proxy')
    await cluster.kill(proxy)
    await ended
    await cluster.waitFor('another proxy', async () => (await psql('SELECT 1')) === '1')
    const [next] = cluster.pids('proxy')
    expect(next).not.toBe(proxy)
    const status = JSON.parse((await cluster.run(['status', '--json'])).stdout) as { endpoints: unknown }
    expect(status.endpoints).toEqual({
      auto: `127.0.0.1:${cluster.portBase + 32}`,
      readWrite: `127.0.0.1:${cluster.portBase + 33}`,
      readOnly: `127.0.0.1:${cluster.portBase + 34}`,
    })
  })

  test('a switchover is latency, for everybody', async () => {
    writers = await ProxyClients.start(connect, EIGHT)
    const idle = await connect()
    await idle.query('SELECT 1')
    await goOn()
    const { primary } = await cluster.healthy()
    writers.mark()
    const [result] = await Promise.all([
      cluster.run(['switchover', '--yes', '--json']),
      // Some of them begin in the middle of it.
      ...[0, 100, 200, 400, 800].map(async (delayMs) => {
        await new Promise((resolve) => setTimeout(resolve, delayMs))
        expect(await psql('BEGIN; SELECT 1; COMMIT')).toContain('1')
      }),
    ])
    expect(result.code, result.stderr).toBe(0)
    await goOn()
    expect((await idle.query('SELECT pg_is_in_recovery() AS standby')).rows).toEqual([{ standby: false }])
    await idle.end()
    const { since, unforeseen } = writers
    expect(unforeseen).toEqual([])
    // Seen to fail: without the hold before it, transactions end with 40001 and 08007.
    expect(since.errors).toBe(0)
    expect(cluster.events().map(({ kind }) => kind)).toContain('proxies-held')
    expect((await cluster.healthy()).primary).not.toBe(primary)
    await checkRows()
  })

  test('when the primary’s node dies everybody is told what is certain, keeps the connection, and goes on', async () => {
    const { primary } = await cluster.healthy()
    const idle = await connect()
    await idle.query('SELECT 1')
    const inTransaction = await connect()
    await inTransaction.query('BEGIN')
    await inTransaction.query('INSERT INTO through_proxy (id) VALUES (-1)')
    writers.mark()
    const node = primary ?? ''
    signal(cluster.agentPid(node), 'SIGKILL')
    const pids = cluster.postgresPids(node)
    for (const pid of pids) signal(pid, 'SIGKILL')
    // What is sent into a connection that has broken unnoticed may have happened, as far as anybody can know.
    await cluster.waitFor('the end of all of it', () => !pids.some(isRunning))
    // Held until there is another primary, without an error.
    expect((await idle.query('SELECT pg_is_in_recovery() AS standby')).rows).toEqual([{ standby: false }])
    await expect(inTransaction.query('COMMIT')).rejects.toMatchObject({ code: '40001', severity: 'ERROR' })
    await inTransaction.query('ROLLBACK')
    expect((await inTransaction.query('SELECT id FROM through_proxy WHERE id < 0')).rows).toEqual([])
    await goOn()
    expect(writers.unforeseen).toEqual([])
    await Promise.all([idle.end(), inTransaction.end()])
    await cluster.healthy()
    await checkRows()
  })

  test('down ends the proxy first and leaves nothing', async () => {
    const stopped = cluster.down()
    await cluster.waitFor('the end of the proxy', () => cluster.pids('proxy').length === 0)
    expect((await stopped).code).toBe(0)
    expect(cluster.processes()).toEqual([])
  })
})
