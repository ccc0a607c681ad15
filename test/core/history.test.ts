/** Records of changes of primary: parts of several nodes become one, and the phases come out in order whatever the clocks say. */
import { describe, expect, it } from 'vitest'
import {
  emptyRecord,
  formatRecord,
  type HistoryPart,
  type HistoryRecord,
  mergeRecords,
  parseRecord,
} from '../../src/core/history.ts'
import { outageMs, phasesOf } from '../../src/core/history-phases.ts'

function part(node: string, marks: HistoryPart['marks'], at = '2026-01-01T00:00:00.000Z'): HistoryPart {
  return { node, at, marks, vote: null }
}

function record(changes: Partial<HistoryRecord>, ...parts: readonly HistoryPart[]): HistoryRecord {
  const byNode = Object.fromEntries(parts.map((each) => [each.node, each]))
  return { ...emptyRecord(2), from: 'alpha', startedBy: 'bravo', phase: 'steady', ...changes, parts: byNode }
}

const BRAVO = part('bravo', {
  detected: -12,
  fenced: 20,
  voted: 25,
  elected: 40,
  promoted: 140,
  firstQuorumWrite: 150,
  steady: 155,
})
const CHARLIE = part(
  'charlie',
  { fenced: 30, voted: 36, elected: 41, streams: 80 },
  '2026-01-01T05:00:00.000Z',
)

describe('merging', () => {
  it('keeps what either knows, in any order', () => {
    const a = record({ kind: 'failover', to: 'bravo', timelineId: 2, rule: 'start-election' }, BRAVO)
    const b = record({ kind: 'manual', phase: 'electing', from: null, reason: 'lost' }, CHARLIE)
    const both = {
      kind: 'manual',
      from: 'alpha',
      to: 'bravo',
      phase: 'steady',
      reason: 'lost',
      rule: 'start-election',
    }
    for (const merged of [mergeRecords(a, b), mergeRecords(b, a)]) {
      expect(merged).toMatchObject(both)
      expect(Object.keys(merged.parts).sort()).toEqual(['bravo', 'charlie'])
    }
  })

  it('takes later marks of a node, and keeps the earlier ones of its life before', () => {
    const before = record({}, part('bravo', { voted: 20 }))
    const later = mergeRecords(before, record({}, part('bravo', { voted: 20, steady: 90 })))
    expect(later.parts['bravo']?.marks).toEqual({ voted: 20, steady: 90 })
    const other = part('bravo', { voted: 1, oldPrimaryStreams: 300 }, '2026-01-01T00:00:09.000Z')
    expect(mergeRecords(later, record({}, other)).parts['bravo']?.marks).toEqual({
      voted: 20,
      steady: 90,
      oldPrimaryStreams: 300,
    })
  })

  it('is the same again: nothing changes when it is written twice', () => {
    const both = mergeRecords(record({ to: 'bravo' }, BRAVO), record({ to: 'bravo' }, CHARLIE))
    expect(mergeRecords(both, both)).toEqual(both)
    expect(parseRecord(formatRecord(both))).toEqual(both)
  })
})

describe('phases', () => {
  it('count from the first, and clocks that are hours apart do not matter', () => {
    const whole = record({ to: 'bravo' }, BRAVO, CHARLIE)
    expect(phasesOf(whole)).toEqual([
      { name: 'detected', ms: 0 },
      { name: 'electing', ms: 12 },
      { name: 'fenced', ms: 42 },
      { name: 'voted', ms: 48 },
      { name: 'elected', ms: 52 },
      { name: 'promoted', ms: 152 },
      { name: 'firstQuorumWrite', ms: 162 },
      { name: 'steady', ms: 167 },
    ])
    expect(outageMs(whole)).toBe(162)
  })

  it('of votes leave out those that came too late to be counted', () => {
    const late = part('alpha', { fenced: 700, voted: 701 })
    const phases = phasesOf(record({ to: 'bravo' }, BRAVO, CHARLIE, late))
    expect(phases.find(({ name }) => name === 'voted')?.ms).toBe(48)
  })

  it('of a switchover begin with the request', () => {
    const alpha = part('alpha', { requested: -30, detected: -5, stopped: 100, voted: 110, streams: 400 })
    const phases = phasesOf(record({ kind: 'switchover', to: 'bravo', startedBy: 'alpha' }, alpha, BRAVO))
    expect(phases.map(({ name }) => name)).toEqual([
      'requested',
      'electing',
      'oldPrimaryStopped',
      'fenced',
      'voted',
      'elected',
      'promoted',
      'firstQuorumWrite',
      'steady',
      'oldPrimaryStreams',
    ])
    expect(phases.at(-1)).toEqual({ name: 'oldPrimaryStreams', ms: 430 })
  })

  it('of an election that nobody won end where it ended, and its outage is not known', () => {
    const failed = record({ phase: 'electing' }, part('bravo', { fenced: 20, voted: 25 }))
    expect(phasesOf(failed).map(({ name }) => name)).toEqual(['electing', 'fenced', 'voted'])
    expect(outageMs(failed)).toBeNull()
  })
})

describe('what is read back', () => {
  it('must be a record, whatever else is under its key', () => {
    for (const text of [
      '',
      'null',
      '{}',
      '{"epoch":2,"phase":"steady"}',
      '{"epoch":2,"kind":"failover","phase":"steady","parts":{"a":1}}',
    ])
      expect(parseRecord(text)).toBeNull()
    expect(parseRecord('{"epoch":2,"kind":"failover","phase":"steady","parts":{}}')).toMatchObject({
      epoch: 2,
      from: null,
    })
  })
})
