/** The writing side of a base backup by itself: every size, every split, past the page cache and through it. */

import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { UnderstudyError } from '../../src/errors/codes.ts'
import { Crc32c } from '../../src/protocol/crc32c.ts'
import { BackupFiles, type BackupFilesOptions } from '../../src/replication/backup-files.ts'
import { couldBeSynchronous } from '../../src/replication/backup-source.ts'

const KB = 1024
/** Around the limits: small file, alignment, block. */
const SIZES = [0, 1, 4095, 4096, 128 * KB, 128 * KB + 1, 300_001, 512 * KB, 512 * KB + 4097, 3000 * KB + 7]

function content(sizeBytes: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: sizeBytes }, (_, i) => (i * 7 + (i >> 12)) & 0xff))
}

let directory = ''
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'understudy-files-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

function open(changes: Partial<BackupFilesOptions> = {}) {
  const holds: boolean[] = []
  const failures: UnderstudyError[] = []
  const files = new BackupFiles({
    directory,
    checksums: 'CRC32C',
    fsync: true,
    syncsAtOnce: 3,
    onPressure: (hold) => holds.push(hold),
    onFailure: (failure) => failures.push(failure),
    ...changes,
  })
  return { files, holds, failures }
}

/** Hands a file over in slices, and waits whenever it is asked to. */
async function feed(
  files: BackupFiles,
  file: { readonly path: string; readonly storeAs: string | null; readonly bytes: Buffer },
  holds: readonly boolean[],
): Promise<void> {
  const { path, storeAs, bytes } = file
  files.begin({ path, storeAs, sizeBytes: bytes.length, mode: 0o600 })
  for (let offset = 0, step = 1; offset < bytes.length; offset += step, step = (step * 3 + 1) % 65_000) {
    files.data(bytes.subarray(offset, offset + step))
    while (holds.at(-1) === true) await new Promise((resolve) => setTimeout(resolve, 1))
  }
  files.end()
}

describe('BackupFiles', () => {
  test.each([
    { direct: true, checksums: 'CRC32C' },
    { direct: false, checksums: 'CRC32C' },
    { direct: true, checksums: 'SHA256' },
  ] as const)('writes what it was given (%o)', async (options) => {
    const { files, holds, failures } = open(options)
    files.directory('sub', 0o700)
    for (const size of SIZES) {
      const path = `sub/${size}`
      await feed(files, { path, storeAs: path, bytes: content(size) }, holds)
      await feed(files, { path: `dropped-${size}`, storeAs: null, bytes: content(size) }, holds)
    }
    await files.finish()
    expect(failures).toEqual([])
    for (const size of SIZES) {
      const bytes = content(size)
      expect(readFileSync(join(directory, 'sub', String(size))).equals(bytes), String(size)).toBe(true)
      const crc = new Crc32c()
      crc.update(bytes)
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      const checksum = options.checksums === 'CRC32C' ? crc.digest() : sha256
      expect(files.written.get(`sub/${size}`)).toEqual({ sizeBytes: size, checksum })
      expect(files.written.get(`dropped-${size}`)).toEqual({ sizeBytes: size, checksum })
      expect(() => statSync(join(directory, `dropped-${size}`))).toThrow('ENOENT')
    }
  })

  test('asks to be held back before its memory is full, and goes on', async () => {
    const { files, holds } = open({ fsync: false })
    const bytes = content(60 * KB)
    files.begin({ path: 'big', storeAs: 'big', sizeBytes: 40_000 * KB, mode: 0o600 })
    // Without a pause nothing can be written meanwhile: 12 MB fit, and it must say so before.
    let taken = 0
    while (holds.at(-1) !== true) {
      files.data(bytes)
      taken += bytes.length
    }
    expect(taken).toBeGreaterThan(8_000 * KB)
    expect(taken).toBeLessThan(12_000 * KB)
    await new Promise<void>((resolve) => {
      const timer = setInterval(() => {
        if (holds.at(-1) !== false) return
        clearInterval(timer)
        resolve()
      }, 1)
    })
    files.end()
    await files.finish()
    expect(statSync(join(directory, 'big')).size).toBe(taken)
  })

  test('says once what failed, writes nothing more, and closes everything', async () => {
    const { files, holds, failures } = open()
    await feed(files, { path: 'fine', storeAs: 'fine', bytes: content(1000 * KB) }, holds)
    files.begin({ path: 'open', storeAs: 'open', sizeBytes: 1000 * KB, mode: 0o600 })
    files.data(content(600 * KB))
    files.begin({ path: 'missing/dir', storeAs: 'missing/dir', sizeBytes: 1, mode: 0o600 })
    files.data(content(1))
    files.end()
    files.directory('also', 0o700)
    expect(failures.map(({ code }) => code)).toEqual(['clone-failed'])
    await files.abandon()
    await files.abandon()
    expect(() => statSync(join(directory, 'also'))).toThrow('ENOENT')
  })

  test('does not replace a file that is there', async () => {
    mkdirSync(join(directory, 'taken'))
    const { files, failures } = open()
    files.begin({ path: 'taken', storeAs: 'taken', sizeBytes: 1, mode: 0o600 })
    expect(failures[0]?.message).toContain('EEXIST')
    await files.abandon()
  })
})

describe('couldBeSynchronous', () => {
  test.each([
    ['', false],
    ['ANY 1 (bravo, charlie)', false],
    ['*', true],
    ['FIRST 2 (bravo, *)', true],
    ['ANY 1 ("Clone of alpha", bravo)', true],
  ])('synchronous_standby_names = %j: %s', (names, expected) => {
    expect(couldBeSynchronous(names, 'clone of alpha')).toBe(expected)
  })
})
