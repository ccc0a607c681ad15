/** Finding PostgreSQL: what is asked for, what the system has, what npm brought, and what to say when there is none. */
import { execFileSync } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { findBinaries, type PackageRoot } from '../../src/postgres/binaries.ts'
import {
  type EmbeddedPackage,
  findEmbeddedPackage,
  isLinked,
  stageEmbedded,
} from '../../src/postgres/embedded.ts'
import { becomeOrdinaryUser, makeWorkspace, ordinaryUser } from '../support/as-user.ts'

const real = findEmbeddedPackage()
if (real === null) throw new Error('the embedded PostgreSQL is needed: npm install without --omit=optional')

describe('binaries', () => {
  const workspace = makeWorkspace('bin')
  /** As npm unpacks it: without the links. */
  const unlinked: EmbeddedPackage = { nativeDir: join(workspace.path, 'native'), identity: '18.4-test' }
  const cacheDir = join(workspace.path, 'cache')
  const nothing = { env: { PATH: join(workspace.path, 'empty') }, packageRoots: [], cacheDir, embedded: null }

  beforeAll(async () => {
    cpSync(real.nativeDir, unlinked.nativeDir, { recursive: true, filter: (path) => !path.endsWith('.a') })
    const lib = join(unlinked.nativeDir, 'lib')
    for (const entry of readdirSync(lib, { withFileTypes: true })) {
      if (entry.isSymbolicLink()) rmSync(join(lib, entry.name))
    }
    const user = await ordinaryUser()
    if (user !== null) execFileSync('chown', ['-R', `${user.uid}:${user.gid}`, workspace.path])
    await becomeOrdinaryUser()
  })

  afterAll(() => {
    execFileSync('chmod', ['-R', 'u+w', workspace.path])
    workspace.remove()
  })

  /** A directory of programs that only print a version. */
  function fake(path: string, version: string, programs = ['initdb', 'postgres']): string {
    const binDir = join(workspace.path, path)
    mkdirSync(binDir, { recursive: true })
    for (const name of programs) {
      writeFileSync(join(binDir, name), `#!/bin/sh\necho "${name} (PostgreSQL) ${version}"\n`)
      chmodSync(join(binDir, name), 0o755)
    }
    return binDir
  }

  function rootOf(path: string): readonly PackageRoot[] {
    return [{ root: join(workspace.path, path), pattern: /^(\d+)$/, below: 'bin' }]
  }

  test('a directory that is named', async () => {
    const binDir = fake('named', '17.6 (Debian 17.6-1)', ['initdb', 'postgres', 'pg_rewind', 'psql'])
    expect(await findBinaries({ ...nothing, request: binDir })).toEqual({
      kind: 'ok',
      value: {
        binDir,
        major: 17,
        version: '17.6',
        kind: 'system',
        initdb: join(binDir, 'initdb'),
        postgres: join(binDir, 'postgres'),
        pgRewind: join(binDir, 'pg_rewind'),
        pgBasebackup: null,
        psql: join(binDir, 'psql'),
        env: {},
      },
    })
  })

  test('by default the one on PATH, before the newest supported package', async () => {
    fake('packages/14/bin', '14.2')
    fake('packages/15/bin', '15.9')
    const newest = fake('packages/18/bin', '18.1')
    fake('packages/31/bin', '31.1')
    const onPath = fake('path', '16.3')
    const packageRoots = rootOf('packages')
    expect(await findBinaries({ ...nothing, packageRoots })).toMatchObject({
      value: { binDir: newest, kind: 'system' },
    })
    expect(await findBinaries({ ...nothing, packageRoots, env: { PATH: onPath } })).toMatchObject({
      value: { binDir: onPath },
    })
    expect(await findBinaries({ ...nothing, packageRoots, request: '15' })).toMatchObject({
      value: { version: '15.9' },
    })
    expect(await findBinaries({ ...nothing, packageRoots, request: '17' })).toMatchObject({
      kind: 'failed',
      code: 'no-binaries',
      hint: expect.stringContaining('postgresql-17'),
    })
    expect(
      await findBinaries({ ...nothing, packageRoots: rootOf('nowhere'), embedded: unlinked }),
    ).toMatchObject({
      value: { kind: 'embedded', major: 18 },
    })
  })

  test.each(['14', '19', '9'])('PostgreSQL %s is not supported', async (request) => {
    expect(await findBinaries({ ...nothing, request })).toMatchObject({
      kind: 'failed',
      code: 'unsupported-version',
    })
  })

  test.each([
    ['an unsupported version', '14.2', ['initdb', 'postgres'], 'unsupported-version'],
    ['a client package without the server', '15.1', ['psql'], 'no-binaries'],
    ['a program of something else', 'none', ['initdb', 'postgres'], 'no-binaries'],
  ])('%s', async (label, version, programs, code) => {
    const request = fake(label.replaceAll(' ', '-'), version, programs)
    expect(await findBinaries({ ...nothing, request })).toMatchObject({ kind: 'failed', code })
  })

  test('nothing anywhere, with what to do', async () => {
    expect(await findBinaries(nothing)).toMatchObject({ kind: 'failed', code: 'no-binaries' })
    fake('only-old/14/bin', '14.2')
    const old = await findBinaries({ ...nothing, packageRoots: rootOf('only-old') })
    expect(old, 'the old one is named').toMatchObject({
      code: 'unsupported-version',
      reason: expect.stringContaining('14.2'),
    })
  })

  test('the embedded one gets its links at first use, and then finds its own libpq', async () => {
    const copy = { nativeDir: join(workspace.path, 'native-copy'), identity: 'copy' }
    cpSync(unlinked.nativeDir, copy.nativeDir, { recursive: true })
    rmSync(join(copy.nativeDir, 'lib', 'libpq.so.5'), { force: true })
    const [one, two] = await Promise.all(
      [1, 2].map(() => findBinaries({ ...nothing, embedded: copy, request: '18' })),
    )
    expect(one).toMatchObject({ kind: 'ok', value: { kind: 'embedded', major: 18, pgRewind: null } })
    expect(two).toEqual(one)
    expect(readlinkSync(join(copy.nativeDir, 'lib', 'libpq.so.5'))).toBe('libpq.so.5.18')
    const walreceiver = join(copy.nativeDir, 'lib', 'postgresql', 'libpqwalreceiver.so')
    const libraries = execFileSync('ldd', [walreceiver], { encoding: 'utf8' })
    expect(resolve(/libpq\.so\.5 => (\S+)/.exec(libraries)?.[1] ?? '')).toBe(
      join(copy.nativeDir, 'lib', 'libpq.so.5'),
    )
    expect(libraries).not.toContain('not found')
  })

  test('where nobody may write, it is mirrored once, also when two do it at once', async () => {
    const sealed = { nativeDir: join(workspace.path, 'sealed'), identity: 'sealed' }
    cpSync(unlinked.nativeDir, sealed.nativeDir, { recursive: true })
    for (const name of readdirSync(join(sealed.nativeDir, 'lib'))) {
      if (name.startsWith('libicuuc.so') && name !== 'libicuuc.so.60.2')
        rmSync(join(sealed.nativeDir, 'lib', name))
    }
    execFileSync('chmod', ['-R', 'a-w', sealed.nativeDir])
    const both = await Promise.all(
      [1, 2].map(() => findBinaries({ ...nothing, embedded: sealed, request: '18' })),
    )
    const binDir = join(cacheDir, 'embedded-postgres-sealed', 'bin')
    for (const found of both) expect(found).toMatchObject({ kind: 'ok', value: { binDir, version: '18.4' } })
    expect(readdirSync(cacheDir), 'no half copies').toEqual(['embedded-postgres-sealed'])
    expect(await isLinked(join(binDir, '..'))).toBe(true)
  })

  test('a cache that cannot be written is a question of permission', async () => {
    const closed = join(workspace.path, 'closed')
    mkdirSync(closed, { mode: 0o500 })
    expect(await stageEmbedded(join(closed, 'cache'), unlinked)).toMatchObject({
      kind: 'failed',
      code: 'no-permission',
    })
  })
})
