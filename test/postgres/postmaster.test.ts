/** The postmaster's life: start, stop, adopt, crash, what a crash leaves, and what is not ours. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Postgres } from '../../src/ports/postgres.ts'
import type { AdapterEvent, AdapterLog } from '../../src/postgres/adapter-log.ts'
import { issueCertificate } from '../../src/postgres/certificates.ts'
import { createPostgres } from '../../src/postgres/create-postgres.ts'
import { childrenOf, isAlive, listPostgresIn } from '../../src/postgres/processes.ts'
import { eventually, MAJORS, PRIMARY, type TestNode, value, Workspace } from './fixture.ts'

describe.each(MAJORS)('postmaster of PostgreSQL %i', (major) => {
  let workspace: Workspace
  const started: ChildProcess[] = []

  let node: TestNode
  const agents: Postgres[] = []

  beforeAll(async () => {
    workspace = await Workspace.make(`pm${major}`)
    node = await workspace.initialized('alpha', major)
    value(await node.postgres.configure(PRIMARY))
  })

  afterEach(async () => {
    for (const each of agents.splice(0)) await each.close()
  })

  afterAll(async () => {
    for (const child of started) child.kill('SIGKILL')
    await workspace.end()
  })

  /** An agent's hold on the node: each test is a successor of the one before. */
  function agent(log: AdapterLog = () => undefined): Postgres {
    const postgres = createPostgres({ ...node.options, log })
    agents.push(postgres)
    return postgres
  }

  function listen(postgres: Postgres): readonly string[] {
    const told: string[] = []
    postgres.onChange((what) => told.push(what))
    return told
  }

  test('starts detached, is seen running, and stops', async () => {
    const postgres = agent()
    expect(await postgres.inspectPostmaster()).toEqual({ kind: 'stopped' })
    const told = listen(postgres)
    expect(await postgres.observe(1_000)).toMatchObject({ kind: 'failed', code: 'connect-failed' })
    await sleep(50)
    expect(told, 'a look at nothing is no change, or the agent would look again at once, for ever').toEqual(
      [],
    )
    const { pid } = value(await postgres.start(30_000))
    expect(await postgres.inspectPostmaster()).toEqual({ kind: 'running', pid, status: 'ready' })
    const session = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ')[3]
    expect(Number(session), 'a session of its own, so that nothing of ours ends it').toBe(pid)
    expect(value(await postgres.start(30_000)), 'starting what runs changes nothing').toEqual({ pid })
    value(await postgres.stop('fast', 10_000))
    expect(await postgres.inspectPostmaster()).toEqual({ kind: 'stopped' })
    expect(await listPostgresIn(node.dataDir)).toEqual([])
    expect(await postgres.inspectDirectory()).toMatchObject({
      kind: 'cluster',
      major,
      control: { state: 'shutDown' },
    })
  })

  test('tells at once when the postmaster is killed, and starts again over what it left', async () => {
    const postgres = agent()
    const { pid } = value(await postgres.start(30_000))
    value(await postgres.observe(5_000))
    const told = listen(postgres)
    process.kill(pid, 'SIGKILL')
    await eventually(
      'the end was told',
      async () => told.some((what) => what.includes('signal SIGKILL')),
      2_000,
    )
    expect(readFileSync(join(node.dataDir, 'postmaster.pid'), 'utf8')).toContain(String(pid))
    expect(await postgres.inspectPostmaster()).toEqual({ kind: 'stopped' })
    expect(value(await postgres.start(30_000)).pid).not.toBe(pid)
    expect(value(await postgres.observe(5_000)).inRecovery).toBe(false)
  })

  test('a new agent adopts what its predecessor left running, watches it, and stops it', async () => {
    const first = agent()
    const { pid } = value(await first.start(30_000))
    await first.close()
    const second = agent()
    expect(await second.inspectPostmaster()).toEqual({ kind: 'running', pid, status: 'ready' })
    const told = listen(second)
    process.kill(pid, 'SIGKILL')
    await eventually('the end was told', async () => told.length > 0, 2_000)
    const again = value(await second.start(30_000))
    await second.close()
    value(await agent().stop('fast', 10_000))
    expect(await isAlive(again.pid)).toBe(false)
  })

  test('a client that connects during a fast stop and says nothing does not hold it up', async () => {
    const postgres = agent()
    const { pid } = value(await postgres.start(30_000))
    const checkpointer = (await childrenOf(pid)).find(({ title }) => title.includes(': checkpointer'))
    if (checkpointer === undefined) throw new Error('no checkpointer')
    // So the shutdown lasts until the client is there.
    process.kill(checkpointer.pid, 'SIGSTOP')
    const beganAtMs = performance.now()
    const stopped = postgres.stop('fast', 30_000)
    const isStopping = async (): Promise<boolean> => {
      const { message } = await new Promise<Error>((resolve) => {
        const client = new Client({ host: '127.0.0.1', port: node.options.port, user: 'nobody' })
        client.connect().catch(resolve)
      })
      return message.includes('shutting down')
    }
    await eventually('the shutdown has begun', isStopping, 5_000)
    const silent = connect({ host: '127.0.0.1', port: node.options.port })
    await once(silent, 'connect')
    const isServed = async (): Promise<boolean> =>
      (await childrenOf(pid)).some(({ title }) => !title.startsWith('postgres: '))
    await eventually('it is served', isServed, 5_000)
    process.kill(checkpointer.pid, 'SIGCONT')
    value(await stopped)
    silent.destroy()
    expect(performance.now() - beganAtMs).toBeLessThan(15_000)
    expect(await postgres.inspectDirectory()).toMatchObject({ control: { state: 'shutDown' } })
  })

  test('an adopted postmaster’s end is told by the broken connection, sooner than by looking', async () => {
    const first = agent()
    const { pid } = value(await first.start(30_000))
    await first.close()
    const second = agent()
    value(await second.observe(5_000))
    const told = listen(second)
    process.kill(pid, 'SIGQUIT')
    await eventually(
      'the break was told',
      async () => told.some((what) => what.includes('connection')),
      2_000,
    )
  })

  test('a postmaster in our directory that we did not start is named and never signalled', async () => {
    const postgres = agent()
    value(await postgres.stop('fast', 10_000))
    const config = `config_file=${node.options.nodeDir}/conf/postgresql.conf`
    const child = spawn(node.options.binaries.postgres, ['-D', node.dataDir, '-c', config], {
      stdio: 'ignore',
      detached: true,
      env: { LC_ALL: 'C' },
    })
    started.push(child)
    await eventually('it runs', async () => (await postgres.inspectPostmaster()).kind === 'foreign')
    expect(await postgres.inspectPostmaster()).toMatchObject({ kind: 'foreign', pid: child.pid })
    for (const refused of [
      await postgres.start(1_000),
      await postgres.stop('immediate', 100),
      await postgres.reload(),
    ]) {
      expect(refused).toMatchObject({ kind: 'failed', code: 'foreign-postmaster' })
    }
    expect(await isAlive(child.pid ?? 0)).toBe(true)
    child.kill('SIGINT')
    await once(child, 'exit')
    await eventually('nothing of it runs', async () => (await listPostgresIn(node.dataDir)).length === 0)
  })

  test('the number of a dead postmaster that another program has now stops nothing', async () => {
    const postgres = agent()
    const other = spawn('sleep', ['60'], { stdio: 'ignore' })
    started.push(other)
    const { port, socketDirectory } = node.options
    const lines = [other.pid, node.dataDir, 1, port, socketDirectory, '127.0.0.1', '1 1', 'ready']
    writeFileSync(join(node.dataDir, 'postmaster.pid'), `${lines.join('\n')}\n`)
    writeFileSync(join(socketDirectory, `.s.PGSQL.${port}.lock`), `${lines.slice(0, 5).join('\n')}\n`)
    expect(await postgres.inspectPostmaster()).toEqual({ kind: 'stopped' })
    value(await postgres.start(30_000))
    expect(await isAlive(other.pid ?? 0), 'the other program was left alone').toBe(true)
  })

  test('backends of a dead postmaster that go on are ended before a start', async () => {
    const events: AdapterEvent[] = []
    const postgres = agent((event) => events.push(event))
    const { pid } = value(await postgres.start(30_000))
    // Stopped, so that it cannot notice the death of its postmaster, as a backend in a long computation does not.
    const orphan = (await listPostgresIn(node.dataDir)).find(({ title }) => title.includes('checkpointer'))
    if (orphan === undefined) throw new Error('there is no checkpointer')
    process.kill(orphan.pid, 'SIGSTOP')
    process.kill(pid, 'SIGKILL')
    // The log collector stays as long as somebody could write to it.
    await eventually('only the orphan is left', async () =>
      (await listPostgresIn(node.dataDir)).every(
        ({ pid, title }) => pid === orphan.pid || title.includes('logger'),
      ),
    )
    value(await postgres.start(30_000))
    expect(await isAlive(orphan.pid)).toBe(false)
    const warnings = events.filter(({ level }) => level === 'warn').map(({ message }) => message)
    expect(warnings).toContainEqual(expect.stringContaining('ending what a dead postmaster left'))
  })

  test('a client in a long statement does not hold up a fast stop', async () => {
    const postgres = agent()
    value(await postgres.start(30_000))
    const slow = node.sql('SELECT pg_sleep(60)').catch(() => 'ended')
    await sleep(200)
    const began = performance.now()
    value(await postgres.stop('fast', 5_000))
    expect(performance.now() - began).toBeLessThan(5_000)
    expect(await slow).toBe('ended')
  })

  test('a frozen postmaster is stopped all the same, with everything of it', async () => {
    const postgres = agent()
    const { pid } = value(await postgres.start(30_000))
    process.kill(pid, 'SIGSTOP')
    value(await postgres.stop('fast', 300))
    expect(await isAlive(pid)).toBe(false)
    expect(await listPostgresIn(node.dataDir)).toEqual([])
  })

  test('a stop in order that is hastened ends what a frozen postmaster cannot: it was told by nobody (I10)', async () => {
    const postgres = agent()
    const { pid } = value(await postgres.start(30_000))
    const client = node.sql('SELECT pg_sleep(60)').catch(() => 'ended')
    await eventually('a backend works', async () =>
      (await listPostgresIn(node.dataDir)).some(({ title }) => title.endsWith(' SELECT')),
    )
    process.kill(pid, 'SIGSTOP')
    const hasten = new AbortController()
    const stopped = postgres.stop('fast', 60_000, hasten.signal)
    await sleep(200)
    hasten.abort()
    // Not by the postmaster, which sleeps, and long before anybody's patience ends: nothing is acknowledged from here on.
    expect(await Promise.race([client, sleep(600)])).toBe('ended')
    value(await stopped)
    expect(await listPostgresIn(node.dataDir)).toEqual([])
  })

  test('an adopted one is ended at once, too', async () => {
    const { pid } = value(await agent().start(30_000))
    const second = agent()
    expect(await second.inspectPostmaster()).toMatchObject({ pid })
    process.kill(pid, 'SIGSTOP')
    const [backend] = (await listPostgresIn(node.dataDir)).filter(({ title }) => title.includes('walwriter'))
    const stopped = second.stop('immediate', 60_000)
    await eventually('its children are gone', async () => !(await isAlive(backend?.pid ?? 0)), 500)
    value(await stopped)
  })

  test('nothing is spawned when it is too late for it by then (I10)', async () => {
    const postgres = agent()
    value(await postgres.stop('fast', 10_000))
    expect(await postgres.start(30_000, () => false)).toMatchObject({ kind: 'failed', code: 'timeout' })
    expect(await postgres.inspectPostmaster()).toEqual({ kind: 'stopped' })
  })

  describe('a start that fails says why', () => {
    test('port taken', async () => {
      const server = createServer().listen(node.options.port, '127.0.0.1')
      await once(server, 'listening')
      expect(await node.postgres.start(5_000)).toMatchObject({ kind: 'failed', code: 'port-taken' })
      server.close()
      await once(server, 'close')
    })

    test('certificate expired, not yet valid, without its key', async () => {
      const target = { certificate: node.options.tls.certificate, key: node.options.tls.key }
      const order = { authority: workspace.authority, target, node: 'alpha', hosts: ['127.0.0.1'] }
      const day = 86_400_000
      value(
        await issueCertificate({
          ...order,
          notBefore: new Date(Date.now() - 9 * day),
          notAfter: new Date(Date.now() - day),
        }),
      )
      expect(await node.postgres.start(5_000)).toMatchObject({ kind: 'failed', code: 'certificate-expired' })
      value(await issueCertificate({ ...order, notBefore: new Date(Date.now() + day) }))
      expect(await node.postgres.start(5_000)).toMatchObject({ kind: 'failed', code: 'clock-wrong' })
      value(await issueCertificate(order))
      const key = readFileSync(target.key)
      writeFileSync(target.key, readFileSync(workspace.authority.key))
      expect(await node.postgres.start(5_000)).toMatchObject({ kind: 'failed', code: 'tls-failed' })
      writeFileSync(target.key, key)
      const certificate = readFileSync(target.certificate)
      rmSync(target.certificate)
      expect(await node.postgres.start(5_000)).toMatchObject({ kind: 'failed', code: 'tls-failed' })
      writeFileSync(target.certificate, certificate)
    })

    test('a parameter that PostgreSQL does not know, with its words', async () => {
      const wrong = createPostgres({ ...node.options, parameters: { work_men: '4MB' } })
      value(await wrong.configure(PRIMARY))
      const outcome = await wrong.start(5_000)
      expect(outcome).toMatchObject({ kind: 'failed', code: 'config-invalid' })
      expect(outcome.kind === 'failed' && outcome.reason).toContain('work_men')
      await wrong.close()
      value(await node.postgres.configure(PRIMARY))
    })

    test('damaged pg_control, found before anything is started', async () => {
      const path = join(node.dataDir, 'global', 'pg_control')
      const good = readFileSync(path)
      const bad = Buffer.from(good)
      bad.writeUInt8(bad.readUInt8(40) ^ 1, 40)
      writeFileSync(path, bad)
      expect(await node.postgres.start(5_000)).toMatchObject({ kind: 'failed', code: 'data-damaged' })
      writeFileSync(path, good)
    })

    test('data of another major version', async () => {
      const path = join(node.dataDir, 'PG_VERSION')
      writeFileSync(path, '14\n')
      expect(await node.postgres.start(5_000)).toMatchObject({ kind: 'failed', code: 'wrong-major' })
      writeFileSync(path, `${major}\n`)
    })

    test('and mended it starts', async () => {
      value(await node.postgres.start(30_000))
    })
  })
})
