import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type TarEntry, TarReader } from '../../src/protocol/tar-reader.ts'
import { ProtocolViolation } from '../../src/protocol/violation.ts'
import { cuts, oneByOne, pattern, pieces } from './pieces.ts'
import { paxEntry, TAR_END, type TarSpec, tarEntry } from './tar-builder.ts'

interface Read {
  readonly entry: TarEntry
  readonly content: string
}

function read(chunks: readonly Buffer[], finish = true): readonly Read[] {
  const done: Read[] = []
  let open: { entry: TarEntry; content: Buffer[] } | null = null
  const reader = new TarReader({
    entry: (entry) => {
      expect(open).toBeNull()
      open = { entry, content: [] }
    },
    data: (slice) => {
      expect(slice.length).toBeGreaterThan(0)
      open?.content.push(Buffer.from(slice))
    },
    entryEnd: () => {
      if (open !== null)
        done.push({ entry: open.entry, content: Buffer.concat(open.content).toString('hex') })
      open = null
    },
  })
  for (const chunk of chunks) reader.push(chunk)
  if (finish) reader.finish()
  return done
}

const readOne = (...parts: readonly Buffer[]): TarEntry | undefined =>
  read([Buffer.concat([...parts, TAR_END])])[0]?.entry

const file = fc.record({
  name: fc.stringMatching(/^[a-z]{1,8}(\/[a-z0-9]{1,8}){0,3}$/),
  content: fc.nat({ max: 1600 }).map((length) => pattern(length)),
  mode: fc.constantFrom(0o600, 0o640),
  base256: fc.boolean(),
})

describe('TarReader', () => {
  test('gives the same entries however the archive is split', () => {
    fc.assert(
      fc.property(fc.array(file, { maxLength: 5 }), cuts, (files, at) => {
        const archive = Buffer.concat([...files.map(tarEntry), TAR_END])
        const whole = read([archive])
        expect(whole.map(({ entry, content }) => [entry.path, entry.mode, content])).toEqual(
          files.map(({ name, mode, content }) => [name, mode, content.toString('hex')]),
        )
        expect(read(pieces(archive, at))).toEqual(whole)
      }),
    )
    const archive = Buffer.concat([tarEntry({ name: 'a/b', content: pattern(700) }), TAR_END])
    expect(read(oneByOne(archive))).toEqual(read([archive]))
  })

  test('reads directories, links inside the tree, prefixes and types', () => {
    expect(readOne(tarEntry({ name: 'base/1/', type: '5', mode: 0o700 }))).toMatchObject({
      path: 'base/1',
      type: 'directory',
      mode: 0o700,
      sizeBytes: 0,
    })
    expect(readOne(tarEntry({ name: 'a/b/link', type: '2', link: '../c' }))).toMatchObject({
      type: 'symlink',
      linkTarget: '../c',
    })
    expect(readOne(tarEntry({ name: 'x', type: '1', link: 'a/b' }))).toMatchObject({ type: 'hardlink' })
    expect(readOne(tarEntry({ name: 'file', prefix: 'long/way' }))?.path).toBe('long/way/file')
    expect(readOne(tarEntry({ name: './PG_VERSION' }))?.path).toBe('PG_VERSION')
    expect(readOne(tarEntry({ name: './', type: '5' }))?.path).toBe('')
  })

  test('reads sizes beyond 8 GiB', () => {
    const size = 9 * 2 ** 30
    const [entry] = [tarEntry({ name: 'big', size, base256: true })]
    let seen = 0
    const reader = new TarReader({
      entry: ({ sizeBytes }) => {
        seen = sizeBytes
      },
      data: () => undefined,
      entryEnd: () => undefined,
    })
    reader.push(entry)
    expect(seen).toBe(size)
    expect(() => reader.finish()).toThrow('in the middle of an entry')
  })

  test('honours pax headers for the next entry only', () => {
    const long = `dir/${'x'.repeat(150)}`
    const entries = read([
      Buffer.concat([
        paxEntry({ path: 'ignored' }, 'g'),
        paxEntry({ path: long, size: '3', comment: 'ünïcode = fine' }),
        tarEntry({ name: 'short', content: Buffer.from('abc') }),
        tarEntry({ name: 'second' }),
        TAR_END,
      ]),
    ])
    expect(entries.map(({ entry }) => entry.path)).toEqual([long, 'second'])
    expect(entries[0]?.content).toBe(Buffer.from('abc').toString('hex'))
  })

  test.each<[string, TarSpec]>([
    ['an absolute path', { name: '/etc/passwd' }],
    ['a way out', { name: 'base/../../etc/passwd' }],
    ['a way out as the whole path', { name: '..' }],
    ['no name', { name: '' }],
    ['an absolute symlink', { name: 'pg_tblspc/1', type: '2', link: '/srv/space' }],
    ['a symlink out of the tree', { name: 'a/link', type: '2', link: '../../x' }],
    ['a hard link out of the tree', { name: 'a/link', type: '1', link: '../x' }],
    ['a device', { name: 'null', type: '3' }],
    ['a size that cannot be', { name: 'x', size: Number.MAX_SAFE_INTEGER + 1, base256: true }],
  ])('refuses %s', (_, spec) => {
    expect(() => readOne(tarEntry(spec))).toThrow(ProtocolViolation)
  })

  test('refuses a way out that comes in a pax header', () => {
    expect(() => readOne(paxEntry({ path: '../x' }), tarEntry({ name: 'x' }))).toThrow(ProtocolViolation)
    const link = [paxEntry({ linkpath: '/etc' }), tarEntry({ name: 'x', type: '2', link: 'ok' })]
    expect(() => readOne(...link)).toThrow(ProtocolViolation)
  })

  test('refuses a damaged header, an end too early, and data after the end', () => {
    const entry = tarEntry({ name: 'x', content: pattern(10) })
    const damaged = Buffer.from(entry)
    damaged[3] = 0x41
    expect(() => read([damaged])).toThrow('does not match its own sum')
    expect(() => read([entry.subarray(0, 515)])).toThrow('in the middle of an entry')
    expect(() => read([Buffer.concat([TAR_END, entry])])).toThrow('after its end')
  })

  test('never fails in another way, whatever comes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 512, maxLength: 1536 }), fc.nat({ max: 511 }), (bytes, at) => {
        const archive = Buffer.concat([tarEntry({ name: 'x', content: Buffer.from(bytes) }), TAR_END])
        archive[at] = (archive[at] ?? 0) ^ 0x55
        try {
          read([archive])
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolViolation)
        }
      }),
    )
  })
})
