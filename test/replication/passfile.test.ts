import { describe, expect, test } from 'vitest'
import { passwordIn } from '../../src/replication/passfile.ts'

const KEY = { hosts: ['db1'], port: 5432, database: 'replication', user: 'copier' }

describe('passwordIn', () => {
  test('takes the first line that matches, as libpq does', () => {
    const text = [
      '# a comment',
      'db2:5432:*:copier:other host',
      'db1:5433:*:copier:other port',
      'db1:5432:postgres:copier:other database',
      'db1:*:replication:copier:right:with\\:colons\\\\',
      '*:*:*:*:too late',
    ].join('\n')
    expect(passwordIn(text, KEY)).toBe('right:with:colons\\')
    expect(passwordIn(text, { ...KEY, user: 'somebody' })).toBe('too late')
  })

  test('reads escaped fields and Windows line ends, and skips what is no line', () => {
    expect(passwordIn('nonsense\r\nfe80\\:\\:1:5432:*:*:v6\r\n', { ...KEY, hosts: ['fe80::1'] })).toBe('v6')
    expect(passwordIn('', KEY)).toBeNull()
    expect(passwordIn('db1:5432:replication:copier', KEY)).toBeNull()
  })

  test('a Unix socket is localhost or its directory', () => {
    const socket = { ...KEY, hosts: ['localhost', '/run/pg'] }
    expect(passwordIn('localhost:*:*:*:a', socket)).toBe('a')
    expect(passwordIn('/run/pg:*:*:*:b', socket)).toBe('b')
    expect(passwordIn('/tmp:*:*:*:c', socket)).toBeNull()
  })
})
