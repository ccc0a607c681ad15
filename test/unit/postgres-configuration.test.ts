/** The text of the configuration files. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ReplicationConfiguration } from '../../src/ports/postgres.ts'
import { sanitizeAutoConf } from '../../src/postgres/auto-conf.ts'
import { renderConfiguration } from '../../src/postgres/configuration.ts'
import type { ConfigurationInput } from '../../src/postgres/configuration-input.ts'
import { slotName } from '../../src/postgres/layout.ts'
import {
  parseBoolean,
  parseLine,
  parseMegabytes,
  quoteConninfo,
  settingLine,
} from '../../src/postgres/setting-text.ts'
import { configurationInput } from '../postgres/configuration-input.ts'

const FOLLOWS: ReplicationConfiguration = {
  role: 'standby',
  upstream: {
    name: 'bravo',
    host: 'db2.example.com',
    port: 5502,
    passfile: '/srv/alpha/secrets/upstream-7.passfile',
    rejoining: false,
  },
  synchronousStandbyNames: 'ANY 1 ("bravo","charlie")',
}
const FENCED: ReplicationConfiguration = { role: 'standby', upstream: null, synchronousStandbyNames: '' }

/** Every setting of a file, the last one winning as in PostgreSQL. */
function settings(
  file: string,
  replication: ReplicationConfiguration,
  more: Partial<ConfigurationInput> = {},
): ReadonlyMap<string, string> {
  const text = renderConfiguration(configurationInput(more), replication).files.get(file) ?? ''
  const found = new Map<string, string>()
  for (const line of text.split('\n')) {
    const parsed = parseLine(line)
    if (parsed.kind === 'unreadable') throw new Error(`unreadable: ${line}`)
    if (parsed.kind === 'setting') found.set(parsed.name, parsed.value)
  }
  return found
}

describe('replication.conf', () => {
  test('a standby knows its upstream, its slot and the rule', () => {
    const found = settings('replication.conf', FOLLOWS)
    expect(found.get('primary_slot_name')).toBe('understudy_alpha')
    expect(found.get('synchronous_standby_names')).toBe('ANY 1 ("bravo","charlie")')
    const conninfo = found.get('primary_conninfo') ?? ''
    for (const part of [
      "host='db2.example.com'",
      "port='5502'",
      "user='understudy_replication'",
      "application_name='alpha'",
      "passfile='/srv/alpha/secrets/upstream-7.passfile'",
      "sslmode='verify-full'",
      "sslrootcert='/srv/tls/ca.crt'",
      "gssencmode='disable'",
      // Of the walsender at the other end: it must not hold the slot for long behind a cut.
      "options='-c tcp_user_timeout=",
    ]) {
      expect(conninfo).toContain(part)
    }
    expect(conninfo).not.toContain('password=')
  })

  test('fenced it has neither upstream nor slot', () => {
    const found = settings('replication.conf', FENCED)
    expect([found.get('primary_conninfo'), found.get('primary_slot_name')]).toEqual(['', ''])
  })
})

describe('base.conf', () => {
  test('what the user set replaces a default and nothing else', () => {
    const parameters = { shared_buffers: '1GB', max_wal_senders: 30, port: 1, fsync: false }
    const found = settings('base.conf', FENCED, { parameters })
    expect(found.has('shared_buffers')).toBe(false)
    expect(found.has('max_wal_senders')).toBe(false)
    expect(found.get('port')).toBe('5501')
    const user = settings('user.conf', FENCED, { parameters })
    expect([...user]).toEqual([
      ['shared_buffers', '1GB'],
      ['max_wal_senders', '30'],
    ])
  })

  test('a refused value does not take the default away either', () => {
    expect(settings('base.conf', FENCED, { parameters: { max_wal_senders: 1 } }).get('max_wal_senders')).toBe(
      '20',
    )
  })

  test.each([15, 18])('reserved connections exist from 16 on: %i', (major) => {
    expect(settings('base.conf', FENCED, { major }).has('reserved_connections')).toBe(major >= 16)
  })
})

test('every file says that it is written, and every setting has a line of explanation before it', () => {
  const { files } = renderConfiguration(configurationInput({ major: 18 }), FOLLOWS)
  for (const [name, text] of files) {
    expect(text, name).toMatch(/^# .*(Written by understudy)/)
    const lines = text.split('\n')
    for (const [i, line] of lines.entries()) {
      if (parseLine(line).kind === 'setting' && name !== 'user.conf') expect(lines[i - 1], line).toMatch(/^#/)
    }
  }
})

test('slot names have no characters that PostgreSQL refuses', () => {
  expect(slotName('Node-7')).toBe('understudy_node_7')
})

describe('text of settings', () => {
  test('whatever a value is, PostgreSQL reads back the same and only one line', () => {
    const value = fc.string({ unit: 'grapheme' }).filter((text) => !/\p{Cc}/u.test(text))
    fc.assert(
      fc.property(value, (text) => {
        const line = settingLine('work_mem', text)
        expect(line).not.toContain('\n')
        expect(parseLine(line)).toEqual({ kind: 'setting', name: 'work_mem', value: text })
      }),
    )
  })

  test('connection strings keep what is in their values', () => {
    expect(quoteConninfo(`a'b\\c d`)).toBe(`'a\\'b\\\\c d'`)
  })

  test.each<[string, boolean | null]>([
    ['on', true],
    ['t', true],
    ['YES', true],
    ['y', true],
    ['1', true],
    ['tru', true],
    ['off', false],
    ['of', false],
    ['F', false],
    ['n', false],
    ['0', false],
    ['o', null],
    ['', null],
    ['10', null],
    ['offf', null],
  ])('boolean %j', (text, expected) => {
    expect(parseBoolean(text)).toBe(expected)
  })

  test.each<[string, number | null]>([
    ['64', 64],
    ['1GB', 1024],
    ['65536kB', 64],
    ['-1', -1],
    ['0x40', 64],
    ['1.5 GB', 1536],
    ['1gb', null],
    ['', null],
    ['x', null],
  ])('size %j', (text, expected) => {
    expect(parseMegabytes(text)).toBe(expected)
  })
})

describe('postgresql.auto.conf', () => {
  test('keeps what is harmless byte for byte', () => {
    const text =
      "# Do not edit this file manually!\n# It will be overwritten by the ALTER SYSTEM command.\nwork_mem = '8MB'\n\ntrack_io_timing = 'on'\n"
    expect(sanitizeAutoConf(text, 15)).toEqual({ text, refused: [] })
  })

  test('comments out the rest, once', () => {
    const text = "work_mem = '8MB'\nprimary_conninfo = 'user=x password=''y'''\nPort = '1'\n"
    const once = sanitizeAutoConf(text, 15)
    expect(once.refused.map(({ name, origin }) => [name, origin])).toEqual([
      ['primary_conninfo', 'postgresql.auto.conf'],
      ['port', 'postgresql.auto.conf'],
    ])
    expect(once.text).toMatch(/^# primary_conninfo = /m)
    expect(sanitizeAutoConf(once.text, 15)).toEqual({ text: once.text, refused: [] })
  })
})
