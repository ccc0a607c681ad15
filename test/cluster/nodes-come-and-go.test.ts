/** Nodes that are added and removed, and passwords and certificates that change, while clients write; over IPv6 where it can be had. */
import { existsSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ETCD } from '../lab/store.ts'
import { ensureBuilt } from '../support/built.ts'
import { Machines, PROXY_PORT } from '../support/machines.ts'

const hasParts = existsSync('/usr/lib/postgresql/15/bin/postgres') && existsSync(ETCD)

describe.skipIf(!hasParts)('nodes come and go (apt install postgresql-15 etcd-server)', () => {
  let machines: Machines

  beforeAll(async () => {
    ensureBuilt()
    machines = await Machines.start({
      nodes: ['alpha', 'bravo', 'charlie'],
      spare: ['delta'],
      withIPv6: true,
    })
    await machines.setUp()
    machines.startAgents()
    await machines.healthy()
  })

  afterAll(async () => {
    await machines?.close()
  })

  const postmasters = async (): Promise<readonly unknown[]> =>
    (await machines.healthy()).nodes
      .filter(({ name }) => name !== 'delta')
      .map(({ name, postmasterPid }) => [name, postmasterPid])

  const slots = async (name: string): Promise<readonly string[]> =>
    (
      await machines.sql<{ slot_name: string }>(name, 'select slot_name from pg_replication_slots order by 1')
    ).map(({ slot_name }) => slot_name)

  const hba = (name: string): string =>
    readFileSync(path.join(machines.nodeDirectory(name), 'conf', 'pg_hba.conf'), 'utf8')

  test('a node is added: the others let it in without a restart, and it is cloned and counted', async () => {
    const before = await postmasters()
    const added = await machines.understudy(
      'add',
      machines.nodeWord('delta'),
      '--dir',
      machines.home,
      '--api-port',
      '18008',
    )
    expect(added.stderr).toBe('')
    expect(added.code).toBe(0)
    expect(added.stdout).toContain('alpha: took understudy.yaml')
    // What only a test needs: every machine of it is this one.
    machines.edit((document) => machines.describeMachine(document, 'delta'))
    const pushed = await machines.understudy('push', '--dir', machines.home)
    expect([pushed.code, pushed.stdout]).toEqual([3, expect.stringMatching(/delta: .*does not answer/)])
    machines.unpack('delta')
    machines.node('delta').startAgent()
    const whole = await machines.healthy()
    expect(whole.nodes.map(({ name }) => name)).toEqual(['alpha', 'bravo', 'charlie', 'delta'])
    expect(await postmasters()).toEqual(before)
  })

  test('a node is removed: the rule, the slots, the access and its certificate are gone, and it stays away', async () => {
    const primary = await machines.primary()
    const refused = await machines.understudy('remove', primary, '--yes', '--dir', machines.home)
    expect(refused.stderr).toContain('is the primary')

    const removed = await machines.understudy('remove', 'delta', '--yes', '--dir', machines.home)
    expect(removed.stderr).toBe('')
    expect(removed.code).toBe(0)
    const status = await machines.healthy()
    expect(status.quorum?.standbys).not.toContain('delta')
    await machines.waitFor('its PostgreSQL to stop', () => !machines.node('delta').postgresRuns)
    await machines.node('delta').stopAgent()
    machines.unexpectedEnds.length = 0
    await machines.waitFor('its slots to go', async () => {
      const left = await Promise.all(['alpha', 'bravo', 'charlie'].map(slots))
      return left.every((names) => names.length === 2)
    })
    expect(hba('alpha')).not.toContain(`${machines.addressOf('delta')}/`)
    expect(existsSync(path.join(machines.home, 'tls', 'delta.key'))).toBe(false)

    const back = await machines.run('delta', 'agent', '--config', machines.configFile('delta'))
    expect(back.stderr).toContain('node-removed')
    const unknown = await machines.understudy('remove', 'delta', '--yes', '--dir', machines.home)
    expect(unknown.stderr).toContain('unknown-node')
  })

  test('a cluster from before the proxy gets its password, its role and a proxy at a node with one push', async () => {
    const primary = await machines.primary()
    await machines.sql(primary, 'drop schema understudy cascade')
    await machines.sql(primary, 'drop role understudy_proxy')
    for (const place of [
      machines.home,
      ...['alpha', 'bravo', 'charlie'].map((name) => machines.bundle(name)),
    ])
      rmSync(path.join(place, 'secrets', 'proxy'))
    machines.edit((document) => document.setIn(['proxy', 'ports'], { readWrite: PROXY_PORT }))
    const pushed = await machines.understudy('push', '--dir', machines.home)
    expect([pushed.code, pushed.stdout]).toEqual([0, expect.stringMatching(/alpha: took .*secrets\/proxy/)])
    const proxy = machines.startProxy('bravo')
    const rows = await machines.waitFor('the proxy', () =>
      machines.askProxy('bravo', 'select current_user as who, pg_is_in_recovery() as standby'),
    )
    expect(rows).toEqual([{ who: 'app', standby: false }])
    expect(proxy.outcome()).toBeNull()
    const url = await machines.understudy('url', '--config', `${machines.home}/understudy.yaml`)
    expect(url.stdout.split(`:${PROXY_PORT}`)).toHaveLength(4)
  })

  test('passwords change: what is connected stays, what connects anew has the new one, and the old one is worth nothing', async () => {
    const primary = await machines.primary()
    const before = await postmasters()
    const old = readFileSync(path.join(machines.home, 'secrets', 'superuser'), 'utf8').trim()
    const session = machines.sql(primary, 'select pg_sleep(6), 1 as kept')
    const through = machines.askProxy('bravo', 'select pg_sleep(6), 1 as kept')
    const rotated = await machines.understudy('rotate', 'passwords', '--yes', '--dir', machines.home)
    expect(rotated.code).toBe(0)
    expect(await session).toEqual([{ pg_sleep: '', kept: 1 }])
    expect(await through).toEqual([{ pg_sleep: '', kept: 1 }])
    await machines.healthy()
    expect(await postmasters()).toEqual(before)
    // Whatever the proxy had open as its own role is closed: it has to log in with its new password.
    await machines.sql(
      primary,
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'understudy proxy'",
    )
    await machines.waitFor('the new password at the proxy', () =>
      machines.askProxy('bravo', 'select 1 as one'),
    )
    await expect(machines.askProxy('bravo', 'select 1', 'an old one')).rejects.toThrow(/password/)
    await expect(machines.sql(primary, 'select 1', [], old)).rejects.toThrow(/password authentication failed/)
    expect(existsSync(path.join(machines.home, 'secrets', 'previous'))).toBe(false)

    // Every walreceiver has to log in anew, and every agent.
    await machines.sql(primary, 'select pg_terminate_backend(pid) from pg_stat_replication')
    await machines.healthy()
    const status = await machines.understudy('status', '--config', `${machines.home}/understudy.yaml`)
    expect(status.code).toBe(0)
  })

  test('certificates change: PostgreSQL and the API show the new ones, without a restart', async () => {
    const before = await postmasters()
    const shown = await machines.certificateOf('bravo')
    const rotated = await machines.understudy('rotate', 'certificates', '--yes', '--dir', machines.home)
    expect(rotated.code).toBe(0)
    await machines.waitFor('the new certificates', async () => {
      const now = await machines.certificateOf('bravo')
      return now.api !== shown.api && now.postgres !== shown.postgres && now.api === now.postgres
    })
    await machines.waitFor('the new certificate at the proxy', async () => {
      return (
        (await machines.certificateAt('bravo', PROXY_PORT)) ===
        (await machines.certificateOf('bravo')).postgres
      )
    })
    await machines.healthy()
    expect(await postmasters()).toEqual(before)
    expect(machines.unexpectedEnds).toEqual([])
  })

  test('what a node would not take is refused by it, and it goes on as before', async () => {
    machines.edit((document) => document.setIn(['nodes', 'alpha', 'directory'], '/elsewhere'))
    const refused = await machines.understudy('push', '--dir', machines.home, '--node', 'alpha')
    expect(refused.code).toBe(1)
    expect(refused.stdout).toContain('cannot change')
    machines.edit((document) => machines.describeMachine(document, 'alpha'))
    await machines.healthy()
  })
})
