/** understudy.yaml: what is wrong is found with its line and with what was meant; what follows from it is said once. */
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { annotatedConfig } from '../../src/cli/config/annotate.ts'
import { effectiveKeys, nested } from '../../src/cli/config/effective.ts'
import { explain } from '../../src/cli/config/explain.ts'
import { explanationLines } from '../../src/cli/config/explain-lines.ts'
import { plainPaint } from '../../src/cli/paint.ts'
import { formatDuration, hostProblem, parseDuration } from '../../src/config/fields.ts'
import { readConfigText } from '../../src/config/findings.ts'
import { ANY_NAME, configKeys, jsonSchema } from '../../src/config/keys.ts'
import { parseConfig, resolveConfig } from '../../src/config/load.ts'
import { TIMER_RULES, timersOf } from '../../src/core/timers.ts'
import { baseSettings } from '../../src/postgres/base-configuration.ts'
import { STREAM_TIMERS } from '../../src/postgres/sizing.ts'

const GOOD = `cluster: main
rto: 2s
store:
  endpoints: [https://10.0.0.1:2379]
postgres:
  parameters: { work_mem: 64MB, fsync: off }
nodes:
  alpha: { host: 10.0.0.1 }
  bravo: { host: "fd00::2", port: 5433 }
  charlie: { host: db3.example.com, listen: [10.0.0.3] }
`

function findingsOf(text: string): readonly string[] {
  return readConfigText(text).findings.map(
    ({ severity, line, key, message }) => `${severity} ${line} ${key}: ${message}`,
  )
}

describe('a configuration that is wrong', () => {
  test('is told about everything at once, in the order of the lines', () => {
    const found = findingsOf(`cluster: main
rto: 3
durabilty: quorum
whenStandbyLost: relx
parameters: { work_mem: 16MB }
store:
  endpoints: [ftp://x]
nodes:
  alpha: { host: "10.0.0.1:5432", prot: 3 }
  Bravo: { host: b }
  charlie: { port: x }
`)
    expect(found).toEqual([
      'error 2 rto: a duration is a number and ms, s, m, h or d: 3s',
      'error 3 durabilty: unknown key, did you mean "durability"?',
      'error 4 whenStandbyLost: it must be relax or block, not "relx": did you mean relax?',
      'error 5 parameters: unknown key here, did you mean "postgres.parameters"?',
      'error 7 store.endpoints.0: it is no http:// or https:// address',
      'error 9 nodes.alpha.host: the port goes into a key of its own (port)',
      'error 9 nodes.alpha.prot: unknown key, did you mean "port"?',
      'error 10 nodes.Bravo: a node name is lower-case letters, digits, - and _, at most 31, beginning with a letter',
      'error 11 nodes.charlie.host: it is missing (the name or address under which the other nodes and the clients reach it)',
      'error 11 nodes.charlie.port: it must be a number, not text',
    ])
  })

  test('throws the first error with file and line, and says how many more there are', () => {
    const read = (): unknown => parseConfig('rto: 3\nnodez: {}\n', '/etc/understudy.yaml')
    expect(read).toThrow(
      '/etc/understudy.yaml:1: rto: a duration is a number and ms, s, m, h or d: 3s (and 3 more: understudy config validate)',
    )
  })

  test.each([
    ['a: b: c', /1 .*: Nested mappings/],
    ['cluster: main\ncluster: other', /2 .*Map keys must be unique/],
    ['cluster: *main', /1 .*alias/],
    ['- cluster', /1 .*a section with keys of its own, not a list/],
    ['', /1 store: it is missing/],
  ])('finds broken YAML: %j', (text, expected) => {
    expect(findingsOf(text)[0]).toMatch(expected)
  })

  test('takes a section whose keys are all commented out for one with every default', () => {
    expect(findingsOf(`${GOOD}api:\n`)).toEqual([])
  })

  const two = (alpha: string, bravo: string): string =>
    `store: { endpoints: [https://10.0.0.9:2379] }\nnodes:\n  alpha: ${alpha}\n  bravo: ${bravo}\n  charlie: { host: 10.0.0.7 }\n`
  test.each([
    [
      'a port that two nodes share',
      two('{ host: h, port: 5, apiPort: 6 }', '{ host: H, port: 7, apiPort: 5 }'),
      /4 nodes.bravo.apiPort: H:5 is that of alpha/,
    ],
    [
      'a port that the proxy shares with a node',
      `${two('{ host: h, port: 5, apiPort: 6 }', '{ host: i }')}proxy: { ports: { readWrite: 6 } }\n`,
      /6 proxy.ports.readWrite: h:6 is that of alpha/,
    ],
    [
      'a directory that two nodes share',
      two('{ host: h, directory: d }', '{ host: h, port: 1, apiPort: 2, directory: d }'),
      /4 nodes.bravo.directory/,
    ],
    [
      'a loopback address among others',
      two('{ host: 127.0.0.1 }', '{ host: 10.0.0.2 }'),
      /3 nodes.alpha.host: 127.0.0.1 means its own machine/,
    ],
    [
      'names that become one slot',
      two('{ host: a }', '{ host: b }').replace('alpha', 'x-y').replace('bravo', 'x_y'),
      /4 nodes.x_y: .*one replication slot/,
    ],
    [
      'nodes that nobody may elect',
      `store: { endpoints: [http://127.0.0.1:1] }\nnodes: { a: { host: ::1, candidatePriority: 0 } }`,
      /nobody could become primary/,
    ],
    [
      'half of a client certificate',
      `store: { endpoints: [https://x], certFile: a }\nnodes: { a: { host: h } }`,
      /store.certFile: keyFile is missing/,
    ],
    [
      'a user without a password',
      `store: { endpoints: [https://x], username: a }\nnodes: { a: { host: h } }`,
      /store.username: passwordFile is missing/,
    ],
  ])('finds %s', (_what, text, expected) => {
    expect(
      findingsOf(text)
        .filter((each) => each.startsWith('error'))
        .join('\n'),
    ).toMatch(expected)
  })

  test('warns of what it cannot promise, and takes it', () => {
    const text = `store: { endpoints: ["http://10.0.0.1:2379"] }\napi: { tls: off }\nnodes: { a: { host: 10.0.0.1 }, b: { host: 10.0.0.2 } }\n`
    expect(findingsOf(text)).toEqual([
      'warning 1 durability: quorum needs three nodes: with one standby, its loss would stop every write, so commits wait for nobody',
      expect.stringContaining('warning 1 store.endpoints.0: http://10.0.0.1:2379 is unencrypted'),
      expect.stringContaining('warning 2 api.tls: the token'),
    ])
    expect(readConfigText(text).config).not.toBeNull()
  })
})

describe('a host', () => {
  test.each(['10.0.0.1', 'fd00::1', 'db', 'db-1.example.com', '_sip.x', 'a'.repeat(63)])('%s', (host) => {
    expect(hostProblem(host)).toBeNull()
  })
  test.each([
    '',
    '0.0.0.0',
    '::',
    '0:0::0',
    '[fd00::1]',
    'fe80::1%eth0',
    'db:5432',
    'https://db',
    '10.0.0',
    'a b',
    '-a',
    'a..b',
    '*',
  ])('not %j', (host) => {
    expect(hostProblem(host)).not.toBeNull()
  })
})

test('durations are written back as they were meant', () => {
  for (const text of ['500ms', '3s', '90s', '2m', '1h', '7d', '1500ms'])
    expect(parseDuration(formatDuration(parseDuration(text) ?? -1))).toBe(parseDuration(text))
  expect(formatDuration(90_000)).toBe('90s')
})

describe('what is in effect', () => {
  const config = resolveConfig(parseConfig(GOOD, '/etc/u/understudy.yaml'), '/etc/u/understudy.yaml')
  const keys = effectiveKeys(GOOD, config, readConfigText(GOOD).lineOf)
  const find = (key: string): unknown => keys.find((each) => each.key === key)

  test('has each key of the schema for each node, with its line or as a default', () => {
    expect(find('rto')).toMatchObject({ value: '2s', line: 2 })
    expect(find('durability')).toMatchObject({ value: 'quorum', line: null })
    expect(find('nodes.bravo.port')).toMatchObject({ value: 5433, line: 9 })
    expect(find('nodes.alpha.port')).toMatchObject({ value: 5432, line: null })
    expect(find('nodes.alpha.directory')).toMatchObject({
      value: '/var/lib/understudy/main/alpha',
      line: null,
    })
  })

  test('is a configuration that means the same', () => {
    const again = resolveConfig(parseConfig(JSON.stringify(nested(keys)), config.file), config.file)
    expect(JSON.stringify(again)).toBe(JSON.stringify(config))
  })

  test('listens on the address, and everywhere when the host is a name', () => {
    expect(config.nodes.map(({ listen }) => listen)).toEqual([['10.0.0.1'], ['fd00::2'], ['10.0.0.3']])
    const named = GOOD.replace(', listen: [10.0.0.3]', '')
    expect(resolveConfig(parseConfig(named, config.file), config.file).nodes[2]?.listen).toEqual(['*'])
  })

  test('speaks TLS unless every node is on this machine', () => {
    const tls = (hosts: string, more = ''): boolean => {
      const text = `store: { endpoints: [https://x] }\n${more}nodes: { ${hosts} }`
      return resolveConfig(parseConfig(text, config.file), config.file).nodes[0]?.apiCaFile !== null
    }
    expect(tls('a: { host: 10.0.0.1 }')).toBe(true)
    expect(tls('a: { host: 127.0.0.1 }, b: { host: ::1 }, c: { host: localhost }')).toBe(false)
    expect(tls('a: { host: 127.0.0.1 }', 'api: { tls: on }\n')).toBe(true)
    expect(tls('a: { host: 10.0.0.1 }', 'api: { tls: off }\n')).toBe(false)
  })
})

describe('the explanation', () => {
  const config = resolveConfig(parseConfig(GOOD, '/etc/u/understudy.yaml'), '/etc/u/understudy.yaml')
  const whole = explain(config, { major: 18, diskBytes: ({ name }) => (name === 'alpha' ? 1e12 : null) })

  test('has every timer, with the value that the agents use', () => {
    expect(whole.timers.map(({ name }) => name)).toEqual(Object.keys(TIMER_RULES))
    const timers = timersOf(2_000)
    for (const { name, ms, from, why } of whole.timers) {
      expect(ms).toBe(timers[name as keyof typeof timers])
      expect(from).not.toBe('')
      expect(why.length).toBeGreaterThan(10)
    }
  })

  test('has every setting of base.conf with the reason that stands there, and every timer of the streams', () => {
    const [alpha] = whole.nodes
    const settings = alpha?.groups.flatMap((group) => group.settings) ?? []
    const input = { major: 18, rtoMs: 2_000, diskBytes: 1e12, parameters: {} }
    const base = baseSettings({ ...input, ...placeholder() }).flatMap(({ settings }) => settings)
    for (const { name, why } of base) expect(settings).toContainEqual(expect.objectContaining({ name, why }))
    for (const { why } of Object.values(STREAM_TIMERS))
      expect(settings).toContainEqual(expect.objectContaining({ why }))
  })

  test('says what a person set and what is left out, and leaves open what only the node’s machine knows', () => {
    const [alpha, bravo] = whole.nodes
    expect(alpha?.refused).toEqual([
      { name: 'fsync', value: 'off', why: expect.stringContaining('acknowledged commit may be lost') },
    ])
    expect(alpha?.groups[0]?.settings).toMatchObject([
      { name: 'work_mem', value: '64MB', origin: 'configuration' },
    ])
    const slots = (node: typeof alpha): unknown =>
      node?.groups.flatMap(({ settings }) => settings).find(({ name }) => name === 'max_slot_wal_keep_size')
        ?.value
    expect(slots(alpha)).toBe('65536MB')
    expect(slots(bravo)).toBeNull()
  })

  test('prints what is equal on all nodes once', () => {
    const lines = explanationLines(whole, { width: 100, paint: plainPaint })
    expect(lines.filter((line) => line.startsWith('  wal_receiver_timeout'))).toHaveLength(1)
    expect(lines.filter((line) => line.startsWith('  cluster_name'))).toHaveLength(3)
    expect(lines.join('\n')).toContain('Each commit waits until 1 of 2 standbys have it on disk.')
  })

  function placeholder(): Pick<
    Parameters<typeof baseSettings>[0],
    'node' | 'port' | 'listenAddresses' | 'socketDirectory' | 'layout' | 'tls' | 'members' | 'extraHba'
  > {
    const layout = { nodeDir: '', dataDir: '', confDir: '', logDir: '', configFile: '', startupLog: '' }
    return {
      node: '',
      port: 1,
      listenAddresses: [],
      socketDirectory: '',
      layout,
      tls: { certificate: '', key: '', ca: '' },
      members: [],
      extraHba: [],
    }
  }
})

describe('a new file', () => {
  const values = {
    cluster: 'shop',
    store: { endpoints: ['https://[fd00::1]:2379'], caFile: 'store/ca.crt' },
    nodes: { alpha: { host: 'fd00::1' }, bravo: { host: 'db2' }, charlie: { host: '10.0.0.3', port: 5433 } },
  }
  const text = annotatedConfig(values, ['Head.'])

  test('says what was given and nothing else, and means the defaults otherwise', () => {
    const file = '/etc/u/understudy.yaml'
    expect(resolveConfig(parseConfig(text, file), file)).toEqual(
      expect.objectContaining({ cluster: 'shop', durability: 'quorum', rtoMs: 3_000 }),
    )
    expect(JSON.stringify(parse(text).nodes)).toBe(JSON.stringify(values.nodes))
  })

  test('explains every key', () => {
    for (const { path, description } of configKeys()) {
      const words = description.split(' ').slice(0, 4).join(' ')
      expect(text.replace(/\s+# +/g, ' '), path.join('.')).toContain(words)
      if (path.at(-2) !== ANY_NAME) expect(text).toMatch(new RegExp(`^ *(# )?${path.at(-1)}:`, 'm'))
    }
  })

  test('stays right when each comment mark before a key is taken away', () => {
    const keys = new Set(
      configKeys()
        .filter(({ path }) => !path.includes(ANY_NAME))
        .map(({ path }) => path.at(-1) ?? ''),
    )
    const open = text.replace(
      /^( *)# (\w+):(?= \S)(.*)$/gm,
      (line, indent: string, key: string, rest: string) => (keys.has(key) ? `${indent}${key}:${rest}` : line),
    )
    expect(open.split('\n').filter((line) => /^ *rto: 3s$/.test(line))).toHaveLength(1)
    const errors = readConfigText(open.replace(/^ +(tokenFile|username|passwordFile):.*$/gm, '')).findings
    expect(errors.filter(({ severity }) => severity === 'error')).toEqual([])
  })
})

test('the schema for editors forbids what parsing forbids', () => {
  expect(jsonSchema()).toMatchObject({
    additionalProperties: false,
    required: ['store', 'nodes'],
    properties: {
      rto: { type: 'string', default: '3s' },
      durability: { enum: ['quorum', 'async'] },
      nodes: { additionalProperties: { additionalProperties: false, required: ['host'] } },
    },
  })
})
