/**
 * Which user runs PostgreSQL, and what that user can reach. PostgreSQL refuses to run as root, so the command, when started by
 * root, starts itself again as somebody else before anything of a cluster is made.
 */
import { execFile } from 'node:child_process'
import { readFile, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { promisify } from 'node:util'
import type { Outcome } from '../ports/postgres.ts'
import { failed, ok } from './outcome.ts'

export interface SystemUser {
  readonly name: string
  readonly uid: number
  readonly gid: number
  readonly home: string
}

export interface RunAsOptions {
  /** Whose checkout this is: its owner is the likeliest user when there is no `postgres`. */
  readonly checkout: string
  readonly env?: Readonly<Record<string, string | undefined>>
}

/**
 * The unprivileged user to become when root: `postgres` if there is one, else the checkout's owner, else who called sudo, else
 * `nobody`. Null when this process is not root and can go on as it is.
 */
export async function chooseRunAs(options: RunAsOptions): Promise<Outcome<SystemUser | null>> {
  if (process.getuid?.() !== 0) return ok(null)
  const owner = await stat(options.checkout).then(
    ({ uid }) => uid,
    () => 0,
  )
  const sudo = (options.env ?? process.env)['SUDO_USER']
  for (const candidate of ['postgres', owner, sudo, 'nobody']) {
    const user = candidate === undefined ? null : await findUser(candidate)
    if (user !== null && user.uid !== 0) return ok(user)
  }
  return failed('no-unprivileged-user', 'this is root, and no other user was found to run PostgreSQL as')
}

/** Looks a user up by name or number: in /etc/passwd, else through getent, which also knows network directories. */
export async function findUser(nameOrUid: string | number): Promise<SystemUser | null> {
  const passwd = await readFile('/etc/passwd', 'utf8').catch(() => '')
  const line = findEntry(passwd, nameOrUid) ?? findEntry(await getent('passwd', String(nameOrUid)), nameOrUid)
  if (line === null) return null
  const [name = '', , uid = '', gid = '', , home = '/'] = line.split(':')
  return { name, uid: Number(uid), gid: Number(gid), home }
}

function findEntry(passwd: string, nameOrUid: string | number): string | null {
  const index = typeof nameOrUid === 'number' ? 2 : 0
  return passwd.split('\n').find((line) => line.split(':')[index] === String(nameOrUid)) ?? null
}

async function getent(database: string, key: string): Promise<string> {
  return promisify(execFile)('getent', [database, key], { timeout: 5_000 }).then(
    ({ stdout }) => stdout,
    () => '',
  )
}

export type Access = 'read' | 'write'

/**
 * Whether `user` can reach `path`: search permission on every directory above, and read (a directory: also search) or write
 * permission on the path itself. Looks at owner, group and mode only: access control lists and security modules can make it wrong
 * in rare set-ups, and then PostgreSQL's own message follows. Only the user's first group counts: starting a process with `uid` and
 * `gid` (child_process.spawn) drops all others.
 */
export async function reachableBy(user: SystemUser, path: string, access: Access = 'read'): Promise<boolean> {
  const absolute = resolve(path)
  for (let parent = dirname(absolute); ; parent = dirname(parent)) {
    if (!(await permits(user, parent, 0o1))) return false
    if (parent === dirname(parent)) break
  }
  const isDirectory = await stat(absolute).then(
    (found) => found.isDirectory(),
    () => false,
  )
  const needed = access === 'read' ? 0o4 : 0o2
  return permits(user, absolute, isDirectory ? needed | 0o1 : needed)
}

/** `bits` as in one octal digit of a mode: 4 read, 2 write, 1 search or execute. Only the first class that fits counts (POSIX). */
async function permits(user: SystemUser, path: string, bits: number): Promise<boolean> {
  if (user.uid === 0) return true
  const found = await stat(path).catch(() => null)
  if (found === null) return false
  const shift = found.uid === user.uid ? 6 : found.gid === user.gid ? 3 : 0
  return ((found.mode >> shift) & bits) === bits
}
