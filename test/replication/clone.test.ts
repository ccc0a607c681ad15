/** The clone as the agent uses it: a process of its own, run from the build. */
import { spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type CloneOptions, type RunningClone, startClone } from '../../src/replication/clone.ts'
import type { CloneJob, CloneProgressMessage } from '../../src/replication/clone-messages.ts'
import { serverUser } from '../support/postgres-server.ts'
import {
  contentOf,
  type Fixture,
  fill,
  makeFixture,
  REPLICATION_USER,
  until,
  untilCaughtUp,
} from './fixture.ts'

const COMPILED = fileURLToPath(new URL('../../dist/src/replication/clone.js', import.meta.url))

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

describe('startClone', () => {
  let fixture: Fixture
  beforeAll(async () => {
    if (!existsSync(COMPILED)) throw new Error('the worker runs from the build: npm run build first')
    fixture = await makeFixture('clone', 15)
    await fill(fixture.primary, 12)
  })
  afterAll(() => fixture.end())

  const job = (name: string, changes: Partial<CloneJob> = {}): CloneJob => ({
    address: { host: '127.0.0.1', port: fixture.primary.port },
    user: REPLICATION_USER,
    passfile: fixture.passfile,
    tls: { mode: 'verify-full', caPem: fixture.ca.caPem },
    applicationName: 'understudy_clone',
    targetDirectory: join(fixture.workspace, name),
    finalFiles: [{ name: 'standby.signal', content: '' }],
    ...changes,
  })
  const options = (): CloneOptions => ({ env: process.env, ...(serverUser() ?? {}) })

  /** A clone that is under way, with its first files written. */
  async function underWay(name: string): Promise<{ clone: RunningClone; directory: string }> {
    let started = false
    const clone = startClone(job(name, { maxRateKb: 2 * 1024 }), {
      ...options(),
      onProgress: ({ phase, bytesDone }) => {
        started ||= phase === 'copying' && bytesDone > 0
      },
    })
    const directory = join(fixture.workspace, name)
    await until('the clone is under way', () => started && existsSync(join(directory, 'base')))
    return { clone, directory }
  }

  test('gives a standby, owned by the user that runs PostgreSQL, and says how far it is', async () => {
    const seen: CloneProgressMessage[] = []
    const clone = startClone(job('bravo'), { ...options(), onProgress: (progress) => seen.push(progress) })
    const outcome = await clone.result
    expect(outcome).toMatchObject({ kind: 'done', timelineId: 1 })
    if (outcome.kind !== 'done') return
    expect(outcome.startLsn).toMatch(/^[0-9A-F]+\/[0-9A-F]+$/)
    expect(outcome.systemIdentifier).toMatch(/^\d{15,20}$/)
    expect(seen.map(({ phase }) => phase)).toEqual(
      expect.arrayContaining(['connecting', 'copying', 'finishing']),
    )
    // Ten a second, and one for each phase.
    expect(seen.length).toBeLessThanOrEqual(outcome.durationMs / 100 + 5)
    const owner = serverUser()?.uid ?? process.getuid?.()
    expect(statSync(join(fixture.workspace, 'bravo', 'global/pg_control')).uid).toBe(owner)
    const standby = await fixture.startCopy('bravo')
    await untilCaughtUp(fixture.primary, standby)
    expect(await contentOf(standby)).toEqual(await contentOf(fixture.primary))
  })

  test('a failure comes with its code and hint', async () => {
    const wrongServer = job('wrong', { expectedSystemIdentifier: '1' })
    expect(await startClone(wrongServer, options()).result).toMatchObject({
      kind: 'failed',
      code: 'system-identifier',
      hint: expect.stringMatching(/.+/),
    })
  })

  test('a target that cannot be written is no-permission', async () => {
    const closed = join(fixture.workspace, 'closed')
    mkdirSync(closed)
    chmodSync(closed, 0o555)
    const outcome = await startClone(job('closed/copy'), options()).result
    expect(outcome).toMatchObject({ kind: 'failed', code: 'no-permission' })
  })

  test('a worker that is killed leaves nothing that could start', async () => {
    const { clone, directory } = await underWay('killed')
    process.kill(clone.pid ?? 0, 'SIGKILL')
    const outcome = await clone.result
    expect(outcome).toMatchObject({ kind: 'failed', code: 'clone-failed' })
    expect(outcome.kind === 'failed' && outcome.message).toContain('SIGKILL')
    expect(existsSync(join(directory, 'global/pg_control'))).toBe(false)
    await until('its slot is gone', async () => {
      return (await fixture.primary.sql('SELECT 1 FROM pg_replication_slots')).length === 0
    })
  })

  test('an abort ends it with a failure, also twice and afterwards', async () => {
    const { clone, directory } = await underWay('aborted')
    clone.abort()
    clone.abort()
    expect(await clone.result).toMatchObject({
      kind: 'failed',
      code: 'clone-failed',
      message: 'The clone was aborted',
    })
    clone.abort()
    expect(existsSync(join(directory, 'global/pg_control'))).toBe(false)
    expect(isAlive(clone.pid ?? 0)).toBe(false)
  })

  test('dies when its parent dies', async () => {
    const parent = spawn(process.execPath, ['--input-type=module', '-e', PARENT], {
      env: {
        ...process.env,
        CLONE_MODULE: pathToFileURL(COMPILED).href,
        CLONE_JOB: JSON.stringify(job('orphaned', { maxRateKb: 1024 })),
      },
      stdio: ['ignore', 'pipe', 'inherit'],
      ...(serverUser() ?? {}),
    })
    let pid = 0
    parent.stdout.on('data', (text: Buffer) => {
      pid = Number(/worker (\d+)/.exec(String(text))?.[1] ?? pid)
    })
    await until('the worker copies', () => pid > 0)
    parent.kill('SIGKILL')
    await until('the worker dies', () => !isAlive(pid))
    expect(existsSync(join(fixture.workspace, 'orphaned', 'global/pg_control'))).toBe(false)
  })

  test('a worker that cannot run is a failure too', async () => {
    const outcome = await startClone(job('nothing'), { ...options(), workerPath: '/nonexistent/worker.js' })
      .result
    expect(outcome).toMatchObject({ kind: 'failed', code: 'clone-failed' })
    expect(outcome.kind === 'failed' && outcome.message).toContain('Cannot find module')
  })
})

/** Starts a clone, says its pid once it copies, and stays. */
const PARENT = `
const { startClone } = await import(process.env.CLONE_MODULE)
const clone = startClone(JSON.parse(process.env.CLONE_JOB), {
  env: process.env,
  onProgress: ({ phase, bytesDone }) => {
    if (phase === 'copying' && bytesDone > 0) console.log('worker ' + clone.pid)
  },
})
setInterval(() => undefined, 1000)
`
