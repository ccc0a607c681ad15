/**
 * PostgreSQL refuses to run as root, and root writing into a directory of somebody else is how links become holes. So when root
 * starts a command that runs parts, the command starts itself again as an unprivileged user, and nothing of a cluster is ever made
 * or written by root. What that user cannot reach (a checkout or a Node below a 0700 home) is copied to where it can.
 */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmod,
  chown,
  cp,
  lstat,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { UnderstudyError } from '../../errors/codes.ts'
import { chooseRunAs, findUser, reachableBy, type SystemUser } from '../../postgres/run-as.ts'
import { LOCATION_NAME, readSettings, realDirectory } from './open.ts'
import { demand, makeDirectory } from './prepare.ts'

const SHARED_ROOT = '/var/lib/understudy'
export const PACKAGE_ROOT = fileURLToPath(new URL('../../../..', import.meta.url))

/** What an installed unit runs. */
export const MAIN_PROGRAM_PATH = path.join(PACKAGE_ROOT, 'dist', 'src', 'cli', 'main.js')

export function isRoot(): boolean {
  return process.getuid?.() === 0
}

/** The user that everything of this cluster runs as, and the directory that this user can use for it. */
export async function prepareForUser(
  named: string,
): Promise<{ readonly user: SystemUser; readonly directory: string }> {
  const real = await realDirectory(named)
  const known = await readSettings(real)
  const remembered = known === null ? null : await findUser((await stat(real)).uid)
  const user =
    remembered !== null && remembered.uid !== 0
      ? remembered
      : demand(await chooseRunAs({ checkout: PACKAGE_ROOT }))
  if (user === null)
    throw new UnderstudyError('no-unprivileged-user', 'this is root, and no other user was found')
  return { user, directory: known === null ? await placeFor(named, real, user) : real }
}

/** The configuration's owner is who the cluster was made for, and who may read its secrets. Errors: no-unprivileged-user. */
export async function runAsOwnerOf(configFile: string, args: readonly string[]): Promise<number> {
  const { uid } = await stat(configFile)
  const user = uid === 0 ? await findUser('postgres') : await findUser(uid)
  if (user === null || user.uid === 0) {
    throw new UnderstudyError(
      'no-unprivileged-user',
      `${configFile} belongs to root, and there is no user postgres`,
    )
  }
  return runAs(user, args, configFile)
}

/** Runs the same program again as `user`, with this terminal, until it ends; returns its exit code. */
export async function runAs(user: SystemUser, args: readonly string[], shown: string): Promise<number> {
  const { program, node } = await reachableProgram(user)
  const child = spawn(node, [program, ...args], {
    uid: user.uid,
    gid: user.gid,
    cwd: '/',
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env: {
      ...process.env,
      HOME: user.home,
      USER: user.name,
      LOGNAME: user.name,
      UNDERSTUDY_SHOWN_DATA: shown,
    },
  })
  // A Ctrl-C of the terminal reaches the child by itself, a signal to this process alone does not; a second one changes nothing there.
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR2'] as const)
    process.on(name, () => child.kill(name))
  return await new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', (code, signal) => resolve(code ?? (signal === 'SIGKILL' ? 137 : 130)))
  })
}

/** The named directory when the user can get there, else one below /var/lib/understudy, which location.json then names. */
async function placeFor(named: string, real: string, user: SystemUser): Promise<string> {
  if (real !== named) return handOver(real, user)
  await mkdir(path.dirname(named), { recursive: true })
  const directory = await reachablePlace(named, user)
  if (directory === named) return handOver(named, user)
  await makeDirectory(named)
  const others = (await readdir(named)).filter((entry) => entry !== LOCATION_NAME)
  if (others.length > 0)
    throw new UnderstudyError('foreign-data', `${named} holds something else (${others[0]}) and no cluster`)
  await openToAll(path.dirname(directory))
  const owned = await handOver(directory, user)
  await writeFile(path.join(named, LOCATION_NAME), `${JSON.stringify({ directory: owned })}\n`)
  return owned
}

/** Where a new cluster goes that a person names so. */
export async function reachablePlace(named: string, user: SystemUser): Promise<string> {
  if (await reachableBy(user, path.dirname(named))) return named
  const digest = createHash('sha256').update(named).digest('hex').slice(0, 12)
  return path.join(SHARED_ROOT, 'clusters', digest)
}

/** Only an empty directory changes hands: what has contents belongs to somebody. */
export async function handOver(directory: string, user: SystemUser): Promise<string> {
  await makeDirectory(directory)
  const { uid } = await lstat(directory)
  if (uid === user.uid) return directory
  const contents = await readdir(directory)
  if (contents.length > 0) {
    throw new UnderstudyError(
      'foreign-data',
      `${directory} belongs to another user and is not empty (${contents[0]})`,
    )
  }
  await chown(directory, user.uid, user.gid)
  await chmod(directory, 0o700)
  return directory
}

async function openToAll(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o755 })
  for (let each = directory; each.startsWith(SHARED_ROOT); each = path.dirname(each)) await chmod(each, 0o755)
}

export interface Reachable {
  /** Node itself. */
  readonly node: string
  readonly program: string
}

/** This program and its Node where `user` can run them: as they lie, or as a copy. */
export async function reachableProgram(user: SystemUser, root = PACKAGE_ROOT): Promise<Reachable> {
  const program = path.join(root, 'dist', 'src', 'cli', 'main.js')
  const node = process.execPath
  const reachesProgram = await reachableBy(user, program)
  const reachesNode = await reachableBy(user, node)
  if (reachesProgram && reachesNode) return { node, program }
  const staged = await stage(reachesProgram ? null : root, reachesNode ? null : node)
  return { node: staged.node ?? node, program: staged.program ?? program }
}

/** A copy that is named after what it is a copy of, put in place by a rename, so that two starts at once do not meet half of one. */
async function stage(
  root: string | null,
  node: string | null,
): Promise<{ readonly node: string | null; readonly program: string | null }> {
  const target = path.join(SHARED_ROOT, 'programs', await fingerprint(root, node))
  if (!(await isDirectory(target))) {
    await openToAll(path.dirname(target))
    const temporary = `${target}.new-${process.pid}`
    await rm(temporary, { recursive: true, force: true })
    await mkdir(temporary, { mode: 0o755 })
    if (node !== null) await cp(node, path.join(temporary, 'node'))
    if (root !== null) await copyPackage(root, path.join(temporary, 'package'))
    await rename(temporary, target).catch(async (error: NodeJS.ErrnoException) => {
      await rm(temporary, { recursive: true, force: true })
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error
    })
  }
  return {
    node: node === null ? null : path.join(target, 'node'),
    program: root === null ? null : path.join(target, 'package', 'dist', 'src', 'cli', 'main.js'),
  }
}

/** The built program and what it needs at run time; nothing that only building or testing needs. */
async function copyPackage(root: string, target: string): Promise<void> {
  await mkdir(target, { recursive: true, mode: 0o755 })
  await cp(path.join(root, 'package.json'), path.join(target, 'package.json'))
  await cp(path.join(root, 'dist', 'src'), path.join(target, 'dist', 'src'), { recursive: true })
  const modules = await runtimeModules(root)
  for (const name of modules) {
    await cp(path.join(root, 'node_modules', name), path.join(target, 'node_modules', name), {
      recursive: true,
      verbatimSymlinks: true,
    })
  }
}

/** Dependencies of dependencies, as far as they are installed; all of ours are flat in node_modules. */
async function runtimeModules(root: string): Promise<readonly string[]> {
  const found = new Set<string>()
  const queue = await dependenciesOf(path.join(root, 'package.json'))
  for (let name = queue.pop(); name !== undefined; name = queue.pop()) {
    const directory = path.join(root, 'node_modules', name)
    if (found.has(name) || !(await isDirectory(directory))) continue
    found.add(name)
    queue.push(...(await dependenciesOf(path.join(directory, 'package.json'))))
  }
  return [...found]
}

async function dependenciesOf(file: string): Promise<string[]> {
  const value = JSON.parse(await readFile(file, 'utf8')) as Record<string, Record<string, string> | undefined>
  return Object.keys({ ...value['dependencies'], ...value['optionalDependencies'] })
}

/** Changes when the program was built anew or its dependencies were installed anew. */
async function fingerprint(root: string | null, node: string | null): Promise<string> {
  const hash = createHash('sha256')
  const files =
    root === null ? [] : ['package.json', 'package-lock.json', 'dist/.tsbuildinfo', 'dist/src/cli/main.js']
  const all = [...files.map((file) => path.join(root ?? '', file)), ...(node === null ? [] : [node])]
  for (const file of all) {
    const facts = await stat(file).catch(() => null)
    hash.update(`${file}\0${facts?.mtimeMs ?? 0}\0${facts?.size ?? 0}\0`)
  }
  return hash.digest('hex').slice(0, 16)
}

async function isDirectory(candidate: string): Promise<boolean> {
  return stat(candidate).then(
    (facts) => facts.isDirectory(),
    () => false,
  )
}
