/** What `status` says would happen if a node were lost: the same as an election would decide. */
import { describe, expect, it } from 'vitest'
import { type Survivor, type WhatIfInput, whatIf } from '../../src/core/what-if.ts'
import { primacy, rule } from '../support/views.ts'

const STANDBY: Survivor = { vote: 'whole', priority: 100, streams: true }
const ALL = { alpha: { ...STANDBY, streams: false }, bravo: STANDBY, charlie: STANDBY }

function said(
  changes: Partial<Omit<WhatIfInput, 'nodes'>> = {},
  nodes: Readonly<Record<string, Survivor>> = ALL,
): Readonly<Record<string, string>> {
  const input: WhatIfInput = {
    primacy: primacy(),
    members: ['alpha', 'bravo', 'charlie'],
    storeAnswers: true,
    paused: false,
    durability: 'quorum',
    whenStandbyLost: 'relax',
    ...changes,
    nodes: new Map(Object.entries(nodes)),
  }
  return Object.fromEntries(whatIf(input).map(({ node, sentence }) => [node, sentence]))
}

describe('with all nodes there', () => {
  it('any one may be lost, and the better priority is named first', () => {
    expect(said()).toEqual({
      alpha: 'bravo or charlie takes over, writes go on',
      bravo: 'writes go on',
      charlie: 'writes go on',
    })
    const charlie = { ...STANDBY, priority: 200 }
    expect(said({}, { ...ALL, charlie })['alpha']).toBe('charlie or bravo takes over, writes go on')
  })

  it('priority 0 is not named while there is somebody else', () => {
    const bravo = { ...STANDBY, priority: 0 }
    expect(said({}, { ...ALL, bravo })['alpha']).toBe('charlie takes over, writes go on')
    const charlie = { ...STANDBY, priority: 0 }
    expect(said({}, { ...ALL, bravo, charlie })['alpha']).toContain('bravo or charlie takes over')
  })

  it('nobody takes over while failover is paused, or the store does not answer', () => {
    expect(said({ paused: true })['alpha']).toBe('nobody takes over: failover is paused')
    expect(said({ storeAnswers: false })).toMatchObject({
      alpha: 'nobody takes over: the store does not answer',
      bravo: 'writes go on',
    })
  })
})

describe('with a standby missing', () => {
  const { charlie: _, ...without } = ALL

  it('that is still in the rule: its vote is missing, so nobody takes over (I2)', () => {
    expect(said({}, without)).toMatchObject({
      alpha: 'nobody takes over: the newest acknowledged commits may be on alpha and charlie alone',
      bravo: 'writes wait: too few standbys are left to acknowledge them',
      charlie: 'writes go on',
    })
  })

  it('that has left the rule: the other one takes over, and waits for somebody to acknowledge', () => {
    const relaxed = primacy({ rules: [rule(1, ['bravo'])] })
    expect(said({ primacy: relaxed }, without)['alpha']).toBe(
      'bravo takes over, and writes wait until another standby streams from it',
    )
  })

  it('while the rule is being changed both must be satisfied', () => {
    const changing = primacy({ rules: [rule(1, ['bravo'])], nextRule: rule(1, ['bravo', 'charlie']) })
    expect(said({ primacy: changing }, without)['alpha']).toContain('nobody takes over')
  })

  it('whose data is being replaced: it votes, and is not who takes over', () => {
    const charlie: Survivor = { vote: 'gone', priority: 100, streams: false }
    expect(said({}, { ...ALL, charlie })['alpha']).toBe(
      'bravo takes over, and writes wait until another standby streams from it',
    )
  })
})

it('five nodes: writes go on after one more loss only when the rule may be relaxed', () => {
  const members = ['alpha', 'bravo', 'charlie', 'delta', 'echo']
  const five = primacy({ rules: [rule(2, ['bravo', 'charlie', 'delta', 'echo'])] })
  const nodes = { alpha: ALL.alpha, bravo: STANDBY, charlie: STANDBY }
  const at = (whenStandbyLost: 'relax' | 'block') =>
    said({ members, primacy: five, whenStandbyLost }, nodes)['bravo']
  expect(at('relax')).toBe('writes go on when the rule is relaxed, some 10 s later')
  expect(at('block')).toContain('writes wait')
  const whole = Object.fromEntries(members.map((name) => [name, STANDBY]))
  expect(said({ members, primacy: five }, whole)['alpha']).toBe(
    'bravo or charlie or delta or echo takes over, writes go on',
  )
})

it('where commits wait for nobody the lease comes first, and the newest may be lost (I10)', () => {
  const async = primacy({ rules: [rule(0, [])] })
  expect(said({ primacy: async, durability: 'async' })).toMatchObject({
    alpha:
      'bravo or charlie takes over when the lease of alpha has run out, and its newest commits may be lost, writes go on',
    bravo: 'writes go on',
  })
})

it('alone there is nobody', () => {
  expect(said({ members: ['alpha'] }, { alpha: ALL.alpha })['alpha']).toBe(
    'nobody takes over: no other node answers and has data',
  )
})
