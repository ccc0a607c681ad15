/** A proxy of several processes is one proxy: for its clients, for whoever cancels, for its operator, and when one of the processes dies. */
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startCluster, type TestCluster } from '../support/cluster-harness.ts'
import { signal } from '../support/cluster-processes.ts'
import { sendCancelTo } from '../support/wire-client.ts'

const WORKERS = 2
const CLIENTS = 6

interface CancelKey {
  readonly processID: number
  readonly secretKey: number
}

describe('a proxy of two workers', () => {
  let cluster: TestCluster
  let port: number
  let metricsPort: number
  let console: pg.Client

  const connect = (): Promise<pg.Client> => cluster.connect('', { superuser: false, port })
  const rows = async (sql: string): Promise<readonly Record<string, string>[]> =>
    (await console.query<Record<string, string>>(sql)).rows
  const configFile = (): string => path.join(cluster.data, 'understudy.yaml')
  const edit = (from: string | RegExp, to: string): void =>
    writeFileSync(configFile(), readFileSync(configFile(), 'utf8').replace(from, to))
  const withClients = async (use: (clients: readonly pg.Client[]) => Promise<void>): Promise<void> => {
    const clients = await Promise.all(Array.from({ length: CLIENTS }, connect))
    for (const client of clients) client.on('error', () => {})
    try {
      await use(clients)
    } finally {
      await Promise.all(clients.map((client) => client.end().catch(() => {})))
    }
  }
  const workerOf = async (): Promise<ReadonlyMap<number, string>> =>
    new Map((await rows('SHOW CLIENTS')).map((each) => [Number(each['id']), each['worker'] ?? '']))
  const keyOf = (client: pg.Client): CancelKey => client as unknown as CancelKey

  beforeAll(async () => {
    cluster = await startCluster({ nodes: 1, durability: 'async' })
    port = cluster.portBase + 33
    metricsPort = cluster.portBase + 35
    edit('proxy: {', `proxy: { workers: ${WORKERS}, metricsPort: ${metricsPort},`)
    await cluster.kill(cluster.pids('proxy')[0] ?? 0)
    await cluster.waitFor('the workers', async () => {
      console = await cluster.connect('', { port, database: 'pgunderstudy' })
      const open = (await rows('SHOW WORKERS')).filter((each) => each['state'] === 'open')
      if (open.length === WORKERS) return true
      await console.end()
      return false
    })
  })

  afterAll(async () => {
    await console?.end().catch(() => {})
    await cluster?.remove()
  })

  test('has one primary process, and the workers share the clients', async () => {
    expect(cluster.pids('proxy')).toHaveLength(1)
    expect(cluster.pids('proxyWorker')).toHaveLength(WORKERS)
    const workers = await rows('SHOW WORKERS')
    expect(workers.map((each) => [each['worker'], each['state']])).toEqual([
      ['0', 'open'],
      ['1', 'open'],
    ])
    await withClients(async (clients) => {
      await Promise.all(clients.map((client) => client.query('SELECT 1')))
      expect(new Set((await workerOf()).values()).size).toBe(WORKERS)
      const [pool] = (await rows('SHOW POOLS')).filter((each) => each['database'] === 'app')
      expect(pool).toMatchObject({ cl_active: String(CLIENTS), pool_size: '20' })
      const response = await fetch(`http://127.0.0.1:${metricsPort}/metrics`)
      const metrics = await response.text()
      expect(metrics).toContain('\nunderstudy_proxy_up 1\n')
      expect(metrics).toMatch(
        /understudy_proxy_pools_client_active_connections\{database="app",user="app"\} 6\n/,
      )
      expect((await fetch(`http://127.0.0.1:${metricsPort}/readiness`)).status).toBe(200)
    })
  })

  test('a cancel reaches its session, whichever worker it comes to', async () => {
    await withClients(async ([client]) => {
      if (client === undefined) return
      // Workers take turns: of several in a row some come to the wrong one.
      for (let i = 0; i < 4; i++) {
        const sleeping = client.query('SELECT pg_sleep(60)')
        const refused = expect(sleeping).rejects.toMatchObject({ code: '57014' })
        await cluster.waitFor('the statement', async () =>
          (await rows('SHOW CLIENTS')).some(
            (each) => each['id'] === String(keyOf(client).processID) && each['state'] === 'active',
          ),
        )
        const secret = Buffer.alloc(4)
        secret.writeInt32BE(keyOf(client).secretKey)
        await sendCancelTo(port, keyOf(client).processID, secret)
        await refused
      }
    })
  })

  test('maxClients is for all of them, and is taken over without dropping anyone', async () => {
    await withClients(async (clients) => {
      edit('proxy: {', `proxy: { maxClients: ${CLIENTS + 1}, poolMode: session,`)
      await rows('RELOAD')
      expect((await rows('SHOW CONFIG')).find((each) => each['key'] === 'proxy.maxClients')).toMatchObject({
        ...{ value: String(CLIENTS + 1), default: '2000', changeable: 'yes' },
      })
      await cluster.waitFor('the refusal of one more', async () => {
        const one = await connect().catch((error: unknown) => error as { code?: string })
        if ('end' in one) await one.end()
        return 'code' in one && one.code === '53300'
      })
      await Promise.all(clients.map((client) => client.query('SELECT 1')))
      edit(` maxClients: ${CLIENTS + 1}, poolMode: session,`, '')
      edit('workers: 2', 'workers: 3')
      const notices: string[] = []
      console.on('notice', (notice) => notices.push(notice.message ?? ''))
      await rows('RELOAD')
      console.removeAllListeners('notice')
      expect(notices.join()).toContain('counts when it is started again: proxy.workers')
      edit('workers: 3', 'workers: 2')
      edit('proxy: {', 'proxy: { nonsense: 1,')
      await expect(rows('RELOAD')).rejects.toMatchObject({ code: 'F0000' })
      edit(' nonsense: 1,', '')
      await rows('RELOAD')
      await Promise.all(clients.map((client) => client.query('SELECT 1')))
    })
  })

  test('PAUSE holds at every worker, RESUME goes on', async () => {
    await withClients(async (clients) => {
      await rows('PAUSE')
      const asked = Promise.all(clients.map((client) => client.query('SELECT 1')))
      await cluster.waitFor('all of them to wait', async () => {
        const waiting = (await rows('SHOW POOLS')).map((each) => Number(each['cl_waiting']))
        return waiting.reduce((all, each) => all + each, 0) === CLIENTS
      })
      await rows('RESUME')
      expect(await asked).toHaveLength(CLIENTS)
    })
  })

  test('status and doctor see it', async () => {
    await cluster.waitFor('its line', async () =>
      /proxy: .* 2 workers/.test((await cluster.run(['status'])).stdout),
    )
    const { checks } = JSON.parse((await cluster.run(['doctor', '--json'])).stdout) as {
      checks: readonly { readonly id: string; readonly status: string; readonly message: string }[]
    }
    const seen = checks.filter(({ id }) => id.startsWith('proxy'))
    expect(seen.map(({ id, status, message }) => [id, status, message])).toEqual([
      ['proxy', 'ok', expect.stringMatching(/answer, the certificate is good for \d+ days/)],
      ['proxy-epoch', 'ok', expect.stringMatching(/prox(y|ies) in epoch 1/)],
      ['proxy-logins', 'ok', expect.any(String)],
    ])
  })

  test('one that dies takes its own sessions and nothing else, and is begun again', async () => {
    await withClients(async (clients) => {
      const workers = await workerOf()
      const own = [...workers.keys()]
      const mine = new Map(clients.map((client) => [client, workers.get(keyOf(client).processID)]))
      expect(own).toHaveLength(CLIENTS)
      const doomed = (await rows('SHOW WORKERS')).find((each) => each['worker'] === '1')
      // The console may be of that worker, too.
      const watcher = console
      watcher.on('error', () => {})
      signal(Number(doomed?.['pid']), 'SIGKILL')
      await cluster.waitFor('another one', async () => {
        const pids = cluster.pids('proxyWorker')
        return pids.length === WORKERS && !pids.includes(Number(doomed?.['pid']))
      })
      for (const [client, worker] of mine) {
        const asked = client.query('SELECT 1')
        if (worker === '1') await expect(asked).rejects.toThrow()
        else expect((await asked).rows).toHaveLength(1)
      }
      await watcher.end().catch(() => {})
      await cluster.waitFor('the console', async () => {
        console = await cluster.connect('', { port, database: 'pgunderstudy' })
        return (await rows('SHOW WORKERS')).length === WORKERS
      })
    })
  })

  test('workers end with their primary process, and all of it is started again', async () => {
    console.on('error', () => {})
    const [before, [primary = 0]] = [cluster.pids('proxyWorker'), cluster.pids('proxy')]
    await cluster.kill(primary)
    await cluster.waitFor('other workers', () => {
      const pids = cluster.pids('proxyWorker')
      return pids.length === WORKERS && !pids.some((pid) => before.includes(pid))
    })
    await console.end().catch(() => {})
    await cluster.waitFor('the proxy', async () => {
      const client = await connect()
      await client.query('SELECT 1')
      await client.end()
      return true
    })
  })

  test('down ends all of them', async () => {
    expect((await cluster.down()).code).toBe(0)
    expect(cluster.processes()).toEqual([])
  })
})
