/** The units of a node on its own machine: composed from its configuration and what is installed there, and written. */
import { mkdir, realpath, stat } from 'node:fs/promises'
import path from 'node:path'
import { loadConfig, nodeOf, type ResolvedConfig, type ResolvedNode } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { runCommand } from '../../postgres/command.ts'
import { readTextIfPresent, writeFileAtomic } from '../../postgres/durable.ts'
import { reachableBy, type SystemUser } from '../../postgres/run-as.ts'
import { readService } from '../existing/service.ts'
import { fileError } from '../local/prepare.ts'
import { handOver, MAIN_PROGRAM_PATH, ownerOf } from '../local/privileges.ts'
import { releasedFile } from './release-mark.ts'
import { systemctl, UNIT_DIRECTORY } from './systemctl.ts'
import { agentUnit, agentUnitName, etcdUnit, etcdUnitName, proxyUnit, proxyUnitName } from './units.ts'

export interface Unit {
  readonly name: string
  readonly text: string
}

export interface InstallOptions {
  readonly config: string
  readonly node: string
  /** false: they are enabled, and start at the next boot or when they are told to. */
  readonly startsNow: boolean
}

/** Can be done twice. Errors: no-permission, not-found, refused. */
export async function installUnits({ config: file, node: name, startsNow }: InstallOptions): Promise<void> {
  const config = await loadConfig(file)
  const node = nodeOf(config, name)
  const user = await ownerOf(config.file)
  const units = await unitsOf(config, node, user)
  await install(units, [node.directory, ...(await etcdDirectories(config))], user)
  // An etcd is ready only with a majority of its members: waiting for it here would wait for the other machines.
  const how = startsNow ? ['--now', '--no-block'] : []
  for (const unit of units) await systemctl('enable', ...how, unit.name)
}

export async function unitsOf(
  config: ResolvedConfig,
  node: ResolvedNode,
  user: SystemUser,
): Promise<readonly Unit[]> {
  const directory = path.dirname(config.file)
  const command = [await realpath(process.execPath), await realpath(MAIN_PROGRAM_PATH)]
  for (const file of [...command, config.file])
    if (!(await reachableBy(user, file)))
      throw new UnderstudyError('no-permission', `${user.name} cannot read ${file}`, {
        hint: 'Install pg-understudy and Node where every user can reach them (npm install --global), and give the bundle’s directory to that user.',
      })
  const group = await groupOf(user)
  const etcd = await etcdDirectories(config)
  const units: Unit[] = []
  for (const dataDirectory of etcd)
    units.push({
      name: etcdUnitName(config.cluster),
      text: etcdUnit({
        cluster: config.cluster,
        user: user.name,
        group,
        program: await findEtcd(),
        directory,
        dataDirectory,
      }),
    })
  const writable = [
    ...new Set([node.directory, directory, node.socketDirectory, ...(await linkedFrom(node))]),
  ].filter((each, _, all) => !all.some((other) => each.startsWith(`${other}/`)))
  const agent = {
    ...{ cluster: config.cluster, node: node.name, configFile: config.file, user: user.name, group },
    ...{ command: [command[0] ?? '', '--max-semi-space-size=2', command[1] ?? ''], writable },
    withEtcd: etcd.length > 0,
    socketDirectory: node.socketDirectory,
    releasedFile: releasedFile(node.directory),
    after: (await readService(node.directory))?.unit?.name ?? null,
  }
  units.push({ name: agentUnitName(agent), text: agentUnit(agent) })
  // Its garbage is collected when it is a lot: unlike an agent it makes some with every byte.
  const proxy = { ...agent, command }
  if (config.proxy !== null) units.push({ name: proxyUnitName(agent), text: proxyUnit(proxy) })
  return units
}

/** The data of a server that was there before is beside its node's directory, and its WAL may be elsewhere. */
async function linkedFrom({ directory }: ResolvedNode): Promise<readonly string[]> {
  const data = path.join(directory, 'data')
  const found = await Promise.all(
    [data, path.join(data, 'pg_wal')].map((each) => realpath(each).catch(() => null)),
  )
  return found.filter((each) => each !== null && !each.startsWith(`${directory}/`)) as string[]
}

/** The data directory of the etcd that the bundle sets up on this node, if it does. */
export async function etcdDirectories(config: ResolvedConfig): Promise<readonly string[]> {
  const text = await readTextIfPresent(path.join(path.dirname(config.file), 'store', 'etcd.yaml'))
  const found = text === null ? null : /^data-dir: (.+)$/m.exec(text)?.[1]
  return found === null || found === undefined ? [] : [found]
}

async function findEtcd(): Promise<string> {
  for (const directory of (process.env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin').split(':')) {
    const file = path.join(directory, 'etcd')
    const isThere = await stat(file).then(
      (facts) => facts.isFile() && (facts.mode & 0o111) !== 0,
      () => false,
    )
    if (isThere) return file
  }
  throw new UnderstudyError('not-found', 'this node runs an etcd of the cluster, and etcd is not installed', {
    hint: 'Install it: apt install etcd-server (and stop its own service: systemctl disable --now etcd).',
  })
}

async function groupOf(user: SystemUser): Promise<string> {
  const result = await runCommand('id', ['-gn', user.name], {
    env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C' },
    deadlineMs: 5_000,
  })
  return result.kind === 'exited' && result.exitCode === 0 ? result.stdout.trim() : String(user.gid)
}

async function install(
  units: readonly Unit[],
  directories: readonly string[],
  user: SystemUser,
): Promise<void> {
  if (process.getuid?.() !== 0)
    throw new UnderstudyError('no-permission', 'only root installs units', {
      hint: 'Run it with sudo, or without --install to print them.',
    })
  for (const directory of directories) {
    await mkdir(path.dirname(directory), { recursive: true, mode: 0o755 })
    await handOver(directory, user)
  }
  try {
    for (const { name, text } of units)
      await writeFileAtomic(path.join(UNIT_DIRECTORY, name), text, { mode: 0o644, durable: true })
  } catch (error) {
    throw fileError(error, UNIT_DIRECTORY)
  }
  await systemctl('daemon-reload')
}
