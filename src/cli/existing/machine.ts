/** What the machine tells of a server that runs on it: its process, its files, who owns them, and who else manages it. */
import { access, constants, open, readFile, readlink, realpath, stat, statfs } from 'node:fs/promises'
import path from 'node:path'
import { readTextIfPresent } from '../../postgres/durable.ts'
import { readPostmasterPid } from '../../postgres/postmaster-pid.ts'
import { hasMarker, isPostgres, readProcess, startTicksOf, worksIn } from '../../postgres/processes.ts'
import { findUser, type SystemUser } from '../../postgres/run-as.ts'
import { listProcesses, type ProcessSeen } from '../doctor/proc.ts'
import type { ServerLook } from './facts.ts'
import { type OldUnit, unitOf } from './old-unit.ts'

/** Who starts it: Debian's tools (pg_ctlcluster, and by it systemd), or whatever a person has made. */
export type Manager =
  | { readonly kind: 'debian'; readonly version: string; readonly name: string; readonly directory: string }
  | { readonly kind: 'plain'; readonly directory: string }

export interface MachineLook {
  /** As the server names it, links resolved. */
  readonly dataDirectory: string
  /** null: not this machine's, for the reason. */
  readonly postmaster: { readonly pid: number; readonly startTicks: string } | null
  readonly notLocal: string | null
  /** It was started by an agent of this program. */
  readonly isOurs: boolean
  readonly owner: SystemUser | null
  readonly ownerUid: number
  readonly binDirectory: string
  /** As it was started; for starting it again. */
  readonly command: readonly string[]
  /** The file that its words go to beside the log collector's; null: none that could be opened again. */
  readonly outputFile: string | null
  readonly manager: Manager
  /** Of systemd, under which it runs; null: none. */
  readonly unit: OldUnit | null
  /** Of Debian's start.conf, or of a plain server's postgresql.conf: that another start reads. null: there is none. */
  readonly startFile: string
  readonly startText: string | null
  /** Why the file above cannot be changed; null: it can. */
  readonly readOnly: string | null
  readonly hbaText: string
  readonly identText: string
  readonly autoConf: string
  /** Of Debian's `environment`: what the server gets beside the configuration. */
  readonly environment: readonly string[]
  readonly externalPidFile: string | null
  /** Programs that would fight over it. */
  readonly managers: readonly string[]
  /** What such a program has left in the data directory. */
  readonly traces: readonly string[]
  /** Of the file system with the data. */
  readonly diskBytes: number
}

export async function lookAtMachine(server: ServerLook): Promise<MachineLook> {
  const setting = (name: string): string => server.settings.get(name) ?? ''
  const named = setting('data_directory')
  const dataDirectory = await realpath(named).catch(() => named)
  const found = await findPostmaster(dataDirectory, server)
  const facts = await stat(dataDirectory).catch(() => null)
  const pid = found.postmaster?.pid ?? 0
  const program = await readlink(`/proc/${pid}/exe`).catch(() => '')
  const manager = managerOf(setting('config_file'))
  const startFile = path.join(
    manager.directory,
    manager.kind === 'debian' ? 'start.conf' : path.basename(setting('config_file')),
  )
  return {
    dataDirectory,
    ...found,
    isOurs: pid !== 0 && (await markerOf(pid)),
    owner: facts === null ? null : await findUser(facts.uid),
    ownerUid: facts?.uid ?? -1,
    binDirectory: path.dirname(program.replace(/ \(deleted\)$/, '')),
    command: await commandOf(pid, dataDirectory),
    outputFile: await outputOf(pid),
    manager,
    unit: pid === 0 ? null : await unitOf(pid),
    startFile,
    startText: await readTextIfPresent(startFile).catch(() => null),
    readOnly: await whyReadOnly(startFile),
    hbaText: await readText(setting('hba_file')),
    identText: await readText(setting('ident_file')),
    autoConf: await readText(path.join(dataDirectory, 'postgresql.auto.conf')),
    environment: plainLines(await readText(path.join(manager.directory, 'environment'))),
    externalPidFile: setting('external_pid_file') || null,
    managers: otherManagers(await listProcesses()),
    traces: await tracesIn(dataDirectory),
    diskBytes: await statfs(dataDirectory).then(
      ({ blocks, bsize }) => blocks * bsize,
      () => 0,
    ),
  }
}

/**
 * The session's own process is a child of the postmaster that works in that directory of this machine: no address and no name can tell
 * that as surely, and a copy of the server on another machine has the same directory and the same identifier.
 */
async function findPostmaster(
  dataDirectory: string,
  { backendPid }: ServerLook,
): Promise<Pick<MachineLook, 'postmaster' | 'notLocal'>> {
  const file = await readPostmasterPid(dataDirectory)
  if (file === null)
    return {
      postmaster: null,
      notLocal: `there is no ${path.join(dataDirectory, 'postmaster.pid')} to be read here`,
    }
  const backend = await readProcess(backendPid)
  const startTicks = await startTicksOf(file.pid)
  const fits = backend?.parent === file.pid && startTicks !== null
  if (!fits || !(await worksIn(file.pid, dataDirectory)) || !(await isPostgres(file.pid)))
    return {
      postmaster: null,
      notLocal: `its process ${backendPid} is none of this machine’s postmaster in ${dataDirectory}`,
    }
  return { postmaster: { pid: file.pid, startTicks }, notLocal: null }
}

async function markerOf(pid: number): Promise<boolean> {
  const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')
  const marker = /(?:^|\0)UNDERSTUDY_NODE=([^\0]*)/.exec(environment)?.[1]
  return marker !== undefined && hasMarker(pid, marker)
}

/** Debian keeps /etc/postgresql/VERSION/NAME, with a start.conf; PG_CLUSTER_CONF_ROOT may move the root. */
export function managerOf(configFile: string): Manager {
  const directory = path.dirname(configFile)
  const [, version = '', name = ''] = /\/(\d+)\/([^/]+)$/.exec(directory) ?? []
  return version !== '' && directory.includes('/postgresql/')
    ? { kind: 'debian', version, name, directory }
    : { kind: 'plain', directory }
}

async function commandOf(pid: number, dataDirectory: string): Promise<readonly string[]> {
  const text = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
  const [, ...words] = text.split('\0').filter((word) => word !== '')
  const program = await readlink(`/proc/${pid}/exe`).catch(() => '')
  // Relative to where it was started, which nobody knows any more.
  const named = words.map((word, index) =>
    words[index - 1] === '-D' && !path.isAbsolute(word) ? dataDirectory : word,
  )
  return [program.replace(/ \(deleted\)$/, ''), ...named]
}

async function outputOf(pid: number): Promise<string | null> {
  const file = await readlink(`/proc/${pid}/fd/2`).catch(() => '')
  return file.startsWith('/') && !file.startsWith('/dev/') && !file.endsWith(' (deleted)') ? file : null
}

/** By opening it, which changes nothing: a mode cannot tell of a file system, or a file, that is read-only for root too. */
async function whyReadOnly(file: string): Promise<string | null> {
  try {
    await (await open(file, 'r+')).close()
    return null
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return whyReadOnlyDirectory(path.dirname(file))
    return `${file}: ${code === 'EROFS' ? 'its file system is read-only' : code === 'EACCES' ? 'it may not be written' : 'it cannot be changed'}`
  }
}

async function whyReadOnlyDirectory(directory: string): Promise<string | null> {
  return access(directory, constants.W_OK).then(
    () => null,
    () => `${directory}: nothing can be written there`,
  )
}

const readText = async (file: string): Promise<string> => readFile(file, 'utf8').catch(() => '')

function plainLines(text: string): readonly string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
}

const OTHER_MANAGERS = ['patroni', 'repmgrd', 'pg_autoctl', 'stolon-keeper'] as const

/** By the program or the script that an interpreter runs: the first two words. Pure. */
export function otherManagers(processes: readonly ProcessSeen[]): readonly string[] {
  return OTHER_MANAGERS.filter((name) =>
    processes.some(({ args }) => args.slice(0, 2).some((word) => path.basename(word) === name)),
  )
}

const TRACES = ['patroni.dynamic.json', 'pg_autoctl.cfg'] as const

async function tracesIn(dataDirectory: string): Promise<readonly string[]> {
  const found: string[] = []
  for (const name of TRACES)
    if ((await stat(path.join(dataDirectory, name)).catch(() => null)) !== null) found.push(name)
  return found
}
