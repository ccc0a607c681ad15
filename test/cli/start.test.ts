/**
 * `npm start` in a small checkout of its own, whose compiler is a script and whose `up` tells what it was given: what is done in a
 * fresh clone, that nothing is done the second time, and how signals and failures come through.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { chown, lstat, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type CliResult, cliEnvironment, collect } from '../support/cli.ts'

const scriptText = (name: string): Promise<string> =>
  readFile(new URL(`../../scripts/${name}`, import.meta.url), 'utf8')

/** What the compiler makes: tells its arguments, waits for signals when asked to, exits as asked to. */
const UP = `
const args = process.argv.slice(2)
console.log('up', JSON.stringify(args))
if (args.includes('--wait')) {
  let count = 0
  for (const name of ['SIGINT', 'SIGTERM']) process.on(name, () => {
    count++
    setTimeout(() => { console.log('stopped by', name, count); process.exit(0) }, 300)
  })
  setInterval(() => {}, 1000)
  console.log('ready')
} else process.exitCode = Number(args.find((arg) => arg.startsWith('--exit='))?.slice(7) ?? 0)
`

const COMPILER = `
const { appendFileSync, mkdirSync, writeFileSync, existsSync } = require('node:fs')
appendFileSync('compiled.log', 'x')
if (existsSync('src/broken.ts')) { console.error('src/broken.ts(1,1): error TS1'); process.exit(2) }
const started = Date.now(); while (Date.now() - started < 300) {}
mkdirSync('dist/src/cli', { recursive: true })
writeFileSync('dist/src/cli/main.js', ${JSON.stringify(UP)})
`

let parent: string
let checkout: string
beforeEach(async () => {
  parent = await mkdtemp(path.join(tmpdir(), 'understudy-start-'))
  checkout = path.join(parent, 'a clone')
  await makeCheckout({ typescript: 'file:compiler' })
})
afterEach(() => rm(parent, { recursive: true, force: true }))

async function makeCheckout(devDependencies: Readonly<Record<string, string>>): Promise<void> {
  const manifest = {
    name: 'pg-understudy',
    version: '0.1.0',
    scripts: { start: 'node scripts/start.mjs' },
    devDependencies,
  }
  const packages = {
    '': { name: manifest.name, version: manifest.version, devDependencies },
    compiler: { name: 'typescript', version: '1.0.0', dev: true },
    'node_modules/typescript': { resolved: 'compiler', link: true },
  }
  const lock = {
    name: manifest.name,
    version: manifest.version,
    lockfileVersion: 3,
    requires: true,
    packages,
  }
  for (const directory of ['scripts', 'src', 'compiler/bin'])
    await mkdir(path.join(checkout, directory), { recursive: true })
  const files: Record<string, string> = {
    'package.json': JSON.stringify(manifest),
    'package-lock.json': JSON.stringify(lock),
    'tsconfig.build.json': '{}',
    'src/main.ts': '// version 1\n',
    'compiler/package.json': JSON.stringify({ name: 'typescript', version: '1.0.0' }),
    'compiler/bin/tsc': COMPILER,
    'scripts/start.mjs': await scriptText('start.mjs'),
    'scripts/prepare.mjs': await scriptText('prepare.mjs'),
  }
  for (const [file, text] of Object.entries(files)) await writeFile(path.join(checkout, file), text)
}

interface StartOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly nodeArgs?: readonly string[]
}

function launch(args: readonly string[], options: StartOptions = {}): ChildProcess {
  return spawn(process.execPath, [...(options.nodeArgs ?? []), 'scripts/start.mjs', ...args], {
    cwd: checkout,
    env: cliEnvironment({ npm_config_update_notifier: 'false', ...options.env }),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
}

const start = (args: readonly string[] = [], options: StartOptions = {}): Promise<CliResult> =>
  collect(launch(args, options))
const compilations = async (): Promise<number> =>
  (await readFile(path.join(checkout, 'compiled.log'), 'utf8').catch(() => '')).length

describe('a fresh clone', () => {
  it('is installed, built and started, with the arguments and the exit code of up', async () => {
    const result = await start(['--nodes', '3', '--exit=3'])
    expect(result.stderr).toMatch(/Installing.*\n(.*\n)*Building/)
    expect(result.stdout).toBe('up ["up","--nodes","3","--exit=3"]\n')
    expect(result.code).toBe(3)
  })

  it('is neither installed nor built a second time: there need not even be an npm', async () => {
    await start()
    const again = await start([], { env: { PATH: '/nonexistent', npm_execpath: '' } })
    expect(again).toMatchObject({ code: 0, stderr: '', stdout: 'up ["up"]\n' })
    expect(await compilations()).toBe(1)
  })

  it('is set up once when two starts come at once', async () => {
    const results = await Promise.all([start(), start()])
    for (const result of results) expect(result).toMatchObject({ code: 0, stdout: 'up ["up"]\n' })
    expect(results.map(({ stderr }) => stderr.includes('waiting for it')).sort()).toEqual([false, true])
    expect(await compilations()).toBe(1)
  })

  it('that npm has installed already is not installed again, but built', async () => {
    await collect(spawn('npm', ['ci', '--ignore-scripts'], { cwd: checkout }))
    const result = await start([], { env: { npm_config_registry: 'http://127.0.0.1:1' } })
    expect(result.code).toBe(0)
    expect(result.stderr).toBe('Building …\n')
  })
})

describe('a change', () => {
  beforeEach(async () => {
    expect((await start()).code).toBe(0)
  })

  it.each([
    ['a changed source', () => writeFile(path.join(checkout, 'src/main.ts'), '// version 2\n')],
    ['a new source', () => writeFile(path.join(checkout, 'src/more.ts'), '')],
    ['a deleted source', () => rm(path.join(checkout, 'src/main.ts'))],
    ['a deleted program', () => rm(path.join(checkout, 'dist/src/cli/main.js'))],
  ])('of %s builds again, without installing', async (_what, change) => {
    await change()
    const result = await start()
    expect(result).toMatchObject({ code: 0, stderr: 'Building …\n' })
    expect(await compilations()).toBe(2)
  })

  it('of the lock file installs again', async () => {
    const file = path.join(checkout, 'package-lock.json')
    await writeFile(file, `${await readFile(file, 'utf8')}\n`)
    expect((await start()).stderr).toContain('Installing')
  })
})

describe('what goes wrong', () => {
  it('in the build is said, and tried again at the next start', async () => {
    await writeFile(path.join(checkout, 'src/broken.ts'), '')
    const broken = await start()
    expect(broken).toMatchObject({ code: 1, stdout: '' })
    expect(broken.stderr).toMatch(/error TS1\nerror: The build has failed.*\nHINT: /)
    await rm(path.join(checkout, 'src/broken.ts'))
    expect((await start()).code).toBe(0)
  })

  it('without a network is one sentence and a hint', async () => {
    await makeCheckout({ typescript: 'file:compiler', 'left-out': '1.0.0' })
    const file = path.join(checkout, 'package-lock.json')
    const lock = JSON.parse(await readFile(file, 'utf8'))
    lock.packages['node_modules/left-out'] = {
      version: '1.0.0',
      dev: true,
      integrity: `sha512-${'A'.repeat(86)}==`,
    }
    await writeFile(file, JSON.stringify(lock))
    const env = {
      npm_config_registry: 'http://127.0.0.1:1',
      npm_config_cache: path.join(parent, 'cache'),
      npm_config_fetch_retries: '0',
    }
    const result = await start([], { env })
    expect(result.code).toBe(1)
    expect(result.stderr).toMatch(
      /error: The dependencies could not be downloaded.*\nHINT: Check the network/,
    )
    expect(result.stderr).not.toContain('at file://')
  })

  it('with an old Node is one sentence', async () => {
    const pretend = 'data:text/javascript,Object.defineProperty(process.versions,"node",{value:"18.19.1"})'
    const result = await start([], { nodeArgs: ['--import', pretend] })
    expect(result).toMatchObject({ code: 1, stdout: '' })
    expect(result.stderr).toMatch(/^error: Node 18\.19\.1 is too old.*20\.19.*\nHINT: .*\n$/)
  })
})

describe('signals', () => {
  beforeEach(async () => {
    expect((await start()).code).toBe(0)
  })

  it.each(['SIGINT', 'SIGTERM'] as const)(
    '%s to the script alone reaches up, and its clean end is ours',
    async (signal) => {
      const child = launch(['--wait'])
      const result = collect(child)
      await printed(child, 'ready')
      child.kill(signal)
      expect(await result).toMatchObject({
        code: 0,
        stdout: `up ["up","--wait"]\nready\nstopped by ${signal} 1\n`,
      })
    },
  )
})

describe.skipIf(process.getuid?.() !== 0)('as root in somebody else’s checkout (needs root)', () => {
  it('leaves every file to the owner of the checkout', async () => {
    const owner = 12_345
    await giveAll(checkout, owner)
    expect((await start()).code).toBe(0)
    const foreign = (await allOf(checkout)).filter(({ uid }) => uid !== owner).map(({ file }) => file)
    // Written by the test's own compiler beside the tree, as no real one does.
    expect(foreign).toEqual([path.join(checkout, 'compiled.log')])
  })
})

async function allOf(directory: string): Promise<{ file: string; uid: number }[]> {
  const names = await readdir(directory, { recursive: true })
  const files = [directory, ...names.map((name) => path.join(directory, name))]
  return Promise.all(files.map(async (file) => ({ file, uid: (await lstat(file)).uid })))
}

async function giveAll(directory: string, uid: number): Promise<void> {
  for (const { file } of await allOf(directory)) await chown(file, uid, uid)
}

function printed(child: ChildProcess, word: string): Promise<void> {
  return new Promise((resolve) => {
    let text = ''
    child.stdout?.on('data', (chunk: string) => {
      text += chunk
      if (text.includes(word)) resolve()
    })
  })
}
