/** The history that agents write: each its own part, when there is time for it, and one record comes of it. */
import { describe, expect, it } from 'vitest'
import type { Decision } from '../../src/core/decision.ts'
import { EMPTY_MEMORY } from '../../src/core/decision.ts'
import { phasesOf } from '../../src/core/history-phases.ts'
import type { Primacy } from '../../src/core/primacy.ts'
import { agentParts, type Parts } from '../support/agent-parts.ts'
import {
  primacy,
  primaryServer,
  standbyServer,
  storeWith,
  switchoverTo,
  type ViewChanges,
  view,
  walsender,
} from '../support/views.ts'

const ELECTING: Partial<Primacy> = {
  epoch: 2,
  phase: 'electing',
  planned: true,
  candidate: 'bravo',
  startedBy: 'alpha',
  reason: 'asked for',
}
const PROMOTING: Partial<Primacy> = { ...ELECTING, phase: 'promoting', primary: 'bravo', timelineId: 2 }
const STEADY: Partial<Primacy> = { ...PROMOTING, phase: 'steady' }

function decision(actions: Decision['actions'] = []): Decision {
  return { rule: 'keep-running', reason: '', actions, memory: EMPTY_MEMORY }
}

function noteAt(parts: Parts, ms: number, self: string, changes: ViewChanges, made = decision()): void {
  parts.clock.ms = ms
  parts.chronicle.note(view({ self, ...changes }), made)
}

/** Waits for what goes on beside. */
const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5))

async function recordOf(parts: Parts) {
  const read = await parts.store.readRecord(2)
  return read.kind === 'ok' ? (read.value?.value ?? null) : null
}

/** The old primary's agent during a switchover. */
function alphaSteps(parts: Parts): void {
  const { events, chronicle } = parts
  const electing = {
    kind: 'writePrimacy',
    expected: 7n,
    why: '',
    primary: 'alpha',
    primacy: primacy(ELECTING),
  } as const
  parts.clock.ms = 990
  chronicle.requestTaken(1)
  noteAt(
    parts,
    1_000,
    'alpha',
    { store: storeWith({}, { switchover: switchoverTo('bravo') }) },
    { ...decision([electing]), rule: 'switchover' },
  )
  parts.clock.ms = 1_010
  events.add({ kind: 'primacy', message: '', epoch: 2, details: { phase: 'electing' } })
  noteAt(parts, 1_012, 'alpha', { store: storeWith(ELECTING) })
  parts.clock.ms = 1_100
  events.add({ kind: 'stop-done', message: '' })
  parts.clock.ms = 1_110
  events.add({
    kind: 'vote',
    message: '',
    epoch: 2,
    details: { timelineId: 1, lsn: '0/5000000', gone: false },
  })
  noteAt(parts, 1_150, 'alpha', { store: storeWith(PROMOTING) })
}

/** The elected node's, whose clock shows something else. */
function bravoSteps(parts: Parts): void {
  const { events } = parts
  noteAt(parts, 51_000, 'bravo', { store: storeWith(ELECTING) })
  parts.clock.ms = 51_120
  events.add({
    kind: 'vote',
    message: '',
    epoch: 2,
    details: { timelineId: 1, lsn: '0/5000000', gone: false },
  })
  noteAt(parts, 51_140, 'bravo', { store: storeWith(PROMOTING) })
  parts.clock.ms = 51_240
  events.add({ kind: 'promote-done', message: '' })
  parts.clock.ms = 51_250
  events.add({ kind: 'rule-proven', message: '' })
  parts.clock.ms = 51_260
  events.add({ kind: 'primacy', message: '', epoch: 2, details: { phase: 'steady' } })
  noteAt(parts, 51_300, 'bravo', {
    store: storeWith(STEADY),
    local: {
      server: primaryServer({ walsenders: [walsender('alpha')] }),
      applied: { role: 'primary', epoch: 2, upstream: null, synchronousStandbyNames: '' },
    },
  })
}

describe('the chronicle', () => {
  it('makes one record of what each node saw, by its own clock', async () => {
    const alpha = await agentParts('alpha')
    const bravo = await agentParts('bravo', {}, alpha.memory)
    alphaSteps(alpha)
    bravoSteps(bravo)
    for (const { chronicle } of [bravo, alpha]) {
      chronicle.writeAtRest(view({ store: storeWith(STEADY) }))
      await settled()
    }
    const record = (await recordOf(alpha)) ?? never()
    expect(record).toMatchObject({
      kind: 'switchover',
      from: 'alpha',
      to: 'bravo',
      candidate: 'bravo',
      rule: 'switchover',
      asked: { by: 'ann@desk' },
    })
    expect(phasesOf(record)).toEqual([
      { name: 'requested', ms: 0 },
      { name: 'electing', ms: 20 },
      { name: 'oldPrimaryStopped', ms: 110 },
      { name: 'voted', ms: 140 },
      { name: 'elected', ms: 160 },
      { name: 'promoted', ms: 260 },
      { name: 'firstQuorumWrite', ms: 270 },
      { name: 'steady', ms: 280 },
      { name: 'oldPrimaryStreams', ms: 320 },
    ])
  })

  it('adds its part to what another node has written meanwhile', async () => {
    const parts = await agentParts('bravo')
    bravoSteps(parts)
    const other = {
      ...(parts.chronicle.records[0] ?? never()),
      parts: { charlie: { node: 'charlie', at: '', marks: { voted: 5 }, vote: null } },
    }
    let once = true
    parts.memory.before = async ({ success }) => {
      if (!once || !success.some((each) => each.op === 'put' && each.key.includes('/history/'))) return
      once = false
      await parts.store.writeRecord(other, null)
    }
    parts.chronicle.writeAtRest(view({ store: storeWith(STEADY) }))
    await settled()
    expect(Object.keys((await recordOf(parts))?.parts ?? {}).sort()).toEqual(['bravo', 'charlie'])
  })

  it('writes nothing while there is an election, and once it is steady only what is new', async () => {
    const parts = await agentParts('bravo')
    bravoSteps(parts)
    parts.chronicle.writeAtRest(view({ store: storeWith({ ...PROMOTING, epoch: 3 }) }))
    await settled()
    expect(await recordOf(parts)).toBeNull()
    let writes = 0
    parts.memory.before = async ({ success }) => {
      writes += success.some(({ op }) => op === 'put') ? 1 : 0
    }
    for (let look = 0; look < 3; look++) {
      parts.clock.ms += 1_000
      parts.chronicle.writeAtRest(view({ store: storeWith(STEADY) }))
      await settled()
    }
    expect(writes).toBe(1)
  })

  it('keeps what a store that is gone does not take, and tries again later', async () => {
    const parts = await agentParts('bravo')
    bravoSteps(parts)
    parts.memory.down = true
    const steady = view({ store: storeWith(STEADY) })
    parts.chronicle.writeAtRest(steady)
    await settled()
    parts.memory.down = false
    parts.chronicle.writeAtRest(steady)
    await settled()
    expect(await recordOf(parts)).toBeNull()
    parts.clock.ms += 5_001
    parts.chronicle.writeAtRest(steady)
    await settled()
    expect(await recordOf(parts)).toMatchObject({ to: 'bravo' })
  })

  it('has the stop of the old primary though the others were faster, and no later one', async () => {
    const alpha = await agentParts('alpha')
    for (const [ms, primacyThen] of [
      [0, ELECTING],
      [50, PROMOTING],
      [90, STEADY],
    ] as const)
      noteAt(alpha, ms, 'alpha', { store: storeWith(primacyThen) })
    alpha.clock.ms = 120
    alpha.events.add({ kind: 'stop-done', message: '' })
    const upstream = { name: 'bravo', host: '127.0.0.1', port: 5502 }
    const applied = { role: 'standby', epoch: 2, upstream, synchronousStandbyNames: '' } as const
    noteAt(alpha, 300, 'alpha', {
      store: storeWith(STEADY),
      local: { server: standbyServer('alpha'), applied },
    })
    alpha.clock.ms = 400
    alpha.events.add({ kind: 'stop-done', message: '' })
    expect(alpha.kinds().filter((kind) => kind === 'demoted')).toHaveLength(1)
    expect(alpha.chronicle.records.at(-1)?.parts['alpha']?.marks).toMatchObject({
      stopped: 120,
      streams: 300,
    })
  })

  it('tells of what has no event of its own, once', async () => {
    const alpha = await agentParts('alpha')
    alphaSteps(alpha)
    const bravo = await agentParts('bravo')
    bravoSteps(bravo)
    expect(alpha.kinds()).toContain('demoted')
    expect(bravo.kinds().filter((kind) => kind === 'rejoined')).toHaveLength(1)
    const charlie = await agentParts('charlie')
    noteAt(charlie, 0, 'charlie', { store: storeWith(ELECTING) })
    const upstream = { name: 'bravo', host: '127.0.0.1', port: 5502 }
    const follows = {
      server: standbyServer('charlie'),
      applied: { role: 'standby', epoch: 2, upstream, synchronousStandbyNames: '' },
    } as const
    noteAt(charlie, 70, 'charlie', { store: storeWith(PROMOTING), local: follows })
    noteAt(charlie, 90, 'charlie', { store: storeWith(STEADY), local: follows })
    const told = charlie.events.after(0).filter(({ kind }) => kind === 'streams')
    expect(told).toMatchObject([{ epoch: 2, details: { sinceElectingMs: 70 } }])
  })

  it('measures a failover from the last sign of the old primary, by the standby that began it', async () => {
    const parts = await agentParts('bravo')
    const refused = { kind: 'refused', atMs: 2_000 } as const
    const probes = { primary: 'alpha', agent: refused, postgres: refused }
    const alone = { server: standbyServer('bravo', { walreceiver: null }), probes }
    const begins = {
      kind: 'writePrimacy',
      expected: 7n,
      why: '',
      primacy: primacy({ epoch: 2, phase: 'electing', startedBy: 'bravo' }),
    } as const
    noteAt(parts, 2_000, 'bravo', { now: 2_000 })
    noteAt(parts, 2_040, 'bravo', { now: 2_040, local: alone })
    noteAt(
      parts,
      2_050,
      'bravo',
      { now: 2_050, local: alone },
      { ...decision([begins]), rule: 'start-election' },
    )
    parts.clock.ms = 2_060
    parts.events.add({ kind: 'primacy', message: '', epoch: 2, details: { phase: 'electing' } })
    const [record] = parts.chronicle.records
    expect(record?.rule).toBe('start-election')
    // Its last message had come 10 ms before the look.
    expect(record?.parts['bravo']?.marks).toEqual({ detected: -20, lastHeard: -70 })
  })

  it('tells events of a change with their time since it began', async () => {
    const parts = await agentParts('bravo')
    bravoSteps(parts)
    const fenced = parts.events.after(0).find(({ kind }) => kind === 'fenced')
    expect(fenced).toMatchObject({ epoch: 2, details: { sinceElectingMs: 120 } })
    parts.clock.ms = 51_260 + 30_001
    parts.events.add({ kind: 'later', message: '' })
    expect(parts.events.after(0).at(-1)).not.toHaveProperty('details')
  })

  it('knows nothing of epochs that began before it looked', async () => {
    const parts = await agentParts('bravo')
    noteAt(parts, 0, 'bravo', { store: storeWith(STEADY) })
    expect(parts.chronicle.records).toEqual([])
  })
})

function never(): never {
  throw new Error('no record')
}
