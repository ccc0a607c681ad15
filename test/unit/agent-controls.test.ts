/** What operators ask of an agent: what it writes for the decision to act on, and of two who ask at the same time, who gets it. */
import { describe, expect, it } from 'vitest'
import { requestFailover } from '../../src/agent/controls/failover.ts'
import { setPause } from '../../src/agent/controls/pause.ts'
import { requestReinit } from '../../src/agent/controls/reinit.ts'
import { cancelSwitchover, keepSchedule, requestSwitchover } from '../../src/agent/controls/switchover.ts'
import type { NodeDetail, SwitchoverAnswer } from '../../src/api/contract.ts'
import type { NodeReport } from '../../src/core/cluster-view.ts'
import type { Outcome } from '../../src/ports/postgres.ts'
import { agentParts, factsOf, type Parts, reportsAre } from '../support/agent-parts.ts'
import { primacy, report, storeFacts, storeWith } from '../support/views.ts'

function answerOf<T>(outcome: Outcome<T>): T {
  if (outcome.kind === 'ok') return outcome.value
  throw new Error(`${outcome.code}: ${outcome.reason}`)
}

async function sees(parts: Parts): Promise<void> {
  parts.looks({ store: storeFacts(await factsOf(parts)) })
}

describe('switchover', () => {
  it('makes a checkpoint, then writes the request with the epoch, the session and who asks', async () => {
    const parts = await agentParts()
    const answer = answerOf(await requestSwitchover(parts.context, { to: 'bravo', epoch: 1, by: 'ann@desk' }))
    expect(answer).toMatchObject({ from: 'alpha', to: 'bravo', accepted: true, refusal: null })
    expect(parts.done).toEqual(['checkpoint', 'wake'])
    expect((await factsOf(parts)).switchover?.value).toEqual({
      to: 'bravo',
      epoch: 1,
      session: 'session-of-alpha',
      at: null,
      by: 'ann@desk',
      requestedAt: '2026-01-01T00:00:00.000Z',
    })
    expect(parts.kinds()).toEqual(['switchover-requested'])
  })

  it('changes nothing on a dry run', async () => {
    const parts = await agentParts()
    const answer = answerOf(await requestSwitchover(parts.context, { dryRun: true }))
    expect(answer).toMatchObject({ to: 'bravo', accepted: false, refusal: null })
    expect(parts.done).toEqual([])
    expect((await factsOf(parts)).switchover).toBeNull()
  })

  it('lets exactly one of two through that ask at the same moment, and tells the other by whom and when', async () => {
    const parts = await agentParts()
    const answers = await Promise.all(
      ['ann@desk', 'bob@train'].map((by) => requestSwitchover(parts.context, { to: 'bravo', by })),
    )
    const values = answers.map(answerOf)
    expect(values.filter((each) => each.accepted)).toHaveLength(1)
    const winner = (await factsOf(parts)).switchover?.value.by
    expect(values.find((each) => !each.accepted)?.refusal).toMatchObject({
      code: 'request-running',
      message: `a switchover to bravo was asked for by ${winner} at 2026-01-01T00:00:00.000Z`,
    })
    expect(parts.kinds()).toEqual(['switchover-requested'])
  })

  it('lets exactly one through when the other comes right before the write', async () => {
    const parts = await agentParts()
    const other = { to: 'charlie', epoch: 1, session: 's', at: null, by: 'bob@train', requestedAt: 'then' }
    let once = true
    parts.memory.before = async ({ success }) => {
      const writes = success.some(({ op }) => op === 'put')
      if (!writes || !once) return
      once = false
      const { primacy: now } = await factsOf(parts)
      await parts.store.requestSwitchover(other, { primacy: now?.revision ?? 0n, request: null })
    }
    const answer = answerOf(await requestSwitchover(parts.context, { to: 'bravo' }))
    expect(answer.refusal).toMatchObject({
      code: 'request-running',
      message: expect.stringContaining('bob@train'),
    })
    expect((await factsOf(parts)).switchover?.value).toEqual(other)
  })

  it('is written again when only the revision of primacy has moved', async () => {
    const parts = await agentParts()
    let once = true
    parts.memory.before = async ({ success }) => {
      if (!once || !success.some(({ op }) => op === 'put')) return
      once = false
      const { primacy: now } = await factsOf(parts)
      await parts.store.writePrimacy(primacy(), now?.revision ?? 0n)
    }
    expect(answerOf(await requestSwitchover(parts.context, { to: 'bravo' })).accepted).toBe(true)
  })

  it('replaces one of an older epoch, which is void', async () => {
    const parts = await agentParts('alpha', { epoch: 4 })
    const { primacy: now } = await factsOf(parts)
    const old = { to: 'charlie', epoch: 3, session: 's', at: null, by: 'bob@train', requestedAt: 'then' }
    await parts.store.requestSwitchover(old, { primacy: now?.revision ?? 0n, request: null })
    parts.looks({ store: storeWith({ epoch: 4 }) })
    expect(answerOf(await requestSwitchover(parts.context, { to: 'bravo' })).accepted).toBe(true)
    expect((await factsOf(parts)).switchover?.value).toMatchObject({ to: 'bravo', epoch: 4 })
  })

  it.each([
    ['stale-epoch', { epoch: 7 }],
    ['unknown-node', { to: 'zulu' }],
    ['already-primary', { to: 'alpha' }],
    ['bad-time', { at: '2030-01-01 10:00' }],
    ['bad-time', { at: '2030-01-01T10:00:00' }],
    ['bad-time', { at: '2030-13-01T10:00:00Z' }],
    ['bad-time', { at: '2025-12-31T23:59:00Z' }],
    ['bad-time', { at: '2036-01-01T00:00:00Z' }],
  ] as const)('is refused as %s with %o', async (code, body) => {
    const parts = await agentParts()
    const answer = answerOf(await requestSwitchover(parts.context, body))
    expect(answer.refusal).toMatchObject({ code, hint: expect.any(String) })
    expect(parts.done).toEqual([])
    expect((await factsOf(parts)).switchover).toBeNull()
  })

  it('names what is in the way of each node when none is left', async () => {
    const parts = await agentParts()
    parts.looks({ local: { server: { ...requireServer(parts), walsenders: [] } } })
    const { refusal } = answerOf(await requestSwitchover(parts.context, {}))
    expect(refusal).toMatchObject({
      code: 'no-candidate',
      message: expect.stringContaining('bravo does not stream'),
    })
  })

  it('says that a write may have happened when the store does not answer', async () => {
    const parts = await agentParts()
    parts.memory.before = async ({ success }) => {
      if (success.some(({ op }) => op === 'put')) parts.memory.down = true
    }
    expect(await requestSwitchover(parts.context, { to: 'bravo' })).toMatchObject({
      code: 'store-unreachable',
    })
  })
})

function requireServer(parts: Parts) {
  const server = parts.context.view()?.local.server
  if (server === null || server === undefined) throw new Error('no server')
  return server
}

describe('a scheduled switchover', () => {
  const AT = '2026-01-01T01:00:00+00:00'
  const HOUR_MS = 3_600_000
  const scheduled = async (): Promise<Parts> => {
    const parts = await agentParts()
    const answer: SwitchoverAnswer = answerOf(
      await requestSwitchover(parts.context, { to: 'bravo', at: AT, by: 'ann@desk' }),
    )
    expect(answer).toMatchObject({ accepted: true, at: AT })
    await sees(parts)
    return parts
  }

  it('is only kept until its time comes, and then carried out like any other', async () => {
    const parts = await scheduled()
    parts.clock.ms = HOUR_MS - 1
    await keepSchedule(parts.context)
    expect((await factsOf(parts)).switchover?.value.session).toBeNull()
    parts.clock.ms = HOUR_MS + 400
    await keepSchedule(parts.context)
    expect((await factsOf(parts)).switchover?.value).toMatchObject({
      session: 'session-of-alpha',
      to: 'bravo',
    })
    expect(parts.done).toEqual(['wake', 'checkpoint', 'wake'])
  })

  it('is given up when it could not be kept for a minute, and when the preflight fails then', async () => {
    const late = await scheduled()
    late.clock.ms = HOUR_MS + 60_001
    await keepSchedule(late.context)
    const refused = await scheduled()
    refused.clock.ms = HOUR_MS
    refused.looks({ store: storeFacts({ ...(await factsOf(refused)), nodes: new Map() }) })
    await keepSchedule(refused.context)
    for (const parts of [late, refused]) {
      expect((await factsOf(parts)).switchover).toBeNull()
      expect(parts.kinds().at(-1)).toBe('switchover-refused')
    }
  })

  it('is nobody else’s business than that of the primary of its epoch', async () => {
    const parts = await scheduled()
    parts.clock.ms = HOUR_MS
    const facts = await factsOf(parts)
    for (const changes of [{ epoch: 2 }, { primary: 'bravo' }, { phase: 'electing' as const }]) {
      parts.looks({ store: storeWith(changes, { switchover: facts.switchover }) })
      await keepSchedule(parts.context)
    }
    expect((await factsOf(parts)).switchover?.value.session).toBeNull()
  })

  it('keeps others out, and can be taken back', async () => {
    const parts = await scheduled()
    const { refusal } = answerOf(await requestSwitchover(parts.context, { to: 'charlie' }))
    expect(refusal).toMatchObject({ code: 'request-running', hint: expect.stringContaining('--cancel') })
    expect(answerOf(await cancelSwitchover(parts.context, 'bob@train'))).toEqual({
      to: 'bravo',
      at: AT,
      by: 'ann@desk',
    })
    expect(await cancelSwitchover(parts.context, 'bob@train')).toMatchObject({ code: 'no-request' })
    expect(parts.kinds().at(-1)).toBe('switchover-cancelled')
  })
})

describe('failover', () => {
  const lost = (name: string, changes: Partial<NodeReport> = {}): NodeReport =>
    report(name, { role: 'standby', state: 'catchingUp', ...changes })
  const silent = new Map<string, NodeDetail | null>()

  async function withLeft(...reports: readonly NodeReport[]): Promise<Parts> {
    const parts = await agentParts('bravo')
    await reportsAre(parts, reports)
    return parts
  }

  it('begins without more ado what loses nothing', async () => {
    const parts = await withLeft(lost('bravo'), lost('charlie'))
    const answer = answerOf(await requestFailover(parts.context, { by: 'ann@desk' }, silent))
    expect(answer).toMatchObject({ from: 'alpha', to: 'bravo', missing: [], losses: [], accepted: true })
    expect((await factsOf(parts)).failover?.value).toMatchObject({ epoch: 1, missing: [], to: 'bravo' })
  })

  it('says what may be lost, and begins nothing, unless that is accepted', async () => {
    const parts = await withLeft(lost('bravo'))
    const answer = answerOf(await requestFailover(parts.context, {}, silent))
    expect(answer).toMatchObject({
      missing: ['alpha', 'charlie'],
      mayLoseData: true,
      rules: [{ acks: 1, satisfied: false }],
      refusal: { code: 'data-loss' },
    })
    expect(answer.losses.join(' ')).toMatch(
      /the newest may be on alpha, charlie alone.*make sure that it is down/,
    )
    expect((await factsOf(parts)).failover).toBeNull()
  })

  it('is bound to the epoch and to exactly those voters that the operator saw missing', async () => {
    const parts = await withLeft(lost('bravo'))
    const body = {
      acceptDataLoss: true,
      epoch: 1,
      missing: ['alpha', 'charlie'],
      by: 'ann@desk',
      reason: 'rack 2',
    }
    const fewer = answerOf(await requestFailover(parts.context, { ...body, missing: ['alpha'] }, silent))
    expect(fewer.refusal?.code).toBe('votes-changed')
    const older = answerOf(await requestFailover(parts.context, { ...body, epoch: 0 }, silent))
    expect(older.refusal?.code).toBe('stale-epoch')
    expect(answerOf(await requestFailover(parts.context, body, silent)).accepted).toBe(true)
    expect((await factsOf(parts)).failover?.value).toMatchObject({
      epoch: 1,
      missing: ['alpha', 'charlie'],
      by: 'ann@desk',
      reason: 'rack 2',
      losses: expect.arrayContaining([expect.any(String)]),
    })
    const second = answerOf(await requestFailover(parts.context, body, silent))
    expect(second.refusal).toMatchObject({
      code: 'request-running',
      message: expect.stringContaining('ann@desk'),
    })
  })

  it('is refused while the primary is well, and when a missing voter answers and has data', async () => {
    const well = await agentParts('bravo')
    expect(answerOf(await requestFailover(well.context, {}, silent)).refusal?.code).toBe('primary-well')
    const parts = await withLeft(lost('bravo'))
    const details = new Map([['charlie', detailOf({ vote: 'whole' })]])
    const body = { acceptDataLoss: true }
    expect(answerOf(await requestFailover(parts.context, body, details)).refusal?.code).toBe(
      'voter-reachable',
    )
    const fresh = new Map([['charlie', detailOf({ vote: 'none' })]])
    expect(answerOf(await requestFailover(parts.context, body, fresh)).accepted).toBe(true)
  })

  it('elects who has most: another one is refused', async () => {
    const parts = await withLeft(lost('bravo'), lost('charlie', { flushLsn: '0/5000100' }))
    const plan = answerOf(await requestFailover(parts.context, { dryRun: true }, silent))
    expect(plan).toMatchObject({ to: 'charlie', refusal: null })
    expect(plan.nodes.find(({ name }) => name === 'bravo')?.behindBytes).toBe(256)
    const behind = answerOf(await requestFailover(parts.context, { to: 'bravo' }, silent))
    expect(behind.refusal).toMatchObject({
      code: 'better-candidate',
      message: expect.stringContaining('charlie'),
    })
    const unknown = answerOf(await requestFailover(parts.context, { to: 'zulu' }, silent))
    expect(unknown.refusal?.code).toBe('unknown-node')
  })

  it('cannot elect priority 0, nor data that is being replaced', async () => {
    const parts = await withLeft(lost('bravo', { priority: 0 }), lost('charlie', { vote: 'gone' }))
    expect(answerOf(await requestFailover(parts.context, {}, silent)).refusal?.code).toBe('no-candidate')
  })

  it('tells how far the primary was last seen, and how far the best is behind that', async () => {
    const parts = await withLeft(lost('bravo'))
    const sighting = { node: 'alpha', timelineId: 1, lsn: '0/5000200', at: '2026-01-01T00:00:00.000Z' }
    const details = new Map([
      ['bravo', detailOf({ vote: 'whole', sightings: [sighting], lastCommitAt: '2025-12-31T23:59:59.000Z' })],
    ])
    const { losses } = answerOf(await requestFailover(parts.context, { dryRun: true }, details))
    expect(losses.join(' ')).toMatch(/alpha was last seen at 0\/5000200 .*bravo is 512 bytes behind that/)
    expect(losses.join(' ')).toContain('The last commit that bravo has is of 2025-12-31T23:59:59.000Z.')
  })

  it('warns of voters that do not answer while their reports have not run out', async () => {
    const parts = await withLeft(lost('bravo'), lost('charlie'))
    const { checks } = answerOf(await requestFailover(parts.context, { dryRun: true }, silent))
    expect(checks.find(({ check }) => check === 'voters-answer')).toMatchObject({ result: 'warning' })
  })
})

function detailOf(changes: Partial<NodeDetail>): NodeDetail {
  const detail: Partial<NodeDetail> = {
    position: { timelineId: 1, lsn: '0/5000000' },
    lastCommitAt: null,
    streamEndedAt: null,
    sightings: [],
    ...changes,
  }
  return detail as NodeDetail
}

describe('pause', () => {
  it('stays with who was first, and is taken away by anybody', async () => {
    const parts = await agentParts()
    const first = { reason: 'network work', by: 'ann@desk', at: '2026-01-01T00:00:00.000Z' }
    expect(answerOf(await setPause(parts.context, { reason: 'network work', by: 'ann@desk' }))).toEqual({
      paused: first,
      before: null,
    })
    parts.clock.ms = 5_000
    expect(answerOf(await setPause(parts.context, { reason: 'mine', by: 'bob@train' }))).toEqual({
      paused: first,
      before: first,
    })
    expect(answerOf(await setPause(parts.context, { reason: null, by: 'bob@train' }))).toEqual({
      paused: null,
      before: first,
    })
    expect(parts.kinds()).toEqual(['paused', 'resumed'])
  })
})

describe('reinit', () => {
  it('is noted for the decision, unless it is refused or a dry run', async () => {
    const parts = await agentParts('bravo')
    let asked = 0
    const ask = (): void => {
      asked++
    }
    expect(answerOf(await requestReinit(parts.context, { dryRun: true }, ask))).toMatchObject({
      refusal: null,
    })
    await reportsAre(parts, [report('alpha'), report('bravo'), report('charlie', { state: 'stopped' })])
    expect(answerOf(await requestReinit(parts.context, {}, ask)).refusal?.code).toBe('last-standby')
    expect(asked).toBe(0)
    await reportsAre(parts, [report('alpha'), report('bravo'), report('charlie')])
    expect(answerOf(await requestReinit(parts.context, { by: 'ann@desk' }, ask)).accepted).toBe(true)
    expect(asked).toBe(1)
  })
})
