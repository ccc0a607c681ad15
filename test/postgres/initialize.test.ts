/** Making the first data directory: whole or not at all, whenever it is interrupted. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { hasOpenBelow, isAlive, listMarked } from '../../src/postgres/processes.ts'
import { compiledDirectory } from './compiled.ts'
import { eventually, exists, MAJORS, PRIMARY, type TestNode, value, Workspace } from './fixture.ts'

const forever = new AbortController().signal
const unheard = async (): Promise<void> => {}

afterAll(() => rmSync(compiledDirectory, { recursive: true, force: true }))

describe.each(MAJORS)('initialize of PostgreSQL %i', (major) => {
  let workspace: Workspace
  beforeAll(async () => {
    workspace = await Workspace.make(`in${major}`)
  })
  afterAll(() => workspace.end())

  test('makes a whole cluster, shut down cleanly, and nothing beside it', async () => {
    const node = await workspace.node('whole', major)
    expect(await node.postgres.inspectDirectory()).toEqual({ kind: 'absent' })
    let made: string | null = null
    const beforeNamed = async (systemIdentifier: string): Promise<void> => {
      made = systemIdentifier
      expect(await node.postgres.inspectDirectory()).toEqual({ kind: 'absent' })
    }
    value(await node.postgres.initialize(forever, beforeNamed))
    expect(await node.postgres.inspectDirectory()).toMatchObject({
      kind: 'cluster',
      major,
      control: {
        systemIdentifier: made,
        state: 'shutDown',
        timelineId: 1,
        dataChecksums: true,
        walSegmentSize: 16_777_216,
      },
      standbySignal: false,
      backupLabel: false,
    })
    expect(readdirSync(node.options.nodeDir)).toEqual(['data'])
    expect(readFileSync(join(node.dataDir, 'postgresql.conf'), 'utf8')).toContain('Not read')
    value(await node.postgres.configure(PRIMARY))
    value(await node.postgres.start(30_000))
    const [settings] = await node.sql(
      `SELECT datcollate, datctype FROM pg_database WHERE datname = 'app'`,
      'app',
    )
    expect(settings).toEqual({ datcollate: 'C.UTF-8', datctype: 'C.UTF-8' })
  })

  test('refuses a directory that holds anything, and leaves it as it is', async () => {
    const node = await workspace.node('taken', major)
    value(await node.postgres.initialize(forever, unheard))
    expect(await node.postgres.initialize(forever, unheard)).toMatchObject({
      kind: 'failed',
      code: 'foreign-data',
    })
    expect((await node.postgres.inspectDirectory()).kind).toBe('cluster')
    const other = await workspace.node('foreign', major)
    mkdirSync(other.dataDir)
    writeFileSync(join(other.dataDir, 'thesis.txt'), 'all of it')
    expect(await other.postgres.inspectDirectory()).toMatchObject({ kind: 'unusable', code: 'foreign-data' })
    expect(await other.postgres.initialize(forever, unheard)).toMatchObject({
      kind: 'failed',
      code: 'foreign-data',
    })
    expect(readdirSync(other.dataDir)).toEqual(['thesis.txt'])
  })

  test('goes without the proxy’s role where a bundle from before it has no password for that', async () => {
    const proxy = join(workspace.path, 's', 'none')
    const node = await workspace.node('older', major, {
      secrets: { ...workspace.secrets, proxy },
    })
    value(await node.postgres.initialize(forever, unheard))
    value(await node.postgres.configure(PRIMARY))
    value(await node.postgres.start(30_000))
    const roles = `SELECT count(*)::int AS there FROM pg_roles WHERE rolname = 'understudy_proxy'`
    expect(await node.sql(roles)).toEqual([{ there: 0 }])
    value(await node.postgres.stop('fast', 30_000))
  })

  test('says so when it may not write, or a password is missing or open to others', async () => {
    const node = await workspace.node('closed', major)
    chmodSync(node.options.nodeDir, 0o500)
    expect(await node.postgres.initialize(forever, unheard)).toMatchObject({
      kind: 'failed',
      code: 'no-permission',
    })
    chmodSync(node.options.nodeDir, 0o700)
    const secrets = { ...node.options.secrets, agent: join(workspace.path, 's', 'open') }
    const open = await workspace.node('open', major, { secrets })
    expect(await open.postgres.initialize(forever, unheard)).toMatchObject({
      kind: 'failed',
      code: 'no-permission',
    })
    writeFileSync(secrets.agent, 'known to all\n', { mode: 0o644 })
    expect(await open.postgres.initialize(forever, unheard)).toMatchObject({
      kind: 'failed',
      code: 'no-permission',
    })
    expect(readdirSync(open.options.nodeDir)).toEqual([])
  })

  test('aborted, it leaves nothing', async () => {
    const node = await workspace.node('aborted', major)
    const controller = new AbortController()
    const running = node.postgres.initialize(controller.signal, unheard)
    await eventually('it has begun', async () => readdirSync(node.options.nodeDir).length > 0)
    await sleep(50)
    controller.abort()
    expect(await running).toMatchObject({ kind: 'failed', code: 'initdb-failed' })
    expect(readdirSync(node.options.nodeDir)).toEqual([])
    await eventually('nothing of it runs', async () => (await listMarked(node.options.nodeDir)).length === 0)
  })

  test('what works in a leftover is ended when it is ours, and only then', async () => {
    const node = await workspace.node('leftover', major)
    const leftover = join(node.options.nodeDir, 'data.new-0123456789ab')
    mkdirSync(join(leftover, 'global'), { recursive: true })
    const file = join(leftover, 'global', 'half')
    writeFileSync(file, '')
    const [ours, others] = [{ UNDERSTUDY_NODE: node.options.nodeDir }, {}].map((env) =>
      spawn('tail', ['-f', 'half'], {
        cwd: join(leftover, 'global'),
        env: { PATH: process.env['PATH'], ...env },
        stdio: 'ignore',
      }),
    )
    await eventually('both hold it open', async () => {
      const held = await Promise.all([ours, others].map((child) => hasOpenBelow(child?.pid ?? 0, leftover)))
      return held.every((open) => open)
    })
    expect(await node.postgres.removeLeftovers()).toEqual([leftover])
    expect(readdirSync(node.options.nodeDir)).toEqual([])
    expect([ours?.signalCode, await isAlive(others?.pid ?? 0)]).toEqual(['SIGKILL', true])
    others?.kill('SIGKILL')
  })

  test('killed at any moment, the final name is absent or whole, and what is left goes away', async () => {
    const node = await workspace.node('killed', major)
    let whole = 0
    // Spread over what a run takes, from before initdb to after the rename; each run's moment is printed when it fails.
    for (let run = 0; run < 8; run++) {
      const killAfterMs = Math.round(run * 130 + Math.random() * 130)
      await killDuringInitialize(node, killAfterMs)
      const directory = await node.postgres.inspectDirectory()
      const context = `killed after ${killAfterMs} ms`
      if (await exists(node.dataDir)) {
        const systemIdentifier = readFileSync(notedFile(node), 'utf8')
        expect(directory, context).toMatchObject({
          kind: 'cluster',
          control: { state: 'shutDown', systemIdentifier },
        })
        whole++
        rmSync(node.dataDir, { recursive: true })
      } else {
        expect(directory, context).toEqual({ kind: 'absent' })
      }
      await node.postgres.removeLeftovers()
      expect(readdirSync(node.options.nodeDir), context).toEqual([])
      // initdb's shells end by themselves once what they ran is gone.
      await eventually(
        `nothing runs, ${context}`,
        async () => (await listMarked(node.options.nodeDir)).length === 0,
      )
    }
    expect(whole, 'some runs were killed in the middle').toBeLessThan(8)
    value(await node.postgres.initialize(forever, unheard))
  })
})

function notedFile(node: TestNode): string {
  return `${node.options.nodeDir}.noted`
}

/** initialize() in a process of its own, ended by SIGKILL: what of it goes on runs without a parent. */
async function killDuringInitialize(node: TestNode, killAfterMs: number): Promise<void> {
  const script = `
    import { initialize } from ${JSON.stringify(join(compiledDirectory, 'postgres', 'initialize.js'))}
    import { writeFileSync } from 'node:fs'
    import { nodeLayout } from ${JSON.stringify(join(compiledDirectory, 'postgres', 'layout.js'))}
    const options = ${JSON.stringify({ ...node.options, superuser: 'postgres', log: undefined })}
    process.stdout.write('begins')
    const noted = async (identifier) => writeFileSync(${JSON.stringify(notedFile(node))}, identifier)
    const forever = new AbortController().signal
    await initialize({ ...options, layout: nodeLayout(options.nodeDir), log: () => {} }, forever, noted)
  `
  const child: ChildProcess = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  if (child.stdout === null) throw new Error('no pipe')
  await once(child.stdout, 'data')
  await Promise.race([sleep(killAfterMs), once(child, 'exit')])
  child.kill('SIGKILL')
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  expect(existsSync(node.options.nodeDir)).toBe(true)
}
