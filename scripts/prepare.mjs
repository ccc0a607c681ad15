/**
 * What a clone needs before anything of it can run: the right Node, the dependencies of the lock file, a build. Plain JavaScript
 * without dependencies, because it runs before there are any. When there is nothing to do it must cost next to nothing, so it compares
 * times and sizes of files and starts neither npm nor the compiler.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  existsSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const MODULES = path.join(ROOT, 'node_modules')
export const MAIN = path.join(ROOT, 'dist', 'src', 'cli', 'main.js')
const INSTALL_STAMP = path.join(MODULES, '.understudy-installed')
const BUILD_STAMP = path.join(ROOT, 'dist', '.understudy-built')
const OLDEST_NODE = [20, 19]

/** A stop with a sentence for the person; everything else that is thrown is a bug. */
export class Refusal extends Error {
  constructor(message, hint) {
    super(message)
    this.hint = hint
  }
}

/** Throws a Refusal. */
export async function prepare() {
  checkNode(process.versions.node)
  if (!needsInstall() && !needsBuild()) return
  await alone(() => {
    // Whoever waited here may find that the other one has done it all.
    if (needsInstall()) install()
    if (needsBuild()) build()
    makeProgram()
  })
}

function checkNode(version) {
  const [major, minor] = version.split('.').map(Number)
  const [oldestMajor, oldestMinor] = OLDEST_NODE
  if (major > oldestMajor || (major === oldestMajor && minor >= oldestMinor)) return
  throw new Refusal(
    `Node ${version} is too old: pg-understudy needs ${OLDEST_NODE.join('.')} or later.`,
    'Install Node 20.19, 22 or 24 from https://nodejs.org or with nvm.',
  )
}

// --- installing

function lockDigest() {
  const hash = createHash('sha256').update(readFileSync(path.join(ROOT, 'package-lock.json')))
  // Some packages are made for one platform: a checkout on a shared disk may meet two.
  return hash.update(`${process.platform} ${process.arch}`).digest('hex')
}

function needsInstall() {
  if (!existsSync(MODULES)) return true
  const stamp = readText(INSTALL_STAMP)
  if (stamp !== null) return stamp !== lockDigest()
  if (!isInstalledByHand()) return true
  // Installed with npm itself, and just what the lock file asks for: not again, least of all without a network.
  writeOwned(INSTALL_STAMP, lockDigest())
  return false
}

function isInstalledByHand() {
  const installed = readJson(path.join(MODULES, '.package-lock.json'))?.packages
  const wanted = readJson(path.join(ROOT, 'package-lock.json'))?.packages
  if (installed === undefined || wanted === undefined) return false
  return Object.entries(wanted).every(([place, entry]) => {
    if (place === '') return true
    if (installed[place] === undefined) return entry.optional === true || entry.devOptional === true
    return installed[place].version === entry.version && existsSync(path.join(ROOT, place))
  })
}

function install() {
  // npm ci refuses a lock file from which only another platform's packages are missing; npm install does not mind.
  const way = isLockComplete() ? ['ci'] : ['install', '--no-save']
  console.error(`Installing dependencies (npm ${way[0]}) …`)
  const logs = mkdtempSync(path.join(tmpdir(), 'understudy-npm-'))
  // Interrupted, it must not look like done.
  rmSync(INSTALL_STAMP, { force: true })
  try {
    const args = [...way, '--ignore-scripts', '--include=dev', '--include=optional', '--prefer-offline']
    // npm waits for more than a minute by default before it believes that there is no network.
    const impatience = ['--fetch-retries=3', '--fetch-retry-mintimeout=1000', '--fetch-retry-factor=3']
    const patience = process.env.npm_config_fetch_retries === undefined ? impatience : []
    const quiet = ['--no-audit', '--no-fund', '--loglevel=error', `--logs-dir=${logs}`]
    const [command, ...first] = npmCommand()
    const result = spawnSync(command, [...first, ...args, ...patience, ...quiet], {
      cwd: ROOT,
      stdio: ['ignore', 2, 2],
    })
    if (result.status !== 0) throw installFailure(result, readLogs(logs))
    mkdirSync(MODULES, { recursive: true })
    writeFileSync(INSTALL_STAMP, lockDigest())
  } finally {
    rmSync(logs, { recursive: true, force: true })
    keepOwner(MODULES)
  }
}

/** Whether every optional dependency that a package names has an entry: npm leaves out those that it could not find. */
function isLockComplete() {
  const packages = readJson(path.join(ROOT, 'package-lock.json'))?.packages ?? {}
  const names = new Set(Object.keys(packages).map((place) => place.split('node_modules/').at(-1)))
  return Object.values(packages).every((entry) =>
    Object.keys(entry.optionalDependencies ?? {}).every((name) => names.has(name)),
  )
}

/** The npm that runs this script, also where it is not on the PATH under that name. */
function npmCommand() {
  const program = process.env.npm_execpath
  return program?.endsWith('.js') && existsSync(program) ? [process.execPath, program] : ['npm']
}

const NETWORK_FAILURE =
  /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET_TIMEOUT|ENOTCACHED|FETCH_ERROR)\b/

function installFailure(result, log) {
  if (result.error?.code === 'ENOENT')
    return new Refusal('npm was not found.', 'Install npm (Debian: apt install npm), or put it on the PATH.')
  if (result.signal !== null) return new Refusal('The installation was interrupted.', 'Run it again.')
  if (NETWORK_FAILURE.test(log))
    return new Refusal(
      'The dependencies could not be downloaded: there is no way to the npm registry.',
      'Check the network (and npm config get registry, HTTPS_PROXY), then run it again.',
    )
  if (/\b(EACCES|EPERM|EROFS)\b/.test(log))
    return new Refusal(
      `npm may not write in ${ROOT}.`,
      'Run it as the user that owns the checkout, or give the checkout to this user (chown -R).',
    )
  if (/\bENOSPC\b/.test(log))
    return new Refusal('There is no space left for the dependencies.', 'Free some space, then run it again.')
  return new Refusal('npm has failed; its words are above.', 'Mend what it names, then run it again.')
}

function readLogs(directory) {
  return readdirSync(directory)
    .map((file) => readText(path.join(directory, file)) ?? '')
    .join('\n')
}

// --- building

/** Path, time and size of everything that the build reads: also a deleted file and an older checkout are changes. */
function sourceFingerprint() {
  const hash = createHash('sha256')
  const add = (file) => {
    const facts = statSync(file, { throwIfNoEntry: false })
    if (facts === undefined) return
    if (facts.isDirectory()) for (const name of readdirSync(file).sort()) add(path.join(file, name))
    else hash.update(`${path.relative(ROOT, file)}\0${facts.mtimeMs}\0${facts.size}\n`)
  }
  const configuration = readdirSync(ROOT).filter((name) => /^tsconfig.*\.json$/.test(name))
  for (const name of [
    'src',
    'bench',
    'sim',
    'torture',
    'test/lab',
    'test/support',
    'package.json',
    ...configuration.sort(),
  ])
    add(path.join(ROOT, name))
  return hash.update(readText(INSTALL_STAMP) ?? '').digest('hex')
}

function needsBuild() {
  return !existsSync(MAIN) || readText(BUILD_STAMP) !== sourceFingerprint()
}

function build() {
  console.error('Building …')
  const fingerprint = sourceFingerprint()
  const compiler = path.join(MODULES, 'typescript', 'bin', 'tsc')
  const compile = () =>
    spawnSync(process.execPath, [compiler, '-b', path.join(ROOT, 'tsconfig.build.json')], {
      cwd: ROOT,
      stdio: ['ignore', 2, 2],
    })
  try {
    let result = compile()
    if (result.status === 0 && !existsSync(MAIN)) {
      // The compiler trusts its notes of the last build, also when its output was deleted.
      rmSync(path.join(ROOT, 'dist'), { recursive: true, force: true })
      result = compile()
    }
    if (result.status !== 0 || !existsSync(MAIN))
      throw new Refusal(
        'The build has failed; the compiler’s words are above.',
        'In an unchanged clone this is a bug: please report it. Else correct what the compiler names.',
      )
    writeFileSync(BUILD_STAMP, fingerprint)
  } finally {
    keepOwner(path.join(ROOT, 'dist'))
  }
}

/** `npx understudy` finds the clone's own program among the installed ones. */
function makeProgram() {
  chmodSync(MAIN, 0o755)
  const link = path.join(MODULES, '.bin', 'understudy')
  const target = path.relative(path.dirname(link), MAIN)
  try {
    mkdirSync(path.dirname(link), { recursive: true })
    rmSync(link, { force: true })
    symlinkSync(target, link)
    keepOwner(path.dirname(link))
  } catch {
    // A convenience only: `node dist/src/cli/main.js` is always there.
  }
}

// --- files

/** npm as root makes files of root in a checkout of somebody else, who could then neither change nor delete them. */
function keepOwner(place) {
  const { uid, gid } = statSync(ROOT)
  if (process.getuid?.() !== 0 || uid === 0) return
  const give = (file) => {
    const facts = lstatSync(file, { throwIfNoEntry: false })
    if (facts === undefined) return
    if (facts.uid === 0) lchownSync(file, uid, gid)
    if (facts.isDirectory()) for (const name of readdirSync(file)) give(path.join(file, name))
  }
  try {
    give(place)
  } catch (error) {
    console.error(`warning: some files in ${place} stay root's (${error.code ?? error.message})`)
  }
}

function writeOwned(file, text) {
  try {
    writeFileSync(file, text)
    const { uid, gid } = statSync(ROOT)
    if (process.getuid?.() === 0) lchownSync(file, uid, gid)
  } catch {
    // A read-only checkout that is complete needs no stamp; it only costs a comparison each time.
  }
}

function readText(file) {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return null
  }
}

function readJson(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return undefined
  }
}

// --- one at a time

/**
 * Two runs at once in a fresh clone: npm ci would delete node_modules under the other's feet. The lock is an abstract unix
 * socket (unix(7)): the kernel lets go of it when its holder dies, however it dies.
 */
async function alone(work) {
  const name = `\0understudy-setup-${createHash('sha256').update(ROOT).digest('hex').slice(0, 32)}`
  let server = await tryLock(name)
  if (server === null) console.error('Another run installs or builds in this clone; waiting for it …')
  while (server === null) {
    await new Promise((resolve) => setTimeout(resolve, 200))
    server = await tryLock(name)
  }
  try {
    work()
  } finally {
    server.close()
  }
}

/** null: somebody else has it. Where there are no such sockets (macOS) it goes without. */
function tryLock(name) {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error) => resolve(error.code === 'EADDRINUSE' ? null : server))
    server.listen({ path: name }, () => resolve(server))
  })
}
