/** Passfiles: what a fence removes (I3), what a new password changes, and a disk that takes no file. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { createPassfiles } from '../../src/cli/cloner.ts'
import { renewPassfile, writePassfile } from '../../src/postgres/secrets.ts'

const place = mkdtempSync(path.join(tmpdir(), 'passfiles-'))
afterAll(() => rmSync(place, { recursive: true }))

describe('a passfile with a new password', () => {
  const entry = {
    host: 'fd00::1',
    port: 5432,
    database: 'replication',
    user: 'r',
    password: 'a:b\\c and more',
  }

  test('keeps the rest of its line, and is not brought back when a fence has removed it (I3)', async () => {
    const file = path.join(place, 'upstream-3.passfile')
    await writePassfile(file, [entry])
    expect(await renewPassfile(file, 'r', 'x:y')).toBe(true)
    expect(readFileSync(file, 'utf8')).toBe('fd00\\:\\:1:5432:replication:r:x\\:y\n')
    expect(await renewPassfile(file, 'r', 'x:y')).toBe(false)
    unlinkSync(file)
    expect(await renewPassfile(file, 'r', 'z')).toBe(false)
    expect(readdirSync(place)).not.toContain('upstream-3.passfile')
  })

  test('is not given to another user: the superuser of a rewind under way keeps its own', async () => {
    const file = path.join(place, 'rewind.passfile')
    await writePassfile(file, [{ ...entry, database: '*', user: 'postgres' }])
    const before = readFileSync(file, 'utf8')
    expect(await renewPassfile(file, 'r', 'x:y')).toBe(false)
    expect(readFileSync(file, 'utf8')).toBe(before)
  })
})

test('a passfile that cannot be written is a failure of the action, and not the end of the agent', async () => {
  const nodeDirectory = path.join(place, 'alpha')
  mkdirSync(path.join(nodeDirectory, 'secrets', 'upstream-4.passfile'), { recursive: true })
  const replicationPasswordFile = path.join(place, 'replication.password')
  writeFileSync(replicationPasswordFile, 'secret', { mode: 0o600 })
  const passfiles = createPassfiles({ node: 'alpha', nodeDirectory, caFile: '', replicationPasswordFile })
  const upstream = { host: '10.0.0.2', port: 5432 }
  expect(await passfiles.write(4, upstream)).toMatchObject({ kind: 'failed' })
  expect(await passfiles.write(5, upstream)).toEqual({
    kind: 'ok',
    value: path.join(nodeDirectory, 'secrets', 'upstream-5.passfile'),
  })
})
