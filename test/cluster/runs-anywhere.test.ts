/**
 * `npm start` in a fresh clone, wherever it lies and whoever types it: root in a clone below a 0700 home, root in a path with spaces,
 * an ordinary user, without any PostgreSQL on the PATH. One copy of the checkout, moved from place to place; it is built
 * in the first one.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  lchownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type CliResult, cliEnvironment } from '../support/cli.ts'
import { EMBEDDED, makeCluster, ROOT, said, type TestCluster } from '../support/cluster-harness.ts'
import { userOf } from '../support/cluster-processes.ts'

const IS_ROOT = process.getuid?.() === 0
const SHARED = '/var/lib/understudy'

let cluster: TestCluster
let checkout: string
/** Of the user that runs the commands; null: whoever runs the tests. */
let user: { readonly uid: number; readonly gid: number } | null = null
const environment: Record<string, string> = {}

beforeAll(async () => {
  cluster = await makeCluster()
  checkout = path.join(cluster.workspace, 'checkout')
  copyCheckout(checkout)
})

afterAll(() => {
  for (const place of made) rmSync(place, { recursive: true, force: true })
  for (const place of [`${SHARED}/clusters`, `${SHARED}/programs`, SHARED]) removeIfEmpty(place)
})

/** Below SHARED, and only what these tests have made. */
const made: string[] = []

function command(program: string, args: readonly string[]): ChildProcess {
  // What npm told this test run is not what it tells another user in another place.
  const inherited = Object.entries(cliEnvironment()).filter(([name]) => !name.startsWith('npm_'))
  return spawn(program, args, {
    cwd: checkout,
    env: { ...Object.fromEntries(inherited), ...environment, npm_config_update_notifier: 'false' },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...user,
  })
}

function npmStart(args: readonly string[]): Promise<CliResult> {
  return cluster.ended(command('npm', ['start', '--silent', '--', ...args]))
}

function understudy(args: readonly string[]): Promise<CliResult> {
  return cluster.ended(command('npx', ['--no', 'understudy', ...args]))
}

/** Moves the checkout, so that it need not be copied and built again, but without its cluster. */
function moveTo(directory: string): void {
  rmSync(path.join(checkout, '.understudy'), { recursive: true, force: true })
  mkdirSync(path.dirname(directory), { recursive: true })
  renameSync(checkout, directory)
  checkout = directory
}

/** Starts it here, uses it, stops it; nothing runs afterwards. */
async function startUseStop(look: () => Promise<void> = async () => {}): Promise<void> {
  const named = path.join(checkout, '.understudy')
  cluster.data = named
  const started = await npmStart(['--detach', '--port-base', String(cluster.portBase), '--pg', EMBEDDED])
  const location = path.join(named, 'location.json')
  if (existsSync(location)) {
    cluster.data = (JSON.parse(readFileSync(location, 'utf8')) as { directory: string }).directory
    made.push(cluster.data)
    cluster.places.push(cluster.data)
  }
  expect(started.code, cluster.explain(said(started))).toBe(0)
  expect(started.stdout).toContain('Healthy.')
  await cluster.healthy()
  cluster.checkTidy()
  await cluster.writer().writeOne()
  await look()
  const status = await understudy(['status'])
  expect(status.code, said(status)).toBe(0)
  const stopped = await understudy(['down'])
  expect(stopped.code, said(stopped)).toBe(0)
  expect(cluster.processes()).toEqual([])
}

function expectNobodyIsRoot(): void {
  const users = cluster.processes().map((each) => userOf(each.pid))
  expect(users.length).toBeGreaterThan(20)
  expect(users).not.toContain(0)
}

describe.skipIf(!IS_ROOT)('as root', () => {
  test('in a fresh clone below a 0700 home', async () => {
    // Seen to fail: without staging, the unprivileged user cannot even read the program.
    const home = path.join(cluster.workspace, 'home')
    mkdirSync(home, { mode: 0o700 })
    moveTo(path.join(home, 'clone'))
    await startUseStop(async () => {
      expectNobodyIsRoot()
      expect(cluster.data).toMatch(/^\/var\/lib\/understudy\/clusters\//)
      const agent = cluster.processes().find((each) => each.kind === 'agent')?.command ?? ''
      const program = /\/var\/lib\/understudy\/programs\/[^/]+/.exec(agent)?.[0] ?? ''
      expect(program).not.toBe('')
      made.push(program)
      expect(statSync(home).mode & 0o777).toBe(0o700)
    })
  })

  test('in a path with spaces', async () => {
    moveTo(path.join(cluster.workspace, 'a path with spaces', 'clone'))
    await startUseStop(async () => expectNobodyIsRoot())
    expect(cluster.data).toBe(path.join(checkout, '.understudy'))
  })
})

describe('as an ordinary user without PostgreSQL on the PATH', () => {
  beforeAll(() => {
    moveTo(path.join(cluster.workspace, 'ordinary', 'clone'))
    environment['PATH'] = pathWithout(path.join(cluster.workspace, 'programs'))
    if (!IS_ROOT) return
    const id = (flag: string): number => Number(execFileSync('id', [flag, 'nobody'], { encoding: 'utf8' }))
    user = { uid: id('-u'), gid: id('-g') }
    environment['HOME'] = path.join(cluster.workspace, 'ordinary')
    environment['USER'] = 'nobody'
    giveDirectories(environment['HOME'], user)
  })

  test('npm start is all', async () => {
    await startUseStop(async () => {
      const own = user?.uid ?? process.getuid?.()
      expect(new Set(cluster.processes().map((each) => userOf(each.pid)))).toEqual(new Set([own]))
    })
  })

  test('a directory that may not be written in is named', async () => {
    const closed = path.join(cluster.workspace, 'closed')
    mkdirSync(closed)
    chmodSync(closed, 0o555)
    const result = await npmStart(['--detach', '--data', path.join(closed, 'c')])
    expect(result.code, said(result)).toBe(1)
    expect(result.stderr).toMatch(/^error no-permission: .*closed/m)
    expect(result.stderr).toMatch(/^HINT: .*--data/m)
    expect(readdirSync(closed)).toEqual([])
  })
})

/** What git does not keep, and the dependencies, which are linked below. */
const NOT_CLONED = new Set(['.git', '.understudy', 'coverage', 'dist', 'node_modules'])

/** Everything that a clone holds, and what npm ci would put beside it; without anything that was built. */
function copyCheckout(target: string): void {
  mkdirSync(target, { mode: 0o755 })
  for (const name of readdirSync(ROOT))
    if (!NOT_CLONED.has(name))
      cpSync(path.join(ROOT, name), path.join(target, name), { recursive: true, preserveTimestamps: true })
  const modules = [path.join(ROOT, 'node_modules'), path.join(target, 'node_modules')]
  // Links cost nothing; on another file system they are not possible.
  const linked = spawnSync('cp', ['-al', ...modules])
  if (linked.status !== 0) {
    rmSync(path.join(target, 'node_modules'), { recursive: true, force: true })
    execFileSync('cp', ['-a', ...modules])
  }
  rmSync(path.join(target, 'node_modules', '.understudy-installed'), { force: true })
  rmSync(path.join(target, 'node_modules', '.bin', 'understudy'), { force: true })
}

/** Directories only: their files may be links to those of the real checkout. What was built here is this test's own. */
function giveDirectories(directory: string, to: { readonly uid: number; readonly gid: number }): void {
  lchownSync(directory, to.uid, to.gid)
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const file = path.join(directory, entry.name)
    if (entry.isDirectory()) giveDirectories(file, to)
    else if (file.includes('/dist/')) lchownSync(file, to.uid, to.gid)
  }
}

/** A PATH on which there is what npm and we need, and nothing of PostgreSQL. */
function pathWithout(directory: string): string {
  mkdirSync(directory)
  for (const name of ['node', 'npm', 'npx', 'sh', 'env', 'openssl', 'locale', 'getent']) {
    const found = (process.env['PATH'] ?? '')
      .split(path.delimiter)
      .map((each) => path.join(each, name))
      .find((each) => existsSync(each))
    if (found !== undefined) symlinkSync(found, path.join(directory, name))
  }
  return directory
}

function removeIfEmpty(directory: string): void {
  try {
    rmdirSync(directory)
  } catch {
    // Others use it, or it never was.
  }
}
