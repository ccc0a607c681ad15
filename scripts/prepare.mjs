/**
 * What a fresh clone needs before anything of it can run: the right Node, the dependencies of the lock file, a build. Each step does
 * nothing when it is done already. Plain JavaScript without dependencies, because nothing is installed yet.
 */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = path.dirname(path.dirname(fileURLToPath(import.meta.url)))

/** A step that failed, in words for a person; nothing of our stack helps them. */
export class PreparationError extends Error {}

export function requireNode(version = process.versions.node) {
  const wanted = readJson('package.json').engines.node.replace('>=', '')
  if (compareVersions(version, wanted) >= 0) return
  throw new PreparationError(`Node ${version} is too old\nHINT: Install Node ${wanted} or later.`)
}

/** Installs what the lock file says. No install script of any package is run. */
export async function installDependencies(say) {
  const why = staleDependencies()
  if (why === null) return false
  say(`installing dependencies (${why})`)
  const npm = process.env.npm_execpath
  const args = ['ci', '--ignore-scripts', '--include=dev', '--no-audit', '--no-fund']
  const code = npm?.endsWith('.js') ? await run(process.execPath, [npm, ...args]) : await run('npm', args)
  if (code === 0) return true
  throw new PreparationError(
    'npm ci failed\nHINT: Its own words are above; it needs to reach a package registry.',
  )
}

/** Compiles src and bench; what has not changed costs nothing. */
export async function build() {
  const compiler = path.join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc')
  const code = await run(process.execPath, [compiler, '-b', 'tsconfig.build.json'])
  if (code !== 0) throw new PreparationError('the build failed\nHINT: The lines above name what to correct.')
}

/** Why node_modules does not hold what package-lock.json says, or null. npm writes down what it installed in a lock file of its own. */
export function staleDependencies(root = ROOT) {
  const installedFile = path.join(root, 'node_modules', '.package-lock.json')
  if (!existsSync(installedFile)) return 'there are none yet'
  const installed = JSON.parse(readFileSync(installedFile, 'utf8')).packages
  const wanted = JSON.parse(readFileSync(path.join(root, 'package-lock.json'), 'utf8')).packages
  for (const [name, { version, optional }] of Object.entries(wanted)) {
    if (name === '') continue
    const found = installed[name]?.version
    // An optional one may be of another platform, or have been left out on purpose.
    if (found === undefined && optional === true) continue
    if (found !== version) return `${name.replace('node_modules/', '')} shall be ${version}`
  }
  return null
}

/** Runs a program in the project's directory with this terminal; the exit code, 1 when a signal ended it. */
export function run(program, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'], ...options })
    child.on('error', reject)
    child.on('close', (code) => resolve(code ?? 1))
  })
}

function readJson(name) {
  return JSON.parse(readFileSync(path.join(ROOT, name), 'utf8'))
}

function compareVersions(a, b) {
  const [left, right] = [a, b].map((text) => text.split('.').map(Number))
  for (let i = 0; i < 3; i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}
