import { expect, test } from 'vitest'
import { clusterKeys } from '../../src/store/keys.ts'

const keys = clusterKeys('main')

test('the layout is the one that docs/failover.md gives', () => {
  expect(keys.all).toBe('/understudy/main/')
  expect([keys.primacy, keys.spec, keys.identity, keys.bootstrap]).toEqual([
    '/understudy/main/primacy',
    '/understudy/main/spec',
    '/understudy/main/identity',
    '/understudy/main/bootstrap',
  ])
  expect(keys.node('alpha')).toBe('/understudy/main/nodes/alpha')
  expect(keys.ballot(7, 'alpha')).toBe('/understudy/main/ballots/7/alpha')
  expect(keys.ballotsOf(7)).toBe('/understudy/main/ballots/7/')
  expect(keys.request('r1')).toBe('/understudy/main/requests/r1')
  expect(keys.historyOf(12)).toBe('/understudy/main/history/12')
})

test('names come back out of keys', () => {
  expect(keys.parseNode(keys.node('alpha'))).toBe('alpha')
  expect(keys.parseBallot(keys.ballot(7, 'alpha'))).toEqual({ epoch: 7, name: 'alpha' })
  expect(keys.parseRequest(keys.request('r1'))).toBe('r1')
  expect(keys.parseHistory(keys.historyOf(0))).toBe(0)
})

test('keys of other places, other clusters and other spellings are nobody’s', () => {
  const other = clusterKeys('main2')
  for (const key of [keys.primacy, other.node('alpha'), `${keys.nodes}`, `${keys.nodes}a/b`, '']) {
    expect(keys.parseNode(key)).toBeNull()
  }
  for (const rest of [
    '7',
    '7/',
    '07/alpha',
    '-1/alpha',
    '7/a/b',
    'x/alpha',
    '1e3/alpha',
    '99999999999999999/a',
  ]) {
    expect(keys.parseBallot(keys.ballots + rest)).toBeNull()
  }
  for (const rest of ['', '01', '1.0', '0x1', ' 1', '1/2'])
    expect(keys.parseHistory(keys.history + rest)).toBeNull()
})

test('a name cannot reach into another part of the layout', () => {
  for (const name of ['', '../primacy', 'a/b', 'a\0b']) {
    expect(() => clusterKeys(name)).toThrow(RangeError)
    expect(() => keys.node(name)).toThrow(RangeError)
    expect(() => keys.ballot(1, name)).toThrow(RangeError)
    expect(() => keys.request(name)).toThrow(RangeError)
  }
  for (const epoch of [-1, 0.5, Number.NaN, 2 ** 60])
    expect(() => keys.ballot(epoch, 'alpha')).toThrow(RangeError)
})
