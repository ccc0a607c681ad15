/** Numbers and text as people read them: units, widths in terminal columns, colours, suggestions. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { mostKnowing } from '../../src/cli/api-client.ts'
import { unreachableStatus } from '../../src/cli/cluster-status.ts'
import { connectionFor, libpqUri, passFileText, proxyEndpoints } from '../../src/cli/connection.ts'
import { createEventStreamParser, mergeEvents } from '../../src/cli/event-list.ts'
import {
  enumerate,
  humanBytes,
  humanDuration,
  humanRate,
  humanTimeLeft,
  plural,
} from '../../src/cli/humanise.ts'
import { failureText } from '../../src/cli/output.ts'
import { plainPaint, wantsColour } from '../../src/cli/paint.ts'
import { programName } from '../../src/cli/program-name.ts'
import { displayWidth, oneLine, padEnd, padStart, truncate, wrap } from '../../src/cli/text.ts'
import { gist, screenText } from '../../src/cli/watch.ts'
import { parseConfig, resolveConfig } from '../../src/config/load.ts'
import { UnderstudyError } from '../../src/errors/codes.ts'
import { clusterStatus, nodeStatus } from '../support/cluster-status.ts'

describe('numbers', () => {
  it.each([
    [0, '0 B'],
    [1, '1 B'],
    [1023, '1023 B'],
    [1024, '1.0 kB'],
    [1536, '1.5 kB'],
    [1024 * 1024 - 1, '1.0 MB'],
    [150 * 1024 * 1024, '150 MB'],
    [2.5 * 1024 ** 3, '2.5 GB'],
    [-2048, '-2.0 kB'],
    [Number.NaN, '?'],
  ])('%s bytes are %s', (bytes, text) => {
    expect(humanBytes(bytes)).toBe(text)
  })

  it('never print four digits, nor a unit too small', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 50 }), (bytes) => {
        const [number = ''] = humanBytes(bytes).split(' ')
        expect(Number(number)).toBeLessThan(1024)
        expect(number.replace('.', '').length).toBeLessThanOrEqual(4)
      }),
    )
  })

  it.each([
    [0, '0 ms'],
    [0.44, '0.4 ms'],
    [12.4, '12 ms'],
    [999.4, '999 ms'],
    [999.6, '1.0 s'],
    [3_210, '3.2 s'],
    [59_940, '59.9 s'],
    [60_000, '1 min'],
    [95_000, '1 min 35 s'],
    [7_260_000, '2 h 1 min'],
    [3 * 86_400_000, '3 d'],
  ])('%s ms are %s', (ms, text) => {
    expect(humanDuration(ms)).toBe(text)
  })

  it('say a rate, a time left, a list and a count', () => {
    expect(humanRate(120 * 1024 * 1024)).toBe('120 MB/s')
    expect([humanTimeLeft(1), humanTimeLeft(61_200), humanTimeLeft(Number.POSITIVE_INFINITY)]).toEqual([
      '1 s',
      '1 min 2 s',
      '?',
    ])
    expect([enumerate([]), enumerate(['a']), enumerate(['a', 'b', 'c'])]).toEqual(['', 'a', 'a, b and c'])
    expect([plural(1, 'node'), plural(2, 'node'), plural(2, 'process', 'processes')]).toEqual([
      '1 node',
      '2 nodes',
      '2 processes',
    ])
  })
})

describe('text in columns', () => {
  it.each([
    ['abc', 3],
    ['é', 1],
    ['e\u0301', 1],
    ['漢字', 4],
    ['🚀', 2],
    ['\u200b', 0],
    ['━█✓', 3],
  ])('%s takes %i', (text, width) => {
    expect(displayWidth(text)).toBe(width)
  })

  it('cuts and pads to a width, whatever the characters are', () => {
    expect(truncate('漢字漢字', 5)).toBe('漢字…')
    expect(padEnd('漢', 4)).toBe('漢  ')
    expect(padStart('x', 3)).toBe('  x')
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.integer({ min: 0, max: 30 }), (text, width) => {
        expect(displayWidth(truncate(text, width))).toBeLessThanOrEqual(width)
      }),
    )
  })

  it('wraps at spaces and keeps long words whole', () => {
    expect(wrap('one two three', 7)).toEqual(['one two', 'three'])
    expect(wrap('/a/very/long/path x', 5)).toEqual(['/a/very/long/path', 'x'])
    expect(wrap('', 5)).toEqual([''])
  })

  it('takes control characters out of other people’s text', () => {
    expect(oneLine(' a\n\u001b[31mb\u0007\u009bc ')).toBe('a [31mb c')
  })
})

describe('colours', () => {
  it.each([
    [true, {}, true],
    [false, {}, false],
    [true, { NO_COLOR: '1' }, false],
    [true, { NO_COLOR: '' }, true],
    [true, { TERM: 'dumb' }, false],
    [false, { FORCE_COLOR: '1' }, true],
    [false, { FORCE_COLOR: '1', NO_COLOR: '1' }, true],
    [true, { FORCE_COLOR: '0' }, false],
  ])('on a terminal %s with %j: %s', (isTerminal, env, wanted) => {
    expect(wantsColour({ isTerminal, env })).toBe(wanted)
  })
})

describe('a failure', () => {
  it('is a code, a sentence and a hint', () => {
    const error = new UnderstudyError('no-openssl', 'openssl is not there')
    expect(failureText(error, plainPaint)).toBe(
      'error no-openssl: openssl is not there\nHINT: Install the openssl command (Debian: apt install openssl).',
    )
  })
})

describe('who answers', () => {
  it('is believed when healthy, then by epoch, then by how many nodes it reaches', () => {
    const healthy = clusterStatus({ epoch: 2 })
    const newer = clusterStatus({ epoch: 3, healthy: false })
    const alone = clusterStatus({
      epoch: 3,
      healthy: false,
      nodes: ['alpha', 'bravo', 'charlie'].map((name) => nodeStatus(name, { state: 'unreachable' })),
    })
    expect(mostKnowing([])).toBeNull()
    expect(mostKnowing([newer, healthy])).toBe(healthy)
    expect(mostKnowing([alone, newer])).toBe(newer)
    expect(mostKnowing([clusterStatus({ epoch: 1, healthy: false }), alone])).toBe(alone)
  })

  it('leaves nobody out when none does', () => {
    const config = { cluster: 'main', durability: 'quorum' as const, nodes: [], proxy: null }
    expect(unreachableStatus(config, new Date(0)).problems[0]).toMatchObject({
      code: 'unreachable',
      since: '1970-01-01T00:00:00.000Z',
    })
  })
})

describe('events', () => {
  const at = (node: string, id: number, second: number) => ({
    id,
    node,
    at: new Date(second * 1000).toISOString(),
    kind: 'x',
    message: '',
  })

  it('are ordered by time, then by id, each once', () => {
    const merged = mergeEvents([
      [at('b', 1, 5), at('b', 2, 5)],
      [at('a', 9, 5), at('b', 1, 5), at('a', 8, 1)],
    ])
    expect(merged.map(({ node, id }) => `${node}${id}`)).toEqual(['a8', 'a9', 'b1', 'b2'])
  })

  it('are whole however the stream is cut', () => {
    const text = ': hello\n\nid: 1\nevent: x\ndata: {"a":\ndata: 1}\n\ndata:two\r\n\r\n'
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 7 })), (sizes) => {
        const parse = createEventStreamParser()
        const events: string[] = []
        let rest = text
        for (const size of sizes) {
          events.push(...parse(rest.slice(0, size)))
          rest = rest.slice(size)
        }
        events.push(...parse(rest))
        expect(events).toEqual(['{"a":\n1}', 'two'])
      }),
    )
  })
})

describe('a connection', () => {
  const config = {
    cluster: 'main',
    application: { database: 'my db', user: 'app:user', managed: true },
    postgres: { superuser: 'postgres' },
    proxy: null,
    nodes: [
      {
        name: 'six',
        host: '::1',
        port: 5501,
        apiPort: 1,
        directory: '',
        socketDirectory: '',
        candidatePriority: 1,
      },
    ],
    secrets: {
      directory: '',
      superuserPassword: 's',
      replicationPassword: '',
      agentPassword: '',
      proxyPassword: '',
      applicationPassword: 'a',
      apiToken: '',
    },
    tls: { caFile: "/it's/ca.crt", certFile: () => '', keyFile: () => '' },
  }

  it('escapes every part of the URI and of the passfile', () => {
    const connection = connectionFor(config, { target: 'six', superuser: false })
    expect(libpqUri(connection, 'p w')).toBe(
      'postgresql://app%3Auser:p%20w@[::1]:5501/my%20db?sslmode=verify-full&sslrootcert=%2Fit%27s%2Fca.crt',
    )
    expect(passFileText(connection, 'a:b\\c')).toBe('*:*:*:app\\:user:a\\:b\\\\c\n')
  })

  it('of an application leads through the proxies, and a superuser’s or a node’s does not', () => {
    const text =
      'proxy: { ports: { readWrite: 6433 } }\nnodes: { a: { host: 10.0.0.1 }, b: { host: "fd00::2" } }\n'
    const file = '/etc/u/understudy.yaml'
    const store = 'store: { endpoints: ["https://10.0.0.9:2379"] }\n'
    const known = resolveConfig(parseConfig(`${store}${text}`, file), file)
    const uri = (target: string, superuser = false, throughProxy = true): string =>
      libpqUri(connectionFor(known, { target, superuser, throughProxy }), null)
    for (const target of ['auto', 'read-write'])
      expect(uri(target)).toMatch(
        /^postgresql:\/\/app@10\.0\.0\.1:6433,\[fd00::2\]:6433\/app\?(?!.*target_session)/,
      )
    const direct = /^postgresql:\/\/\w+@10\.0\.0\.1:5432,\[fd00::2\]:5432\/app\?.*target_session_attrs=/
    expect(uri('auto', true)).toMatch(direct)
    expect(uri('auto', false, false)).toMatch(direct)
    expect(uri('read-only')).toMatch(direct)
    expect(uri('b')).toContain('@[fd00::2]:5432/')
    expect(proxyEndpoints(known)).toEqual({
      auto: null,
      readWrite: '10.0.0.1:6433,[fd00::2]:6433',
      readOnly: null,
    })
    const one = resolveConfig(
      parseConfig(`${store}${text.replace('{ ports', '{ host: db.example.com, ports')}`, file),
      file,
    )
    expect(proxyEndpoints(one)?.readWrite).toBe('db.example.com:6433')
  })
})

describe('watching', () => {
  it('calls a state a change, and a lag none', () => {
    const nodes = [nodeStatus('alpha'), nodeStatus('bravo')]
    const moved = [nodeStatus('alpha', { flushLsn: '1/0' }), nodeStatus('bravo', { replayLagMs: 99 })]
    const sick = [nodeStatus('alpha'), nodeStatus('bravo', { state: 'catchingUp' })]
    expect(gist(clusterStatus({ nodes: moved }))).toBe(gist(clusterStatus({ nodes })))
    expect(gist(clusterStatus({ nodes: sick }))).not.toBe(gist(clusterStatus({ nodes })))
  })

  it('never writes more lines than the screen has', () => {
    const lines = Array.from({ length: 50 }, (_, index) => `line ${index}`)
    for (const rows of [1, 2, 3, 10])
      expect(screenText(lines, rows).split('\n').length).toBeLessThanOrEqual(rows)
    expect(screenText(['a'], 10)).toContain('q leaves')
  })
})

describe('the name of the program', () => {
  it('is npx understudy in a clone', () => {
    expect(programName(['node', '/usr/bin/understudy'], {})).toBe('understudy')
    expect(programName(['node', '/x/node_modules/.bin/understudy'], { npm_command: 'exec' })).toBe(
      'npx understudy',
    )
    expect(programName(['node', '/x/dist/src/cli/main.js'], {})).toBe('npx understudy')
  })
})
