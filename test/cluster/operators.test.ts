/**
 * What operators do to a running cluster, as they do it: by the command line, under load, with the wrong thing asked for now and then. What
 * was acknowledged stays, except where its loss was accepted; and then its last copy stays.
 */
import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { FailoverAnswer, HistoryEntry } from '../../src/api/contract.ts'
import { DEBIAN, hasDebian, said, startCluster, type TestCluster } from '../support/cluster-harness.ts'
import { signal } from '../support/cluster-processes.ts'
import type { Writer } from '../support/cluster-writer.ts'

interface Ended {
  readonly code: number | null
  readonly json: Record<string, unknown>
}

async function ask(cluster: TestCluster, ...args: readonly string[]): Promise<Ended> {
  const result = await cluster.run([...args, '--json'])
  try {
    return { code: result.code, json: JSON.parse(result.stdout) as Record<string, unknown> }
  } catch {
    throw new Error(cluster.explain(`${args.join(' ')} ended with ${result.code}:\n${said(result)}`))
  }
}

function codeOf({ json }: Ended): unknown {
  return (json['error'] as { code?: unknown } | undefined)?.code
}

async function primaryOf(cluster: TestCluster): Promise<string> {
  return (await cluster.healthy()).primary ?? ''
}

function asideOf(cluster: TestCluster, node: string): readonly string[] {
  const directory = path.join(cluster.nodeDirectory(node), 'aside')
  return existsSync(directory) ? readdirSync(directory) : []
}

describe('with all nodes there', () => {
  let cluster: TestCluster
  let writer: Writer

  beforeAll(async () => {
    cluster = await startCluster()
    writer = cluster.writer().start()
  })

  afterAll(async () => {
    await writer.stop()
    await cluster.remove()
  })

  afterEach(async () => {
    await cluster.healthy()
    await cluster.checkAllPresent(writer)
  })

  test('switchover tells every phase, and the history knows the same', async () => {
    const { code, json } = await ask(cluster, 'switchover', '--to', 'bravo', '--yes')
    expect({ code, ...json }).toMatchObject({ code: 0, from: 'alpha', to: 'bravo', reached: true, epoch: 2 })
    const phases = json['phases'] as { name: string; ms: number }[]
    // What the old primary notes itself may be written a moment later: the record below has it.
    for (const name of ['electing', 'voted', 'elected', 'promoted', 'firstQuorumWrite'])
      expect(phases.map((phase) => phase.name)).toContain(name)
    expect(phases[0]).toEqual({ name: 'requested', ms: 0 })
    // In the store, where it outlives the agents.
    const record = await cluster.waitFor('the record', async () => {
      const result = await cluster.run(['history', '2', '--json'])
      const entry = JSON.parse(result.stdout) as HistoryEntry
      const stopped = entry.parts['alpha']?.marks['stopped'] !== undefined
      return stopped && Object.keys(entry.parts).length === 3 ? entry : null
    })
    expect(record).toMatchObject({ kind: 'switchover', from: 'alpha', to: 'bravo', phase: 'steady' })
    expect(record.asked?.by).toMatch(/.@./)
  })

  test('of two operators at the same time exactly one gets what he asked for', async () => {
    const before = await cluster.healthy()
    const [first, second] = await Promise.all(
      ['alpha', 'charlie'].map((to) => ask(cluster, 'switchover', '--to', to, '--yes')),
    )
    const both = [first, second] as Ended[]
    expect(both.map(({ code }) => code).sort()).toEqual([0, 1])
    const refused = both.find(({ code }) => code === 1) as Ended
    expect(['request-running', 'stale-epoch', 'election-running', 'lagging', 'refused']).toContain(
      codeOf(refused),
    )
    expect((await cluster.healthy()).epoch).toBe((before.epoch ?? 0) + 1)
  })

  test('switchover is refused for what is unknown, the primary itself, paused, or based on an old epoch', async () => {
    const primary = await primaryOf(cluster)
    expect(codeOf(await ask(cluster, 'switchover', '--to', 'zulu', '--yes'))).toBe('unknown-node')
    const itself = await ask(cluster, 'switchover', '--to', primary, '--yes')
    expect({ code: itself.code, error: codeOf(itself) }).toEqual({ code: 1, error: 'already-primary' })
    expect(codeOf(await ask(cluster, 'failover', '--yes'))).toBe('primary-well')
    expect((await ask(cluster, 'pause', '--reason', 'network work')).json).toMatchObject({
      reason: 'network work',
    })
    try {
      await cluster.waitFor(
        'the pause to show',
        async () => (await cluster.status())?.paused?.reason === 'network work',
      )
      const text = await cluster.run(['status'])
      expect(text.stdout).toContain('Failover is PAUSED')
      expect(codeOf(await ask(cluster, 'switchover', '--yes'))).toBe('failover-paused')
    } finally {
      await cluster.run(['resume'])
    }
    await cluster.waitFor('failover to be automatic', async () => (await cluster.status())?.paused === null)
  })

  test('a scheduled switchover begins when its time has come', async () => {
    const before = await cluster.healthy()
    const at = new Date(Date.now() + 2_000).toISOString()
    const taken = await ask(cluster, 'switchover', '--at', at, '--yes')
    expect(taken).toMatchObject({ code: 0, json: { accepted: true, at } })
    await cluster.waitFor(
      'the next epoch',
      async () => ((await cluster.healthy()).epoch ?? 0) > (before.epoch ?? 0),
    )
    expect((await cluster.status())?.primary).toBe(taken.json['to'])
  })

  test('a scheduled switchover shows, keeps others out, and can be taken back', async () => {
    const at = new Date(Date.now() + 3_600_000).toISOString()
    expect((await ask(cluster, 'switchover', '--at', at, '--yes')).code).toBe(0)
    await cluster.waitFor('it to show', async () => (await cluster.status())?.scheduled?.at === at)
    expect(codeOf(await ask(cluster, 'switchover', '--yes'))).toBe('request-running')
    expect((await ask(cluster, 'switchover', '--cancel')).code).toBe(0)
    expect(codeOf(await ask(cluster, 'switchover', '--cancel'))).toBe('no-request')
    await cluster.waitFor('it to be gone', async () => (await cluster.status())?.scheduled === null)
  })

  test('when the candidate does not take over, another one does, and the command says so', async () => {
    const primary = await primaryOf(cluster)
    const wanted = cluster.nodes.find((node) => node !== primary) ?? ''
    const agent = cluster.agentPid(wanted)
    signal(agent, 'SIGSTOP')
    try {
      const { code, json } = await ask(cluster, 'switchover', '--to', wanted, '--yes')
      expect({ code, ...json }).toMatchObject({
        code: 1,
        wanted,
        reached: false,
        error: { code: 'not-reached' },
      })
      expect(json['to']).not.toBe(wanted)
    } finally {
      signal(agent, 'SIGCONT')
    }
  })

  test('reinit clones a standby anew and keeps what it had', async () => {
    const primary = await primaryOf(cluster)
    const standby = cluster.nodes.find((node) => node !== primary) ?? ''
    expect(codeOf(await ask(cluster, 'reinit', primary, '--yes'))).toBe('already-primary')
    expect((await ask(cluster, 'reinit', standby, '--dry-run')).json).toMatchObject({
      accepted: false,
      refusal: null,
    })
    const before = asideOf(cluster, standby)
    expect((await ask(cluster, 'reinit', standby, '--yes')).code).toBe(0)
    await cluster.waitFor('the old directory beside', () => asideOf(cluster, standby).length > before.length)
  })

  test('reinit is refused for the last standby that acknowledges', async () => {
    const primary = await primaryOf(cluster)
    const [one = '', two = ''] = cluster.nodes.filter((node) => node !== primary)
    await cluster.withNodeDown(one, async () => {
      await cluster.waitFor('the others to know', async () =>
        (await cluster.status())?.problems.some(({ code, node }) => code === 'not-streaming' || node === one),
      )
      await cluster.waitFor(
        'it to be refused',
        async () => codeOf(await ask(cluster, 'reinit', two, '--dry-run')) === 'last-standby',
      )
    })
  })

  test('events of all nodes come in order, epoch by epoch', async () => {
    const result = await cluster.run(['events', '--limit', '1000', '--json'])
    const events = JSON.parse(result.stdout) as { node: string; epoch?: number; at: string; kind: string }[]
    const epochs = events.flatMap(({ kind, epoch }) => (kind === 'primacy' ? [epoch ?? 0] : []))
    expect(epochs).toEqual([...epochs].sort((a, b) => a - b))
    expect(new Set(events.map(({ node }) => node)).size).toBe(3)
    for (const kind of [
      'vote',
      'demoted',
      'rejoined',
      'switchover-requested',
      'switchover-begun',
      'paused',
      'resumed',
    ])
      expect(events.map((event) => event.kind)).toContain(kind)
  })
})

test('failover by hand while it is paused loses nothing and needs no consent', async () => {
  const cluster = await startCluster()
  await cluster.run(['pause', '--reason', 'an upgrade'])
  await cluster.kill(cluster.supervisorPid())
  await cluster.kill(cluster.agentPid('alpha'))
  await cluster.kill(cluster.postmasterPid('alpha'))
  const plan = await cluster.waitFor('the loss to be known', async () => {
    const { json } = await ask(cluster, 'failover', '--dry-run')
    return json['refusal'] === null && !(json['voters'] as string[]).includes('alpha') ? json : null
  })
  expect(plan).toMatchObject({ from: 'alpha', missing: [], mayLoseData: false })
  expect((await cluster.status())?.epoch).toBe(1)
  const { code, json } = await ask(cluster, 'failover', '--yes')
  expect({ code, ...json }).toMatchObject({ code: 0, from: 'alpha', to: plan['to'], epoch: 2 })
  const { json: record } = await ask(cluster, 'history', '2')
  expect(record).toMatchObject({
    kind: 'manual',
    accepted: null,
    asked: { by: expect.stringMatching(/.@./) },
  })
  await cluster.run(['resume'])
  await cluster.up()
  await cluster.healthy()
  await cluster.remove()
})

// With pg_rewind, which must not be used here. Seen to fail: with a rewind of what was written off nothing lies aside.
describe.skipIf(!hasDebian)('with the PostgreSQL of the system (apt install postgresql-15)', () => {
  test('primary and one standby lost: nothing happens until the loss is accepted, and its last copies stay', async () => {
    const cluster = await startCluster({ pg: DEBIAN })
    await cluster.sql('alpha', 'CREATE TABLE kept (id int)')
    await cluster.sql('alpha', 'INSERT INTO kept VALUES (1)')
    await cluster.waitFor(
      'it on bravo',
      async () => (await cluster.sql('bravo', 'SELECT id FROM kept')).length === 1,
    )
    const walreceiver = cluster
      .processes()
      .find(({ node, command }) => node === 'bravo' && command.includes('walreceiver'))
    if (walreceiver === undefined) throw new Error(cluster.explain('bravo has no walreceiver'))
    signal(walreceiver.pid, 'SIGSTOP')
    // Acknowledged by charlie alone.
    await cluster.sql('alpha', 'INSERT INTO kept VALUES (2)')
    await cluster.kill(cluster.supervisorPid())
    for (const node of ['alpha', 'charlie']) {
      await cluster.kill(cluster.agentPid(node))
      await cluster.kill(cluster.postmasterPid(node))
    }
    // What lies in its socket is lost with it.
    signal(walreceiver.pid, 'SIGKILL')

    const plan = await cluster.waitFor('the loss to be known', async () => {
      const { json } = await ask(cluster, 'failover', '--dry-run')
      return (json['missing'] as string[]).length === 2 ? (json as unknown as FailoverAnswer) : null
    })
    expect(plan).toMatchObject({
      to: 'bravo',
      missing: ['alpha', 'charlie'],
      mayLoseData: true,
      refusal: { code: 'data-loss' },
    })
    expect(plan.losses.join(' ')).toContain('may be on alpha, charlie alone')
    const refused = await ask(cluster, 'failover', '--yes')
    expect({ code: refused.code, error: codeOf(refused) }).toEqual({ code: 1, error: 'data-loss' })
    const text = await cluster.run(['failover', '--yes'])
    expect(text.stderr).toMatch(/Acknowledged commits may be lost:\n {2}- A commit was acknowledged when/)

    const { code, json } = await ask(
      cluster,
      'failover',
      '--accept-data-loss',
      '--reason',
      'rack 2 burnt',
      '--yes',
    )
    expect({ code, ...json }).toMatchObject({ code: 0, to: 'bravo', reached: true })
    await cluster.sql('bravo', 'INSERT INTO kept VALUES (3)')
    const { json: record } = await ask(cluster, 'history', String(json['epoch']))
    expect(record).toMatchObject({
      kind: 'manual',
      accepted: { missing: ['alpha', 'charlie'], reason: 'rack 2 burnt' },
    })
    expect((record as unknown as HistoryEntry).accepted?.losses.length).toBeGreaterThan(2)

    await cluster.up()
    await cluster.healthy()
    for (const node of cluster.nodes) {
      const rows = await cluster.sql<{ id: number }>(node, 'SELECT id FROM kept ORDER BY id')
      expect(rows.map(({ id }) => id)).toEqual([1, 3])
    }
    // The row that was lost is in both of them.
    for (const node of ['alpha', 'charlie']) expect(asideOf(cluster, node)).toHaveLength(1)
    expect(asideOf(cluster, 'bravo')).toEqual([])
    await cluster.remove()
  })
})
