/** The commands that change a cluster, against agents that answer what a test says: what they ask, print, and exit with. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { FailoverAnswer, HistoryEntry, SwitchoverAnswer } from '../../src/api/contract.ts'
import { mergeHistories } from '../../src/api/history.ts'
import { emptyRecord } from '../../src/core/history.ts'
import { runCli } from '../support/cli.ts'
import type { FakeAgent } from '../support/fake-agent.ts'
import { event, type FakeCluster, startFakeCluster } from '../support/fake-cluster.ts'

let cluster: FakeCluster
beforeEach(async () => {
  cluster = await startFakeCluster()
})
afterEach(() => cluster.stop())

const data = (): string[] => ['--data', cluster.directory]

const CHECKS = [
  { check: 'primary', result: 'ok', message: 'alpha is the primary' },
  { check: 'quorum', result: 'waits', message: 'the rule is being changed' },
] as const

const PLAN: SwitchoverAnswer = {
  from: 'alpha',
  to: 'bravo',
  epoch: 1,
  at: null,
  checks: CHECKS,
  accepted: false,
  refusal: null,
}
const REFUSAL = { code: 'lagging', message: 'bravo is behind', hint: 'Wait a little.' }

function entry(changes: Partial<HistoryEntry>): HistoryEntry {
  const marks = {
    requested: -20,
    stopped: 80,
    elected: 100,
    promoted: 200,
    firstQuorumWrite: 210,
    steady: 215,
    oldPrimaryStreams: 400,
  }
  const part = (node: string) => ({
    node,
    at: '2026-01-01T10:00:00.000Z',
    marks,
    vote: { timelineId: 1, lsn: '0/5000148', gone: false },
  })
  const record = {
    ...emptyRecord(2),
    kind: 'switchover' as const,
    from: 'alpha',
    to: 'bravo',
    startedBy: 'alpha',
    phase: 'steady' as const,
    reason: 'asked for',
  }
  const [whole] = mergeHistories([
    [{ ...record, parts: { alpha: part('alpha'), bravo: part('bravo') }, ...changes }],
  ])
  if (whole === undefined) throw new Error('no entry')
  return whole
}

/** alpha takes the request; the cluster then says, by bravo's events, how it ends. */
function takes(agent: FakeAgent, ending: { readonly primary: string; readonly kind?: string }): void {
  agent.control = (_method, _path, body) => {
    if (body['dryRun'] === true) return PLAN
    setTimeout(() => {
      const [, bravo] = cluster.agents
      bravo.history = [entry({ to: ending.primary })]
      const details = { phase: 'steady', primary: ending.primary }
      bravo.emit({
        ...event('bravo', 9, 30),
        kind: ending.kind ?? 'primacy',
        epoch: ending.kind ? 1 : 2,
        details,
      })
    }, 20)
    return { ...PLAN, accepted: true }
  }
}

describe('switchover', () => {
  it('prints each check and changes nothing on a dry run', async () => {
    const [alpha] = cluster.agents
    alpha.control = () => PLAN
    const text = await runCli(['switchover', '--dry-run', ...data()])
    expect(text).toMatchObject({ code: 0, stderr: '' })
    expect(text.stdout).toMatch(
      /^alpha -> bravo: it could begin now\n {2}ok +alpha is the primary\n {2}waits +the rule/,
    )
    const json = await runCli(['switchover', '--dry-run', '--json', ...data()])
    expect(JSON.parse(json.stdout)).toEqual(PLAN)
    expect(alpha.changes.map(({ body }) => body)).toEqual([
      { dryRun: true, by: expect.stringMatching(/.@./) },
      { dryRun: true, by: expect.stringMatching(/.@./) },
    ])
  })

  it('sends what it was shown: the candidate and the epoch', async () => {
    const [alpha] = cluster.agents
    takes(alpha, { primary: 'bravo' })
    const result = await runCli(['switchover', '--yes', ...data()])
    expect(result.code).toBe(0)
    expect(alpha.changes.at(-1)?.body).toMatchObject({ to: 'bravo', epoch: 1 })
    expect(result.stdout).toMatch(/requested +0 ms\n {2}election begun +20 ms {2}\(\+20 ms\)/)
    expect(result.stdout).toContain('old primary streams again')
  })

  it('ends with 1 when another node became the primary, and says which', async () => {
    takes(cluster.agents[0], { primary: 'alpha' })
    const text = await runCli(['switchover', '--yes', ...data()])
    expect(text.code).toBe(1)
    expect(text.stderr).toMatch(
      /error not-reached: bravo did not take over: the old primary alpha is the primary of epoch 2\nHINT: /,
    )
    const json = await runCli(['switchover', '--yes', '--json', ...data()])
    expect(json.code).toBe(1)
    expect(JSON.parse(json.stdout)).toMatchObject({
      wanted: 'bravo',
      to: 'alpha',
      reached: false,
      error: { code: 'not-reached' },
    })
  })

  it('ends with 1 when the decision refuses what the preflight let through', async () => {
    takes(cluster.agents[0], { primary: 'alpha', kind: 'switchover-refused' })
    const result = await runCli(['switchover', '--yes', ...data()])
    expect(result).toMatchObject({ code: 1, stdout: '' })
    expect(result.stderr).toContain('error refused: bravo number 9')
  })

  it('prints what is in the way with its code and hint, with --json beside the checks', async () => {
    cluster.agents[0].control = () => ({ ...PLAN, refusal: REFUSAL })
    const text = await runCli(['switchover', '--yes', ...data()])
    expect(text.code).toBe(1)
    expect(text.stderr).toContain('error lagging: bravo is behind\nHINT: Wait a little.')
    const json = await runCli(['switchover', '--yes', '--json', ...data()])
    expect(JSON.parse(json.stdout)).toMatchObject({ error: REFUSAL, checks: CHECKS })
    expect(cluster.agents[0].changes.every(({ body }) => (body as { dryRun?: boolean }).dryRun)).toBe(true)
  })

  it('asks before it changes something, and wants --yes where nobody can be asked', async () => {
    cluster.agents[0].control = () => PLAN
    const result = await runCli(['switchover', ...data()])
    expect(result.code).toBe(2)
    expect(result.stderr).toContain('HINT: Say --yes.')
  })

  it('names a time, and takes it back', async () => {
    const at = '2030-01-31T22:00:00Z'
    const [alpha, bravo] = cluster.agents
    alpha.control = (method, _path, body) =>
      method === 'DELETE'
        ? { to: 'bravo', at, by: 'ann@desk' }
        : { ...PLAN, at, accepted: body['dryRun'] !== true }
    const taken = await runCli(['switchover', '--at', at, '--yes', ...data()])
    expect(taken).toMatchObject({
      code: 0,
      stdout: expect.stringContaining(`bravo becomes the primary at ${at}`),
    })
    expect(alpha.changes.at(-1)?.body).toMatchObject({ at, epoch: 1 })
    const cancelled = await runCli(['switchover', '--cancel', ...data()])
    expect(cancelled.stdout).toContain('that ann@desk asked for is taken back')
    expect(bravo.changes).toEqual([])
  })

  it('knows the nodes, and what cannot be said at once', async () => {
    expect((await runCli(['switchover', '--to', 'zulu', '--yes', ...data()])).stderr).toContain(
      'unknown-node',
    )
    expect((await runCli(['switchover', '--cancel', '--to', 'bravo', ...data()])).code).toBe(2)
  })
})

describe('failover', () => {
  const plan: FailoverAnswer = {
    from: 'alpha',
    to: 'bravo',
    epoch: 1,
    phase: 'steady',
    checks: CHECKS,
    accepted: false,
    refusal: { code: 'data-loss', message: 'commits may be lost', hint: 'Bring one back.' },
    rules: [{ primary: 'alpha', acks: 1, standbys: ['bravo', 'charlie'], satisfied: false }],
    voters: ['bravo'],
    missing: ['alpha', 'charlie'],
    mayLoseData: true,
    losses: ['The newest commit may be on alpha alone.'],
    nodes: ['alpha', 'bravo', 'charlie'].map((name) => ({
      name,
      answers: name === 'bravo',
      vote: name === 'bravo' ? ('whole' as const) : null,
      position: name === 'bravo' ? { timelineId: 1, lsn: '0/5000148' } : null,
      behindBytes: name === 'bravo' ? 0 : null,
      lastCommitAt: null,
      streamEndedAt: null,
    })),
  }

  it('says what may be lost before it refuses', async () => {
    cluster.agents[0].control = () => plan
    const result = await runCli(['failover', '--yes', ...data()])
    expect(result.code).toBe(1)
    expect(result.stderr).toMatch(/charlie +MISSING +silent/)
    expect(result.stderr).toContain('Commits on alpha waited for 1 of bravo, charlie: NOT satisfied')
    expect(result.stderr).toContain('- The newest commit may be on alpha alone.')
    expect(result.stderr).toContain('error data-loss: commits may be lost\nHINT: Bring one back.')
  })

  it('sends with the consent exactly the voters that it has shown', async () => {
    const [alpha, bravo] = cluster.agents
    alpha.control = (_method, _path, body) => {
      if (body['dryRun'] === true) return { ...plan, refusal: null }
      const details = { phase: 'steady', primary: 'bravo' }
      bravo.history = [entry({ kind: 'manual' })]
      setTimeout(() => bravo.emit({ ...event('bravo', 9, 30), kind: 'primacy', epoch: 2, details }), 20)
      return { ...plan, refusal: null, accepted: true }
    }
    const result = await runCli([
      'failover',
      '--accept-data-loss',
      '--reason',
      'rack 2',
      '--yes',
      '--json',
      ...data(),
    ])
    expect(result.code).toBe(0)
    expect(alpha.changes.at(-1)?.body).toMatchObject({
      acceptDataLoss: true,
      reason: 'rack 2',
      epoch: 1,
      missing: ['alpha', 'charlie'],
    })
    expect(JSON.parse(result.stdout)).toMatchObject({
      from: 'alpha',
      to: 'bravo',
      reached: true,
      outageMs: null,
    })
  })

  it('goes to the next agent when one is away, or cannot reach the store', async () => {
    const [alpha, bravo, charlie] = cluster.agents
    await alpha.stop()
    bravo.control = () => ({ error: { code: 'store-unreachable', message: 'down', hint: '' } })
    charlie.control = () => ({ ...plan, refusal: null })
    expect((await runCli(['failover', '--dry-run', ...data()])).code).toBe(0)
    charlie.control = bravo.control
    const nobody = await runCli(['failover', '--dry-run', '--json', ...data()])
    expect(JSON.parse(nobody.stdout)).toMatchObject({ error: { code: 'store-unreachable' } })
  })
})

describe('pause, resume and reinit', () => {
  const paused = { reason: 'network work', by: 'ann@desk', at: '2026-01-01T10:00:00.000Z' }

  it('say who has paused it, and when it was so already', async () => {
    const [alpha] = cluster.agents
    alpha.control = () => ({ paused, before: paused })
    const result = await runCli(['pause', '--reason', 'mine', ...data()])
    expect(result.stdout).toContain(
      'Failover is PAUSED since 2026-01-01T10:00:00.000Z by ann@desk: network work',
    )
    expect(result.stderr).toContain('It was paused already')
    alpha.control = () => ({ paused: null, before: null })
    const resumed = await runCli(['resume', ...data()])
    expect(resumed).toMatchObject({ code: 0, stderr: 'It was not paused.\n' })
    expect(alpha.changes.map(({ path }) => path)).toEqual(['/v1/pause', '/v1/resume'])
  })

  it('ask the standby itself, and tell its refusal', async () => {
    const [, bravo] = cluster.agents
    bravo.control = () => ({
      node: 'bravo',
      checks: [],
      accepted: false,
      refusal: { ...REFUSAL, code: 'last-standby' },
    })
    const result = await runCli(['reinit', 'bravo', '--yes', ...data()])
    expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining('error last-standby') })
    bravo.control = () => ({ node: 'bravo', checks: CHECKS, accepted: false, refusal: null })
    expect((await runCli(['reinit', 'bravo', '--dry-run', ...data()])).stdout).toContain(
      'could be cloned anew now',
    )
  })
})

describe('history', () => {
  it('lists every change, and one of them with its phases and votes', async () => {
    const [alpha, bravo] = cluster.agents
    alpha.history = [entry({})]
    bravo.history = [entry({ epoch: 3, from: 'bravo', to: null, phase: 'electing', kind: 'failover' })]
    const list = await runCli(['history', ...data()])
    expect(list.stdout).toMatch(/ +2 .*switchover +alpha -> bravo +210 ms +asked for\n/)
    expect(list.stdout).toMatch(/ +3 .*failover +bravo -> nobody +- /)
    const one = await runCli(['history', '2', ...data()])
    expect(one.stdout).toMatch(/Votes +alpha: 0\/5000148 on timeline 1/)
    expect(one.stdout).toMatch(/first quorum write +230 ms/)
    const json = await runCli(['history', '--json', '--limit', '1', ...data()])
    expect(JSON.parse(json.stdout)).toMatchObject([{ epoch: 3 }])
  })

  it('names who does not answer, and knows when nothing is known', async () => {
    await cluster.agents[2].stop()
    const empty = await runCli(['history', ...data()])
    expect(empty).toMatchObject({ code: 0, stdout: 'The primary has never changed.\n' })
    expect(empty.stderr).toContain('charlie does not answer')
    expect((await runCli(['history', '7', ...data()])).stderr).toContain('not-found')
    await Promise.all(cluster.agents.map((agent) => agent.stop()))
    expect((await runCli(['history', ...data()])).code).toBe(4)
  })
})
