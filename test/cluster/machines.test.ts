/** A cluster on several machines, set up from bundles, with an etcd of three members that asks for TLS and a password. */
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseDocument } from 'yaml'
import type { ClusterStatus, Why } from '../../src/api/contract.ts'
import { findFaketime } from '../lab/clock.ts'
import { ETCD } from '../lab/store.ts'
import { ensureBuilt } from '../support/built.ts'
import { isRunning, signal } from '../support/cluster-processes.ts'
import { API_PORT, Machines } from '../support/machines.ts'

const hasParts =
  existsSync('/usr/lib/postgresql/15/bin/postgres') && existsSync(ETCD) && findFaketime() !== null

describe.skipIf(!hasParts)('several machines (apt install postgresql-15 etcd-server faketime)', () => {
  let machines: Machines

  beforeAll(async () => {
    ensureBuilt()
    machines = await Machines.start({
      nodes: ['alpha', 'bravo', 'charlie'],
      spare: ['delta'],
      canStepClock: true,
    })
    await machines.setUp()
    machines.startAgents()
    await machines.healthy()
    await machines.sql(await machines.primary(), 'create table told (what text primary key)')
  })

  afterAll(async () => {
    await machines?.close()
  })

  const others = (name: string): string[] => ['alpha', 'bravo', 'charlie'].filter((each) => each !== name)

  /** Acknowledged under the quorum rule. */
  const tell = async (what: string): Promise<void> => {
    await machines.sql(await machines.primary(), 'insert into told values ($1)', [what])
  }

  const told = async (name: string): Promise<readonly string[]> =>
    (await machines.sql<{ what: string }>(name, 'select what from told')).map(({ what }) => what)

  /** With whatever else is seen on the way: a primary that is neither the old one nor nobody. */
  const newPrimary = (old: string): Promise<string> =>
    machines.waitFor('a new primary', async () => {
      const status = await machines.status()
      return status?.phase === 'steady' && status.primary !== old && status.primary
    })

  test('every command works at any node, with that node’s own bundle, and from the operator’s directory', async () => {
    const primary = await machines.primary()
    const target = others(primary)[0] ?? ''
    for (const name of ['alpha', 'bravo', 'charlie']) {
      const status = await machines.run(name, 'status', '--json', '--config', machines.configFile(name))
      expect(status.stderr).toBe('')
      expect(status.code).toBe(0)
      expect((JSON.parse(status.stdout) as ClusterStatus).primary).toBe(primary)
    }
    const doctor = await machines.run(target, 'doctor', '--json', '--config', machines.configFile(target))
    const { checks } = JSON.parse(doctor.stdout) as { checks: readonly Record<string, string>[] }
    expect(checks.filter(({ status }) => status === 'failed')).toEqual([])
    for (const id of ['placement', 'store', 'nodes', 'certificates'])
      expect(checks.find((each) => each['id'] === id)).toMatchObject({ status: 'ok' })
    const why = await machines.run(target, 'why', '--json', '--config', machines.configFile(target))
    expect((JSON.parse(why.stdout) as readonly Why[]).map(({ node }) => node).sort()).toEqual([
      'alpha',
      'bravo',
      'charlie',
    ])

    const changed = await machines.run(
      target,
      ...['switchover', '--to', target, '--yes', '--config', machines.configFile(target)],
    )
    expect(changed.stderr).not.toContain('error')
    expect(changed.code).toBe(0)
    const events = await machines.understudy(
      'events',
      '--json',
      '--config',
      `${machines.home}/understudy.yaml`,
    )
    expect(events.code).toBe(0)
    expect(events.stdout).toContain('promote-done')
    const history = await machines.understudy('history', '--config', `${machines.home}/understudy.yaml`)
    expect(history.stdout).toContain(target)
    await machines.healthy()
  })

  test('the API speaks TLS only, and commands ask for the token', async () => {
    const plain = await new Promise<string>((resolve) => {
      const sent = request(
        { host: machines.addressOf('alpha'), port: API_PORT, path: '/v1/node' },
        (answer) => resolve(String(answer.statusCode)),
      )
      sent.on('error', () => resolve('refused'))
      sent.end()
    })
    expect(plain).toBe('refused')
  })

  test('a restarted agent adopts the PostgreSQL that runs, whether it was killed or told to start anew', async () => {
    const primary = await machines.primary()
    const node = machines.node(primary)
    const pidOf = async (): Promise<unknown> =>
      (await machines.healthy()).nodes.find(({ name }) => name === primary)?.postmasterPid
    const postmaster = await pidOf()
    const session = machines.sql(primary, 'select pg_sleep(4), 1 as kept')
    await node.kill('agent')
    node.startAgent()
    await machines.healthy()
    const [agent = 0] = node.pidsOf('agent')
    signal(agent, 'SIGUSR2')
    await machines.waitFor('the next agent', () => !isRunning(agent) && node.agentRuns)
    await machines.healthy()
    expect(await pidOf()).toBe(postmaster)
    expect(await session).toEqual([{ pg_sleep: '', kept: 1 }])
    expect(machines.unexpectedEnds.map(({ how }) => how)).toEqual(['exit code 0'])
    machines.unexpectedEnds.length = 0
  })

  test('a killed machine is replaced, though the clocks are hours apart, and comes back as a standby', async () => {
    const primary = await machines.primary()
    const [ahead = '', behind = ''] = others(primary)
    machines.node(ahead).stepClock(7_200)
    machines.node(behind).stepClock(-7_200)
    await tell('before the kill')
    await machines.node(primary).kill('node')
    const elected = await newPrimary(primary)
    expect(await told(elected)).toContain('before the kill')
    machines.node(primary).startAgent()
    await machines.healthy()
    for (const name of [ahead, behind]) machines.node(name).stepClock(0)
  })

  test('a machine that is cut off, its store too, acknowledges nothing, and comes back as a standby', async () => {
    const primary = await machines.primary()
    await tell('before the cut')
    const mend = await machines.cutOff(primary)
    const elected = await newPrimary(primary)
    await machines.sql(elected, "insert into told values ('during the cut')")
    await mend()
    await machines.healthy()
    const rows = await told(primary)
    expect(rows).toContain('before the cut')
    expect(rows).toContain('during the cut')
  })

  test('the bundle of another node is refused before anything runs', async () => {
    machines.unpack('alpha', 'delta')
    const named = await machines.run(
      'delta',
      'agent',
      '--config',
      machines.configFile('delta'),
      '--node',
      'delta',
    )
    expect(named.code).toBe(1)
    expect(named.stderr).toContain('unknown-node')
    const other = await machines.run(
      'delta',
      'agent',
      '--config',
      machines.configFile('delta'),
      '--node',
      'bravo',
    )
    expect(other.stderr).toContain('this is the bundle of alpha of the cluster main, not of bravo')
    const unnamed = await machines.run('delta', 'agent', '--config', machines.configFile('delta'))
    expect(unnamed.code).toBe(1)
    expect(unnamed.stderr).toMatch(machines.canCut ? /wrong-host/ : /already-running/)
    await machines.healthy()
  })

  test('a copied machine gets no name, and the one that has it hears nothing of it', async () => {
    const standby = others(await machines.primary())[0] ?? ''
    const { agentPid } = (await machines.healthy()).nodes.find(({ name }) => name === standby) ?? {}
    machines.unpack(standby, 'delta')
    cpSync(machines.nodeDirectory(standby), machines.nodeDirectory('delta'), {
      recursive: true,
      filter: (file) => !/\/(data|run)$/.test(file),
    })
    const file = machines.configFile('delta')
    const document = parseDocument(readFileSync(file, 'utf8'))
    document.setIn(['nodes', standby, 'directory'], machines.nodeDirectory('delta'))
    document.setIn(['nodes', standby, 'listen'], [machines.addressOf('delta')])
    writeFileSync(file, document.toString())
    machines.ownAll('delta')
    const refused = await machines.run('delta', 'agent', '--config', file)
    expect(refused.stderr).toContain('name-taken')
    expect(refused.code).toBe(1)
    const after = (await machines.healthy()).nodes.find(({ name }) => name === standby)
    expect(after?.agentPid).toBe(agentPid)
  })

  test('a misspelt key is an error with its line, and nothing is started', async () => {
    machines.unpack('alpha', 'delta')
    const file = machines.configFile('delta')
    writeFileSync(file, readFileSync(file, 'utf8').replace(/^rto:/m, 'rtto:'))
    machines.ownAll('delta')
    const refused = await machines.run('delta', 'agent', '--config', file)
    expect(refused.code).toBe(1)
    expect(refused.stderr).toMatch(/config-invalid: .*understudy.yaml:\d+: .*rto/)
  })
})
