/** What is looked up for a set-up by hand: programs, users, disks. Nothing is written. */
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import path from 'node:path'
import { isLoopback } from '../../config/fields.ts'
import type { ResolvedConfig } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { findBinaries } from '../../postgres/binaries.ts'
import { diskSize } from '../../postgres/configure.ts'
import { nodeLayout } from '../../postgres/layout.ts'
import { chooseRunAs, findUser } from '../../postgres/run-as.ts'
import { demand } from '../local/prepare.ts'
import { isRoot, PACKAGE_ROOT } from '../local/privileges.ts'
import type { Scene } from './scene.ts'

/** Debian 12's, where no PostgreSQL is found and none was asked for. */
const USUAL_MAJOR = 15
const OWNER = 'postgres'

export interface GatherOptions {
  /** --pg. */
  readonly pg: string | undefined
  /** The node of this machine, if one is. */
  readonly here: string | null
}

/** Errors: no-binaries, unsupported-version, no-unprivileged-user. */
export async function sceneOf(config: ResolvedConfig, options: GatherOptions): Promise<Scene> {
  const [primary, ...standbys] = config.nodes
  if (primary === undefined) throw new UnderstudyError('config-invalid', `${config.file} has no node`)
  const oneMachine = config.nodes.every(({ host }) => isLoopback(host))
  return {
    config,
    ...(await programs(options.pg ?? config.postgres.binaries ?? undefined, oneMachine)),
    owner: oneMachine ? await localOwner(config) : await remoteOwner(config),
    byRoot: !oneMachine || isRoot(),
    diskBytes: await disks(config, options.here),
    taken: await takenDirectories(config),
    epoch: 1,
    primary,
    standbys,
  }
}

/** Stock PostgreSQL: the one that npm brings has neither pg_basebackup nor psql. */
async function programs(
  request: string | undefined,
  oneMachine: boolean,
): Promise<Pick<Scene, 'major' | 'binDir'>> {
  const found = await withCache((cacheDir) =>
    findBinaries({ cacheDir, ...(request !== undefined && { request }) }),
  )
  if (found.kind === 'ok') {
    const { major, binDir, pgBasebackup, psql } = found.value
    return { major, binDir: pgBasebackup !== null && psql !== null ? binDir : packaged(major) }
  }
  if (found.code !== 'no-binaries' || oneMachine) demand(found)
  // The servers are other machines: what is not installed here may well be there.
  const major = request !== undefined && /^\d+$/.test(request) ? Number(request) : USUAL_MAJOR
  return {
    major,
    binDir: request !== undefined && path.isAbsolute(request) ? request : packaged(major),
  }
}

function packaged(major: number): string {
  return `/usr/lib/postgresql/${major}/bin`
}

async function localOwner(config: ResolvedConfig): Promise<string> {
  if (!isRoot()) return userInfo().username
  const known = await ownerOf(config.file)
  if (known !== null) return known
  const chosen = demand(await chooseRunAs({ checkout: PACKAGE_ROOT }))
  if (chosen === null)
    throw new UnderstudyError('no-unprivileged-user', 'this is root, and no other user was found')
  return chosen.name
}

async function remoteOwner(config: ResolvedConfig): Promise<string> {
  // Beside it is what only the owner of a bundle has: then this is one.
  const unpacked = await stat(config.secrets.replicationPassword).catch(() => null)
  return unpacked === null ? OWNER : ((await ownerOf(config.secrets.replicationPassword)) ?? OWNER)
}

/** null: root, or there is no such file. */
async function ownerOf(file: string): Promise<string | null> {
  const facts = await stat(file).catch(() => null)
  if (facts === null || facts.uid === 0) return null
  return (await findUser(facts.uid))?.name ?? null
}

async function disks(config: ResolvedConfig, here: string | null): Promise<ReadonlyMap<string, number>> {
  const local = config.nodes.filter(({ name, host }) => name === here || isLoopback(host))
  return new Map(
    await Promise.all(local.map(async ({ name, directory }) => [name, await diskSize(directory)] as const)),
  )
}

async function takenDirectories({ nodes }: ResolvedConfig): Promise<readonly string[]> {
  const seen = await Promise.all(
    nodes.map(async ({ name, host, directory }) => {
      const there = isLoopback(host) && (await stat(nodeLayout(directory).dataDir).catch(() => null)) !== null
      return there ? [name] : []
    }),
  )
  return seen.flat()
}

/** An embedded PostgreSQL that cannot be run where it lies is copied; looking must leave nothing behind. */
export async function withCache<T>(look: (cacheDir: string) => Promise<T>): Promise<T> {
  const cacheDir = await mkdtemp(path.join(tmpdir(), 'understudy-look-'))
  try {
    return await look(cacheDir)
  } finally {
    await rm(cacheDir, { recursive: true, force: true })
  }
}
