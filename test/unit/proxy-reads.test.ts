/** Reads on standbys, part by part: batches out of bytes, tokens, who is in rotation, and which sample covers what. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readingFromWire, readingToWire } from '../../src/api/positions.ts'
import { type Lsn, lsnOf } from '../../src/core/lsn.ts'
import type { Line } from '../../src/core/read-bound.ts'
import type { PositionReading, PrimaryPosition, Route } from '../../src/ports/proxy.ts'
import { query, terminate } from '../../src/protocol/frontend-messages.ts'
import { askedReads } from '../../src/proxy/reads/asked-reads.ts'
import { type BatchReader, readBatch } from '../../src/proxy/reads/batch.ts'
import { BoundSampler, nextMoment } from '../../src/proxy/reads/bound-sampler.ts'
import { parseBound, parseMaxLag } from '../../src/proxy/reads/own-settings.ts'
import { Rotation } from '../../src/proxy/reads/rotation.ts'
import { formatToken, parseToken } from '../../src/proxy/reads/token.ts'
import { readStartup } from '../../src/proxy/startup.ts'
import {
  bind,
  close,
  describe as describeMessage,
  execute,
  flush,
  parse,
  sync,
} from '../support/wire-client.ts'

const CLUSTER = '7000000000000000001'
const lsn = (value: number): Lsn => lsnOf(BigInt(value))

describe('a batch', () => {
  const reader: BatchReader = {
    textOf: (name) => (name === 'known' ? 'SELECT known' : null),
    decode: (chunk, from, to) => chunk.toString('utf8', from, to),
  }
  const texts = (bytes: Buffer): readonly string[] =>
    readBatch(bytes, reader)?.statements.map(({ text, runs }) => `${runs ? 'run' : 'prepare'} ${text}`) ?? []

  test('is a simple query, or everything up to a Sync', () => {
    expect(readBatch(query('SELECT 1'), reader)).toMatchObject({ kind: 'whole', isSimple: true, bytes: 14 })
    const extended = Buffer.concat([
      parse('p', 'SELECT $1'),
      bind('', 'p', ['1']),
      execute(''),
      bind('', 'known'),
      execute(''),
      sync(),
    ])
    const behind = Buffer.concat([extended, query('DELETE FROM t')])
    expect(readBatch(behind, reader)).toMatchObject({
      ...{ kind: 'whole', bytes: extended.length, parsed: ['p'], closes: false },
    })
    expect(texts(behind)).toEqual(['prepare SELECT $1', 'run SELECT $1', 'run SELECT known'])
  })

  test('in pieces is not known before it is whole, wherever it is cut', () => {
    const whole = Buffer.concat([
      parse('', 'SELECT 1'),
      bind('', ''),
      describeMessage('P', ''),
      execute(''),
      sync(),
    ])
    for (let at = 1; at < whole.length; at++) {
      const cut = readBatch(whole.subarray(0, at), reader)
      // Between two messages nobody knows whether more will come: that is open, and the primary's.
      if (cut !== null) expect(cut.kind).toBe('open')
    }
    expect(readBatch(whole, reader)?.kind).toBe('whole')
  })

  test('that ends with a Flush, names what is not known, or is too long, is open', () => {
    expect(readBatch(Buffer.concat([parse('', 'SELECT 1'), flush()]), reader)?.kind).toBe('open')
    expect(readBatch(Buffer.concat([bind('', 'unknown'), execute(''), sync()]), reader)?.kind).toBe('open')
    expect(readBatch(query('x'.repeat(70_000)).subarray(0, 100), reader)?.kind).toBe('open')
    expect(readBatch(terminate(), reader)?.kind).toBe('goodbye')
    expect(readBatch(Buffer.concat([close('S', 'known'), sync()]), reader)).toMatchObject({
      kind: 'whole',
      closes: true,
    })
    expect(readBatch(Buffer.from('d\0\0\0\x05x', 'latin1'), reader)?.kind).toBe('other')
  })

  test('of garbage never hangs and never throws anything but a violation', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 60 }), (bytes) => {
        try {
          readBatch(Buffer.from(bytes), reader)
        } catch (error) {
          expect((error as Error).name).toBe('ProtocolViolation')
        }
      }),
      { numRuns: 2_000 },
    )
  })
})

describe('a token', () => {
  test('comes back as it was, and a changed letter is noticed', () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: 1n, max: (1n << 63n) - 1n }),
        fc.integer({ min: 1, max: 0x7fffffff }),
        fc.bigInt({ min: 0n, max: (1n << 63n) - 1n }),
        fc.integer({ min: 3, max: 34 }),
        (id, timelineId, at, position) => {
          const bound = { systemIdentifier: String(id), timelineId, lsn: lsnOf(at) }
          const token = formatToken(bound)
          expect(parseToken(token)).toEqual(bound)
          const other = token[position] === 'A' ? 'B' : 'A'
          expect(parseToken(token.slice(0, position) + other + token.slice(position + 1))).toBeNull()
          expect(parseToken(token.slice(0, -1))).toBeNull()
        },
      ),
    )
  })

  test('of another cluster is refused, and one that may be lost is told', () => {
    const line: Line = {
      systemIdentifier: CLUSTER,
      history: { timelineId: 3, ancestors: [{ timelineId: 1, switchpointLsn: lsn(100), reason: '' }] },
    }
    const token = (timelineId: number, at: number, systemIdentifier = CLUSTER): string =>
      formatToken({ systemIdentifier, timelineId, lsn: lsn(at) })
    expect(parseBound(token(1, 100), line)).toMatchObject({ kind: 'ok' })
    expect(parseBound(token(1, 101), line)).toMatchObject({ kind: 'ok', warning: { severity: 'WARNING' } })
    expect(parseBound(token(1, 1, '42'), line)).toMatchObject({ kind: 'failed', error: { code: '22023' } })
    expect(parseBound('', line)).toEqual({ kind: 'ok', value: null })
  })
})

describe('what a client asks for at its start', () => {
  const startup = (parameters: Record<string, string>) =>
    readStartup({ parameters: new Map(Object.entries(parameters)), minorVersion: 0, protocolOptions: [] })

  test('is taken out of the options, in every way in which they can be written', () => {
    const { own, others } = startup({
      user: 'app',
      options: String.raw`-c work_mem=5MB -c understudy.level=eventual --understudy.max-lag=2s -cunderstudy.target=auto --a=b\ c`,
    })
    expect(Object.fromEntries(own)).toEqual({
      'understudy.level': 'eventual',
      'understudy.max_lag': '2s',
      'understudy.target': 'auto',
    })
    expect(others.get('options')?.replaceAll(/\s+/g, ' ')).toBe(String.raw`-c work_mem=5MB --a=b\ c`)
  })

  test('says more than the port', () => {
    const level = { level: 'session' } as const
    expect(askedReads('auto', level, new Map([['understudy.level', 'primary']]))).toMatchObject({
      settings: { target: 'auto', level: 'primary' },
    })
    expect(askedReads('auto', level, new Map([['understudy.level', 'x']]))).toMatchObject({ code: '22023' })
    expect(askedReads('auto', level, new Map([['understudy.x', 'x']]))).toMatchObject({ code: '42704' })
    expect(parseMaxLag('1500')).toEqual({ kind: 'ok', value: 1_500 })
    expect(parseMaxLag('soon').kind).toBe('failed')
  })
})

describe('a reading', () => {
  test('comes over the wire as it was, and nonsense is none', () => {
    const reading = standbyAt(0x1_0000_0010)
    expect(readingFromWire(readingToWire(reading))).toEqual(reading)
    expect(readingFromWire('{"node":1}')).toBeNull()
    expect(readingFromWire('<html>')).toBeNull()
  })
})

describe('the rotation', () => {
  const line: Line = { systemIdentifier: CLUSTER, history: { timelineId: 1, ancestors: [] } }
  const started = (): Rotation => {
    const rotation = new Rotation({ maxLagMs: 1_000 })
    rotation.cluster('alpha', ['alpha', 'bravo'], line, 0)
    rotation.take('alpha', primaryAt(100), 0)
    return rotation
  }
  const inside = (rotation: Rotation): readonly string[] => rotation.standbys.map(({ node }) => node)
  const why = (rotation: Rotation, nowMs: number): string | null | undefined =>
    rotation.entries(nowMs)[0]?.outBecause

  test('has who streams and is not far behind', () => {
    const rotation = started()
    rotation.take('bravo', standbyAt(100), 0)
    expect(rotation.standbys).toMatchObject([
      { node: 'bravo', replayLsn: 100n, replayLagMs: 0, replayLagBytes: 0 },
    ])
    rotation.take('alpha', primaryAt(200), 100)
    rotation.look(600)
    expect(rotation.standbys).toMatchObject([{ replayLagMs: 500, replayLagBytes: 100 }])
  })

  test.each([
    ['that does not answer', { role: 'unknown' }, 'its server does not answer'],
    ['of another cluster', { systemIdentifier: '42' }, 'it has another cluster’s data'],
    ['on another timeline', { timelineId: 2 }, 'it is not on the timeline in force'],
    ['whose timeline nobody knows', { timelineId: null }, 'its timeline is not known'],
    ['that is paused', { heldBack: 'paused' }, 'its replay is paused'],
    ['that is delayed on purpose', { heldBack: 'delayed' }, 'it is delayed on purpose'],
  ] as const)('has nobody %s', (_, changes, reason) => {
    const rotation = started()
    rotation.take('bravo', standbyAt(100, changes), 0)
    expect(inside(rotation)).toEqual([])
    expect(why(rotation, 0)).toBe(reason)
  })

  test('leaves out who is silent, and takes him back after a while', () => {
    const rotation = started()
    rotation.take('bravo', standbyAt(100), 0)
    rotation.take('alpha', primaryAt(100), 1_050)
    rotation.look(1_050)
    expect(why(rotation, 1_050)).toBe('its agent is not heard')
    for (let nowMs = 1_100; nowMs <= 2_200; nowMs += 100) {
      rotation.take('alpha', primaryAt(100), nowMs)
      rotation.take('bravo', standbyAt(100), nowMs)
      expect(inside(rotation)).toEqual(nowMs < 2_100 ? [] : ['bravo'])
    }
  })

  test('leaves out who is too far behind until he is well within the limit', () => {
    const rotation = started()
    let nowMs = 0
    const advance = (primary: number, standby: number): void => {
      nowMs += 100
      rotation.take('alpha', primaryAt(primary), nowMs)
      rotation.take('bravo', standbyAt(standby), nowMs)
    }
    advance(100, 100)
    for (let i = 1; i <= 13; i++) advance(100 + i, 100)
    expect(why(rotation, nowMs)).toContain('behind')
    // 600 ms behind: within the limit, and not by half.
    for (let i = 14; i <= 30; i++) advance(100 + i, 100 + i - 7)
    expect(inside(rotation)).toEqual([])
    for (let i = 31; i <= 45; i++) advance(100 + i, 100 + i - 2)
    expect(inside(rotation)).toEqual(['bravo'])
  })

  test('stays as it is while nobody takes writes, though nobody streams', () => {
    const rotation = started()
    rotation.take('bravo', standbyAt(100), 0)
    rotation.cluster(null, ['alpha', 'bravo'], line, 50)
    for (let nowMs = 100; nowMs < 3_000; nowMs += 200)
      rotation.take('bravo', standbyAt(100, { streaming: false }), nowMs)
    expect(inside(rotation)).toEqual(['bravo'])
    rotation.cluster('alpha', ['alpha', 'bravo'], line, 3_000)
    for (let nowMs = 3_000; nowMs <= 4_200; nowMs += 100) {
      rotation.take('alpha', primaryAt(100), nowMs)
      rotation.take('bravo', standbyAt(100, { streaming: false }), nowMs)
    }
    expect(why(rotation, 4_200)).toBe('it does not stream')
  })

  test('believes the lag to be unknown when the primary is not heard', () => {
    const rotation = started()
    rotation.take('bravo', standbyAt(100), 0)
    rotation.take('alpha', null, 500)
    // A new primary, say, that has not told where it is: but nobody who asks for an age is served.
    expect(rotation.standbys).toMatchObject([{ node: 'bravo', replayLagMs: Number.POSITIVE_INFINITY }])
    rotation.take('bravo', standbyAt(100), 1_000)
    expect(why(rotation, 1_000)).toBe('how far it is behind is not known')
  })
})

describe('the sample of a bound', () => {
  const route: Route = {
    ...{ kind: 'open', epoch: 1, primary: { name: 'alpha', host: '127.0.0.1', port: 1 } },
    cluster: { line: { systemIdentifier: CLUSTER, history: { timelineId: 1, ancestors: [] } }, members: [] },
  }

  /** Answers when it is told to. */
  class SlowPrimary {
    readonly asked: ((position: PrimaryPosition | Error) => void)[] = []

    ask(): Promise<PrimaryPosition> {
      return new Promise((resolve, reject) => {
        this.asked.push((answer) => (answer instanceof Error ? reject(answer) : resolve(answer)))
      })
    }

    async answer(at: number): Promise<void> {
      this.asked.shift()?.({ timelineId: 1, lsn: lsn(at) })
      await Promise.resolve()
      await Promise.resolve()
    }
  }

  test('is never one that was asked for before the write was acknowledged', async () => {
    const primary = new SlowPrimary()
    const sampler = new BoundSampler(primary, () => route)
    const told: string[] = []
    const ask = (who: string, moment: number): (() => void) =>
      sampler.ask(moment, (bound) => told.push(`${who} ${bound?.lsn ?? 'nothing'}`))
    const early = nextMoment()
    ask('first', early)
    ask('with the first', early)
    const late = nextMoment()
    ask('behind it', late)
    ask('gone', late)()
    expect(primary.asked.length, 'one at a time').toBe(1)
    await primary.answer(10)
    expect(told).toEqual(['first 10', 'with the first 10'])
    expect(primary.asked.length).toBe(1)
    expect(sampler.known(early)?.lsn).toBe(10n)
    expect(sampler.known(late), 'too old for it').toBeNull()
    await primary.answer(20)
    expect(told.at(-1)).toBe('behind it 20')
    expect(told).toHaveLength(3)
    expect(sampler.known(late)?.lsn).toBe(20n)
  })

  test('is none when nobody can be asked, and the next one is asked for all the same', async () => {
    const primary = new SlowPrimary()
    const sampler = new BoundSampler(primary, () => route)
    const told: unknown[] = []
    sampler.ask(nextMoment(), (bound) => told.push(bound))
    primary.asked.shift()?.(new Error('gone'))
    await new Promise((resolve) => setImmediate(resolve))
    expect(told).toEqual([null])
    sampler.ask(nextMoment(), (bound) => told.push(bound?.lsn))
    await primary.answer(30)
    expect(told).toEqual([null, 30n])
    const nobody = new BoundSampler(primary, () => ({ kind: 'held', epoch: 1, reason: '' }))
    nobody.ask(nextMoment(), (bound) => told.push(bound))
    expect(told.at(-1)).toBeNull()
  })
})

function standbyAt(at: number, changes: Partial<PositionReading> = {}): PositionReading {
  return {
    ...{ node: 'bravo', role: 'standby', systemIdentifier: CLUSTER, timelineId: 1, lsn: lsn(at) },
    ...{ streaming: true, heldBack: null, incarnation: 'x' },
    ...changes,
  }
}

function primaryAt(at: number): PositionReading {
  return standbyAt(at, { node: 'alpha', role: 'primary', streaming: false })
}
