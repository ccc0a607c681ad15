/** Who lives under a node's name: two agents under one name could vote for each other's promises (I2, I3). */
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { makeNameClaim, NameHolder } from '../../src/agent/name-claim.ts'
import type { NameClaim } from '../../src/ports/cluster-store.ts'
import { createClusterStore } from '../../src/store/cluster-store.ts'
import { TestClock } from '../support/agent-parts.ts'
import { MemoryStore } from '../support/memory-store.ts'

const LEASE_MS = 9_000
const first: NameClaim = { instance: 'a', machine: 'db1 boot-1 1:2', session: 'one' }
const copied: NameClaim = { ...first, machine: 'db2 boot-9 1:2', session: 'two' }

describe('the claim of a name', () => {
  let memory: MemoryStore
  let clock: TestClock
  const holder = (claim: NameClaim): NameHolder =>
    new NameHolder({
      store: createClusterStore(memory, 'main'),
      clock,
      node: 'alpha',
      claim,
      leaseMs: LEASE_MS,
    })

  beforeEach(() => {
    memory = new MemoryStore()
    clock = new TestClock()
  })

  test('is its own where nobody has it, and is not asked for again in every cycle', async () => {
    const one = holder(first)
    expect(await one.hold(1n)).toEqual({ kind: 'ours' })
    memory.down = true
    expect(await one.hold(1n)).toEqual({ kind: 'ours' })
  })

  test('needs a lease, because it must end with its agent', async () => {
    expect(await holder(first).hold(null)).toEqual({ kind: 'unclaimed' })
    expect(memory.keys('')).toEqual([])
  })

  test('goes over at once to the next agent of the same directory and boot', async () => {
    await holder(first).hold(1n)
    expect(await holder({ ...first, session: 'next' }).hold(2n)).toEqual({ kind: 'ours' })
  })

  test('is waited for by any other, and refused when it does not end', async () => {
    await holder(first).hold(1n)
    const two = holder(copied)
    expect(await two.hold(2n)).toEqual({ kind: 'waiting', rival: first })
    clock.ms += LEASE_MS
    expect(await two.hold(2n)).toMatchObject({ kind: 'waiting' })
    clock.ms += LEASE_MS
    expect(await two.hold(2n)).toEqual({ kind: 'taken', rival: first })
  })

  test('is taken when the machine that had it is gone', async () => {
    await holder(first).hold(1n)
    const two = holder(copied)
    await two.hold(2n)
    await memory.transact({ compare: [], success: [{ op: 'deletePrefix', prefix: '/' }] })
    clock.ms += 1_000
    expect(await two.hold(2n)).toEqual({ kind: 'ours' })
  })

  test('is lost at once by who comes back and finds another one with it', async () => {
    const one = holder(first)
    await one.hold(1n)
    await memory.transact({ compare: [], success: [{ op: 'deletePrefix', prefix: '/' }] })
    await holder(copied).hold(2n)
    clock.ms += LEASE_MS
    expect(await one.hold(3n)).toEqual({ kind: 'taken', rival: copied })
  })

  test('stays as it was known while the store does not answer', async () => {
    const one = holder(first)
    await one.hold(1n)
    memory.down = true
    clock.ms += LEASE_MS
    expect(await one.hold(2n)).toEqual({ kind: 'ours' })
  })
})

describe('the directory of a claim', () => {
  const place = mkdtempSync(path.join(tmpdir(), 'understudy-claim-'))
  afterAll(() => rmSync(place, { recursive: true, force: true }))

  test('has one instance for ever, and a copy of it is another machine', async () => {
    const original = path.join(place, 'state')
    const copy = path.join(place, 'copy')
    const before = await makeNameClaim(original, 'one')
    const after = await makeNameClaim(original, 'two')
    expect(after).toEqual({ ...before, session: 'two' })
    cpSync(original, copy, { recursive: true })
    const copied = await makeNameClaim(copy, 'one')
    expect(copied.instance).toBe(before.instance)
    expect(copied.machine).not.toBe(before.machine)
  })
})
