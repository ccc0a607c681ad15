/** `understudy init` and `systemd` as a person runs them, down to an etcd that is started from a bundle. */
import { execFileSync, spawn } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { composeStore } from '../../src/cli/compose.ts'
import { reachableProgram } from '../../src/cli/local/privileges.ts'
import { loadConfig } from '../../src/config/load.ts'
import { giveTo } from '../lab/files.ts'
import { ROOT } from '../lab/program.ts'
import { ETCD, hasEtcd } from '../lab/store.ts'
import { ordinaryUser } from '../support/as-user.ts'
import { type CliResult, MAIN, runCli } from '../support/cli.ts'

const NODES = 'alpha=10.0.0.1,bravo=db2.example.com,charlie=fd00::3'

let place: string
let home: string
beforeEach(() => {
  place = mkdtempSync(path.join(tmpdir(), 'understudy-setup-'))
  home = path.join(place, 'home')
})
afterEach(() => rmSync(place, { recursive: true, force: true }))

const initialize = (...args: readonly string[]): Promise<CliResult> =>
  runCli(['init', '--dir', home, ...args])

function unpack(node: string): string {
  const target = path.join(place, node)
  mkdirSync(target, { mode: 0o700 })
  execFileSync('tar', ['-xzf', path.join(home, 'bundles', `${node}.tar.gz`), '-C', target, '--no-same-owner'])
  return target
}

const filesBelow = (directory: string): string[] =>
  readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(directory, path.join(entry.parentPath, entry.name)))
    .sort()

describe('setting up', () => {
  test('gives each node what it needs, and none the authority’s key or another node’s', async () => {
    const made = await initialize('--nodes', NODES, '--store-on', 'alpha,bravo,charlie')
    expect(made).toMatchObject({ code: 0, stderr: '' })
    const bundle = unpack('bravo')
    expect(filesBelow(bundle)).toEqual([
      'bundle.json',
      ...['agent', 'api-token', 'application', 'proxy', 'replication', 'superuser'].map(
        (name) => `secrets/${name}`,
      ),
      ...['client.crt', 'client.key', 'etcd.yaml'].map((name) => `store/${name}`),
      ...['bravo.crt', 'bravo.key', 'ca.crt'].map((name) => `tls/${name}`),
      'understudy.yaml',
    ])
    for (const file of filesBelow(bundle))
      expect([file, statSync(path.join(bundle, file)).mode & 0o777]).toEqual([file, 0o600])
    const valid = await runCli(['config', 'validate', '--config', path.join(bundle, 'understudy.yaml')])
    expect(valid.code).toBe(0)
  })

  test('--dry-run writes nothing; a second run keeps what is there and makes new bundles of an edited file', async () => {
    const flags = ['--nodes', NODES, '--store', 'https://10.0.0.9:2379', '--rto', '2s']
    const dry = await initialize(...flags, '--dry-run')
    expect(dry.code).toBe(0)
    expect(dry.stdout).toContain('rto: 2s')
    expect(existsSync(home)).toBe(false)

    expect((await initialize(...flags)).code).toBe(0)
    const secret = readFileSync(path.join(home, 'secrets', 'replication'), 'utf8')
    const file = path.join(home, 'understudy.yaml')
    writeFileSync(file, readFileSync(file, 'utf8').replace('rto: 2s', 'rto: 4s'))
    const again = await initialize('--json')
    expect(JSON.parse(again.stdout)).toMatchObject({ written: true, issued: [] })
    expect(readFileSync(path.join(unpack('alpha'), 'understudy.yaml'), 'utf8')).toContain('rto: 4s')
    expect(readFileSync(path.join(home, 'secrets', 'replication'), 'utf8')).toBe(secret)
  })

  test.each([
    [['--nodes', NODES], 'usage', 'where is the store?'],
    [['--store', 'https://10.0.0.9:2379'], 'usage', 'which nodes shall there be?'],
    [
      ['--nodes', 'alpha=10.0.0.1,bravo=127.0.0.1', '--store', 'https://e:2379'],
      'config-invalid',
      '127.0.0.1',
    ],
    [['--nodes', NODES, '--store', 'https://e:2379', '--store-user', 'u'], 'usage', 'belong together'],
    [['--nodes', NODES, '--store', 'https://e:2379', '--store-ca', '/no/such'], 'not-found', '/no/such'],
  ])('%s is refused, and nothing is written', async (flags, code, said) => {
    const refused = await initialize(...flags)
    expect(refused.code).toBe(code === 'usage' ? 2 : 1)
    expect(refused.stderr).toContain(`error ${code}`)
    expect(refused.stderr).toContain(said)
    expect(existsSync(home)).toBe(false)
  })

  test('other flags than at first are refused, and so is a directory with something else', async () => {
    await initialize('--nodes', NODES, '--store', 'https://10.0.0.9:2379')
    const other = await initialize('--nodes', 'alpha=10.0.0.1', '--store', 'https://10.0.0.9:2379')
    expect(other.stderr).toContain('flags-differ')
    const foreign = path.join(place, 'foreign')
    mkdirSync(foreign)
    writeFileSync(path.join(foreign, 'thesis.txt'), '')
    const refused = await runCli(['init', '--dir', foreign, '--nodes', NODES, '--store', 'https://e:2379'])
    expect(refused.stderr).toContain('foreign-data')
    expect(readdirSync(foreign)).toEqual(['thesis.txt'])
  })
})

describe.skipIf(!hasEtcd)('an etcd of a bundle (apt install etcd-server)', () => {
  test('starts from its file, and lets in who has a certificate of the cluster, and nobody else', async () => {
    const host = `127.${150 + Math.floor(Math.random() * 50)}.${process.pid % 250}.7`
    await initialize('--nodes', `alpha=${host}`, '--store-on', 'alpha')
    const bundle = unpack('alpha')
    const file = path.join(bundle, 'store', 'etcd.yaml')
    writeFileSync(file, readFileSync(file, 'utf8').replace(/^data-dir: .*/m, `data-dir: ${place}/etcd`))
    const etcd = spawn(ETCD, ['--config-file', 'store/etcd.yaml'], { cwd: bundle, stdio: 'ignore' })
    try {
      const config = await loadConfig(path.join(bundle, 'understudy.yaml'))
      const store = await composeStore(config)
      const deadline = performance.now() + 30_000
      let answer = await store.get('/understudy/main/primacy')
      while (answer.kind !== 'ok' && performance.now() < deadline) {
        await sleep(100)
        answer = await store.get('/understudy/main/primacy')
      }
      expect(answer).toEqual({ kind: 'ok', value: null })
      const stranger = await composeStore({
        ...config,
        store: { ...config.store, certFile: null, keyFile: null },
      })
      expect((await stranger.get('/understudy/main/primacy')).kind).toBe('unavailable')
      store.close()
      stranger.close()
    } finally {
      const ended = new Promise((resolve) => etcd.once('exit', resolve))
      etcd.kill('SIGKILL')
      await ended
    }
  })
})

describe('a directory that an older version made', () => {
  const withoutProxy = async (): Promise<void> => {
    expect((await initialize('--nodes', NODES, '--store', 'https://10.0.0.9:2379')).code).toBe(0)
    rmSync(path.join(home, 'secrets', 'proxy'))
  }

  test('gets the secrets that it lacks with the next bundles, and none by a push that only looks', async () => {
    await withoutProxy()
    // Nobody answers at these addresses: what the bundles are made of is all that is seen here.
    const dry = await runCli(['push', '--dir', home, '--dry-run'])
    expect(dry.code).toBe(4)
    expect(existsSync(path.join(home, 'secrets', 'proxy'))).toBe(false)
    expect((await runCli(['push', '--dir', home])).code).toBe(4)
    expect(readFileSync(path.join(unpack('bravo'), 'secrets', 'proxy'), 'utf8')).toMatch(/^[\w-]{43}\n$/)
  })

  test('its bundle has no password of the proxy, which says where it comes from', async () => {
    await initialize('--nodes', 'alpha=127.0.0.1', '--store', 'https://127.0.0.1:1', '--proxy-port', '6433')
    const bundle = unpack('alpha')
    rmSync(path.join(bundle, 'secrets', 'proxy'))
    const user = await ordinaryUser()
    chmodSync(place, 0o755)
    if (user !== null) giveTo(user, bundle)
    const ended = await runCli(['proxy', '--config', `${bundle}/understudy.yaml`])
    expect(ended.code).toBe(1)
    expect(ended.stderr).toMatch(/no-permission: the password file .*secrets\/proxy is missing/)
    expect(ended.stderr).toContain('understudy push')
  })
})

const hasAnalyze = existsSync('/usr/bin/systemd-analyze')

describe('systemd', () => {
  test('prints units that systemd itself finds nothing wrong with', async () => {
    await initialize('--nodes', NODES, '--store', 'https://10.0.0.9:2379', '--proxy-port', '6433')
    const bundle = unpack('alpha')
    const user = await ordinaryUser()
    chmodSync(place, 0o755)
    if (user !== null) giveTo(user, bundle)
    const { node, program } =
      user === null ? { node: process.execPath, program: MAIN } : await reachableProgram(user, ROOT)
    const printed = execFileSync(node, [
      program,
      'systemd',
      '--json',
      '--config',
      `${bundle}/understudy.yaml`,
    ])
    const { units } = JSON.parse(String(printed)) as { units: readonly { name: string; text: string }[] }
    expect(units.map(({ name }) => name)).toEqual([
      'understudy-main-alpha.service',
      'understudy-main-alpha-proxy.service',
    ])
    for (const { name, text } of units) {
      const file = path.join(place, name)
      writeFileSync(file, text)
      // Where there is no systemd its own programs are not there either.
      if (hasAnalyze) expect(execFileSync('systemd-analyze', ['verify', file], { encoding: 'utf8' })).toBe('')
    }
  })

  test('only says what it would do with --dry-run', async () => {
    await initialize('--nodes', NODES, '--store', 'https://10.0.0.9:2379', '--format', 'directory')
    const bundle = path.join(home, 'bundles', 'alpha')
    const user = await ordinaryUser()
    for (const directory of [place, home, path.join(home, 'bundles')]) chmodSync(directory, 0o755)
    if (user !== null) giveTo(user, bundle)
    const { node, program } =
      user === null ? { node: process.execPath, program: MAIN } : await reachableProgram(user, ROOT)
    const said = execFileSync(
      node,
      [program, 'systemd', '--install', '--dry-run', '--config', `${bundle}/understudy.yaml`],
      { encoding: 'utf8' },
    )
    expect(said).toContain('would systemctl enable --now understudy-main-alpha.service')
    expect(existsSync('/etc/systemd/system/understudy-main-alpha.service')).toBe(false)
  })
})
