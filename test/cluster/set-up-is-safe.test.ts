/**
 * What a first start promises of safety, seen from outside on a running cluster: commits wait, secrets stay secret, strangers stay
 * out, and what is written down can be read by its owner only. On the embedded PostgreSQL and on Debian's.
 */

import { readdirSync, readFileSync, statSync } from 'node:fs'
import { connect as connectTcp, Socket } from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { LOCAL_SECRET_NAMES } from '../../src/cli/secret-names.ts'
import {
  DEBIAN,
  EMBEDDED,
  hasDebian,
  makeCluster,
  said,
  type TestCluster,
} from '../support/cluster-harness.ts'
import { signal, visibleText } from '../support/cluster-processes.ts'

describe.each([
  { pg: EMBEDDED, there: true },
  { pg: DEBIAN, there: hasDebian },
])('on PostgreSQL $pg', ({ pg: version, there }) => {
  if (!there) {
    test.skip(`PostgreSQL ${version} is not installed`, () => {})
    return
  }
  let cluster: TestCluster
  let words = ''

  beforeAll(async () => {
    cluster = await makeCluster({ pg: version })
    const started = await cluster.up()
    expect(started.code, said(started)).toBe(0)
    words = said(started)
  })

  afterAll(() => cluster.remove())

  test('it is the version that was asked for, with checksums, on every node', async () => {
    for (const node of cluster.nodes) {
      const [row] = await cluster.sql(
        node,
        "SELECT current_setting('server_version_num')::int / 10000 AS major, current_setting('data_checksums') AS checksums",
      )
      expect(row).toEqual({ major: Number(version), checksums: 'on' })
    }
  })

  test('every node keeps a slot for every other member, and slots cannot fill the disk', async () => {
    for (const node of cluster.nodes) {
      const others = cluster.nodes.filter((each) => each !== node)
      // Those of standbys are made once they stream, so that each of them could take over.
      await cluster.waitFor(`the slots on ${node}`, async () => {
        const slots = await cluster.sql<{ name: string }>(
          node,
          "SELECT slot_name AS name FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT temporary ORDER BY 1",
        )
        return slots.map(({ name }) => name).join() === others.map((each) => `understudy_${each}`).join()
      })
      const [limit] = await cluster.sql(
        node,
        "SELECT setting::int > 0 AS finite FROM pg_settings WHERE name = 'max_slot_wal_keep_size'",
      )
      expect(limit).toEqual({ finite: true })
    }
  })

  describe('commits', () => {
    let client: pg.Client

    beforeAll(async () => {
      client = await cluster.connect('alpha', { superuser: false })
      await client.query('CREATE TABLE waits (id int)')
    })
    afterAll(() => client.end())

    test('go on while one standby is frozen, wait while both are, and go on when one is back', async () => {
      // Seen to fail: with synchronous_commit = local in the base configuration no commit ever waits.
      const frozen = new Map<string, readonly number[]>()
      const freeze = (node: string): void => {
        frozen.set(node, cluster.postgresPids(node))
        for (const pid of frozen.get(node) ?? []) signal(pid, 'SIGSTOP')
      }
      const thaw = (node: string): void => {
        for (const pid of frozen.get(node) ?? []) signal(pid, 'SIGCONT')
      }
      try {
        freeze('bravo')
        await client.query('INSERT INTO waits VALUES (1)')
        freeze('charlie')
        let acknowledged = false
        const commit = client.query('INSERT INTO waits VALUES (2)').then(() => {
          acknowledged = true
        })
        await cluster.waitFor('the commit to wait for a standby', async () => {
          const rows = await cluster.sql(
            'alpha',
            "SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE 'INSERT INTO waits%'",
          )
          return rows.length === 1
        })
        await sleep(500)
        expect(acknowledged).toBe(false)
        thaw('charlie')
        await commit
        expect(acknowledged).toBe(true)
      } finally {
        for (const node of frozen.keys()) thaw(node)
      }
      await cluster.healthy()
    })
  })

  describe('replication', () => {
    const logIn = async (over: pg.ClientConfig): Promise<string> => {
      const client = await cluster.connect('alpha', {
        user: 'understudy_replication',
        password: cluster.secret('replication'),
        // pg passes it on as the startup parameter: what a walreceiver sends.
        ...({ replication: 'true' } as Partial<pg.ClientConfig>),
        ...over,
      })
      try {
        // pg wraps every statement in nothing: the walsender understands its own command.
        const { rows } = await client.query<{ systemid: string }>('IDENTIFY_SYSTEM')
        return rows[0]?.systemid ?? ''
      } finally {
        await client.end()
      }
    }

    test('takes a member with the password over TLS', async () => {
      expect(await logIn({})).toMatch(/^\d{10,}$/)
    })

    test('refuses a wrong password', async () => {
      await expect(logIn({ password: 'wrong' })).rejects.toMatchObject({ code: '28P01' })
    })

    test('refuses a member without TLS', async () => {
      // Seen to fail: with host instead of hostssl in pg_hba.conf.
      await expect(logIn({ ssl: false })).rejects.toMatchObject({
        code: '28000',
        message: expect.stringMatching(/rejects replication connection .* no encryption/),
      })
    })

    test('refuses an address that is no member, TLS and password or not', async () => {
      // Seen to fail: with 127.0.0.0/8 in pg_hba.conf instead of the members' addresses it is let in.
      await expect(logIn({ stream: () => new SocketFrom('127.0.0.2') })).rejects.toMatchObject({
        code: '28000',
        message: expect.stringMatching(/rejects replication connection for host "127\.0\.0\.2"/),
      })
    })

    test('lets its role into no database', async () => {
      const config = { user: 'understudy_replication', password: cluster.secret('replication') }
      await expect(cluster.connect('alpha', config)).rejects.toMatchObject({ code: '28000' })
    })

    test('checks the certificate of the primary, and finds its password in a file', async () => {
      for (const node of ['bravo', 'charlie']) {
        const [row] = await cluster.sql<{ conninfo: string }>(
          node,
          "SELECT current_setting('primary_conninfo') AS conninfo",
        )
        expect(row?.conninfo).toMatch(/sslmode='?verify-full/)
        expect(row?.conninfo).toContain('passfile=')
        expect(row?.conninfo).not.toMatch(/password *=/)
      }
      const rows = await cluster.sql(
        'alpha',
        'SELECT ssl FROM pg_stat_replication JOIN pg_stat_ssl USING (pid)',
      )
      expect(rows).toEqual([{ ssl: true }, { ssl: true }])
    })
  })

  describe('secrets', () => {
    const found = (text: string | Buffer): readonly string[] =>
      LOCAL_SECRET_NAMES.filter((name) => text.includes(cluster.secret(name)))

    test('are long, and each is another', () => {
      const all = LOCAL_SECRET_NAMES.map((name) => cluster.secret(name))
      expect(new Set(all).size).toBe(LOCAL_SECRET_NAMES.length)
      // 32 bytes as base64url.
      for (const secret of all) expect(secret).toMatch(/^[\w-]{43}$/)
    })

    test('are in no command line and no environment', () => {
      // Seen to fail: with PGPASSWORD in the environment of the postmasters.
      const processes = cluster.processes()
      expect(processes.length).toBeGreaterThan(20)
      for (const { pid, kind, command } of processes)
        expect(found(visibleText(pid)), `${kind} ${command}`).toEqual([])
    })

    test('are in no file but those that hold them: no log, event, configuration or data', () => {
      // Seen to fail: with the token written into the store's log.
      let looked = 0
      for (const file of filesBelow(cluster.data)) {
        if (path.relative(cluster.data, file).split(path.sep).includes('secrets')) continue
        if (!statSync(file, { throwIfNoEntry: false })?.isFile()) continue
        looked++
        expect(found(readFileSync(file)), file).toEqual([])
      }
      expect(looked).toBeGreaterThan(1_000)
    })

    test('are in nothing that is printed, except by url, which is for that', async () => {
      expect(found(words)).toEqual([])
      for (const command of ['status', 'events', 'why'])
        expect(found(said(await cluster.run([command, '--json']))), command).toEqual([])
      expect(found(said(await cluster.run(['url'])))).toEqual(['application'])
      expect(found(said(await cluster.run(['url', '--no-password'])))).toEqual([])
    })

    test('open the store to those only who have the token', async () => {
      const ask = (token: string | null): Promise<Response> =>
        fetch(`http://127.0.0.1:${cluster.storePort}/v3/kv/range`, {
          method: 'POST',
          headers: token === null ? {} : { authorization: token },
          body: JSON.stringify({ key: Buffer.from('/understudy/main/primacy').toString('base64') }),
        })
      expect((await ask(null)).status).toBe(401)
      expect((await ask('wrong')).status).toBe(401)
      const answer = await ask(cluster.secret('store-token'))
      expect(await answer.json()).toMatchObject({ count: '1' })
    })
  })

  test('every file is its owner’s alone, every directory too', () => {
    // Seen to fail: with logs that are opened with 0644.
    const open = [cluster.data, ...filesBelow(cluster.data)].flatMap((file) => {
      const facts = statSync(file, { throwIfNoEntry: false })
      // A socket is as open as the directory that it is in.
      if (facts === undefined || facts.isSocket()) return []
      return (facts.mode & 0o077) === 0 ? [] : [`${(facts.mode & 0o777).toString(8)} ${file}`]
    })
    expect(open).toEqual([])
  })

  test('nothing listens for other machines', async () => {
    // The address of another interface, as another machine would use; 127.0.0.1 alone is asked for.
    const ports = [
      ...cluster.nodes.flatMap((node) => [cluster.port(node), cluster.apiPort(node)]),
      cluster.storePort,
    ]
    for (const port of ports) expect(await answers('127.0.0.3', port), `port ${port}`).toBe(false)
    expect(await answers('127.0.0.1', cluster.storePort)).toBe(true)
  })
})

/** A connection from an address of this machine that is not a member's. */
class SocketFrom extends Socket {
  readonly #address: string

  constructor(address: string) {
    super()
    this.#address = address
  }

  override connect(...args: unknown[]): this {
    const [port, host] = args as [number, string]
    return super.connect({ port, host, localAddress: this.#address })
  }
}

function filesBelow(directory: string): readonly string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' }).map((name) =>
    path.join(directory, name),
  )
}

function answers(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connectTcp({ host, port }, () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', () => resolve(false))
  })
}
