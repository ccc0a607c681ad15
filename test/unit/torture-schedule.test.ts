/** The schedule of a torture run: the same seed gives the same faults, and what is written down is what was drawn. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { median, outagesOf } from '../../torture/outage.ts'
import { type PlannedRound, printRound, readRounds, Schedule } from '../../torture/schedule.ts'
import { FAULTS } from '../lab/faults/catalogue.ts'
import type { Surroundings } from '../lab/faults/fault.ts'

const EVERYTHING: Surroundings = {
  nodes: 3,
  rtoMs: 2_000,
  storeMembers: 3,
  canFill: true,
  canFreezeDisk: true,
  canStepClock: true,
  canDelay: true,
}

function rounds(seed: number, count: number, surroundings = EVERYTHING): readonly PlannedRound[] {
  const schedule = new Schedule(seed, surroundings, null)
  return Array.from({ length: count }, (_, index) => schedule.next(index + 1))
}

test('a seed gives the same rounds each time, and another one gives others', () => {
  expect(rounds(7, 30)).toEqual(rounds(7, 30))
  expect(rounds(7, 30)).not.toEqual(rounds(8, 30))
})

test('every fault comes, several at once, and each ends', () => {
  const all = rounds(1, 600)
  const faults = all.flatMap((round) => round.faults)
  expect(new Set(faults.map(({ kind }) => kind))).toEqual(new Set(FAULTS.map(({ name }) => name)))
  expect(all.some((round) => round.faults.length >= 3)).toBe(true)
  for (const { forMs, atMs } of faults) {
    expect(forMs).toBeLessThan(30_000)
    expect(atMs).toBeGreaterThan(0)
  }
})

test('what cannot be injected is left out, and refused when it was asked for by name', () => {
  const poor: Surroundings = {
    ...EVERYTHING,
    canFill: false,
    canFreezeDisk: false,
    canDelay: false,
    canStepClock: false,
  }
  const kinds = new Set(rounds(1, 300, poor).flatMap((round) => round.faults.map(({ kind }) => kind)))
  for (const kind of ['full-disk', 'hanging-disk', 'slow-network', 'clock-step']) {
    expect(kinds.has(kind)).toBe(false)
    expect(() => new Schedule(1, poor, [kind])).toThrow(`${kind} cannot be injected here`)
  }
})

test('written down and read back it is the same', () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'schedule-'))
  try {
    const file = path.join(directory, 'schedule.jsonl')
    writeFileSync(
      file,
      rounds(3, 20)
        .map((each) => `${printRound(each)}\n`)
        .join(''),
    )
    expect(readRounds(file)).toEqual(rounds(3, 20))
  } finally {
    rmSync(directory, { recursive: true })
  }
})

test('outages are the gaps between acknowledgements, the longest first', () => {
  expect(outagesOf([0, 10, 20, 400, 410, 2_410])).toEqual([
    { fromMs: 410, ms: 2_000 },
    { fromMs: 20, ms: 380 },
  ])
  expect(outagesOf([])).toEqual([])
  expect(median([3, 1, 2])).toBe(2)
  expect(median([])).toBe(null)
})
