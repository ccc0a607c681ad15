/** pg_hba.conf: exactly the members replicate, and no line of a user's comes before ours. */
import { describe, expect, test } from 'vitest'
import { hbaAddress, hbaLineProblem, renderHba } from '../../src/postgres/hba.ts'

const member = (name: string, host: string) => ({ name, host, port: 5501 })

function rules(text: string): readonly string[] {
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.replace(/\s+/g, ' '))
}

test('members by address, by name, and once when they share a machine', () => {
  const text = renderHba(
    [
      member('a', '192.0.2.1'),
      member('b', '192.0.2.1'),
      member('c', '2001:db8::1'),
      member('d', 'db4.example.com'),
    ],
    [],
  )
  const replication = rules(text).filter((line) => line.startsWith('hostssl replication '))
  expect(replication).toEqual(
    ['192.0.2.1/32', '2001:db8::1/128', 'db4.example.com'].map(
      (address) => `hostssl replication understudy_replication ${address} scram-sha-256`,
    ),
  )
})

test('our roles are rejected everywhere else before any client line, and the user’s lines come last', () => {
  const extra = ['host all all 10.0.0.0/8 trust']
  const lines = rules(renderHba([member('a', '192.0.2.1')], extra))
  const at = (start: string): number => lines.findIndex((line) => line.startsWith(start))
  expect(at('host all understudy_replication,understudy_agent,understudy_proxy all reject')).toBeGreaterThan(
    at('hostssl replication'),
  )
  expect(at('hostssl all all all')).toBeGreaterThan(at('host all understudy_replication'))
  expect(lines.at(-1)).toBe(extra[0])
})

test.each([
  ['192.0.2.1', '192.0.2.1/32'],
  ['::1', '::1/128'],
  ['localhost', 'localhost'],
])('the address of %s', (host, address) => {
  expect(hbaAddress(host)).toBe(address)
})

describe('a user’s line', () => {
  test.each([
    'host all all 10.0.0.0/8 scram-sha-256',
    'hostssl app reader 2001:db8::/32 cert clientcert=verify-full',
    'host all all 10.0.0.0 255.0.0.0 md5',
    'host "my db" all .example.com scram-sha-256',
    'local all backup peer map=backup',
    'host replication backup samenet scram-sha-256',
  ])('%s', (line) => {
    expect(hbaLineProblem(line)).toBeNull()
  })

  test.each<[string, RegExp]>([
    ['', /empty or a comment/],
    ['# all of them', /empty or a comment/],
    ['include other.conf', /other files/],
    ['@file', /other files/],
    ['host @databases all 10.0.0.0/8 md5', /other files/],
    ['trust all all', /must begin with/],
    ['host all all 10.0.0.0/8', /no authentication method/],
    ['host all all 10.0.0.0/33 md5', /no address/],
    ['host all all 10.0.0/8 md5', /no address/],
    ['host all all -x md5', /no address/],
    ['host all all 10.0.0.0/8 magic', /no authentication method/],
    ['host all "all 10.0.0.0/8 md5', /quote without its partner/],
    ['host all all all md5 \\', /backslash/],
    ['host all all all md5\nlocal all all trust', /line break/],
  ])('%j', (line, problem) => {
    expect(hbaLineProblem(line)).toMatch(problem)
  })
})
