/** Finds a PostgreSQL to run: the one that was asked for, else the system's, else the one from npm. */
import { access, constants, readdir, realpath } from 'node:fs/promises'
import { delimiter, join, resolve } from 'node:path'
import type { Outcome } from '../ports/postgres.ts'
import { lastLines, runCommand } from './command.ts'
import {
  type EmbeddedPackage,
  findEmbeddedPackage,
  isLinked,
  linkEmbedded,
  stageEmbedded,
} from './embedded.ts'
import { type Failure, failed, ok } from './outcome.ts'
import { reachableBy, type SystemUser } from './run-as.ts'

export const SUPPORTED_MAJORS = [15, 16, 17, 18] as const
const OLDEST = SUPPORTED_MAJORS[0]
const NEWEST = 18

const VERSION_DEADLINE_MS = 10_000

export interface Binaries {
  readonly binDir: string
  readonly major: number
  /** As PostgreSQL prints it: "15.18", "18.4", "19beta1". */
  readonly version: string
  readonly kind: 'system' | 'embedded'
  readonly initdb: string
  readonly postgres: string
  /** Null where the package has none (the embedded one has none of these). */
  readonly pgRewind: string | null
  readonly pgBasebackup: string | null
  readonly psql: string | null
  /** To be added to the environment of each of them. */
  readonly env: Readonly<Record<string, string>>
}

export interface FindOptions {
  /** --pg: a major version ("15") or a directory with the programs; undefined takes the system's newest supported one. */
  readonly request?: string | undefined
  /** Where the embedded one is mirrored when it cannot be used where it lies. */
  readonly cacheDir: string
  /** Who will run it, when that is not the user of this process. */
  readonly runAs?: SystemUser | null
  /** For tests; process.env otherwise. */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Directories that hold one directory per major version, for tests: [["/usr/lib/postgresql", "bin"], …]. */
  readonly packageRoots?: readonly PackageRoot[]
  /** For tests; null: as if npm had left it out. */
  readonly embedded?: EmbeddedPackage | null
}

export interface PackageRoot {
  readonly root: string
  /** The version directory's name; its first group is the major version. */
  readonly pattern: RegExp
  readonly below: string
}

/** Debian and Ubuntu; PGDG's RPMs; Homebrew on Apple and Intel; Arch and Alpine keep theirs on PATH. */
const PACKAGE_ROOTS: readonly PackageRoot[] = [
  { root: '/usr/lib/postgresql', pattern: /^(\d+)$/, below: 'bin' },
  { root: '/usr', pattern: /^pgsql-(\d+)$/, below: 'bin' },
  { root: '/usr/libexec', pattern: /^postgresql(\d+)$/, below: '' },
  { root: '/opt/homebrew/opt', pattern: /^postgresql@(\d+)$/, below: 'bin' },
  { root: '/usr/local/opt', pattern: /^postgresql@(\d+)$/, below: 'bin' },
]

/** Every failure says what was looked for where, and its hint the command that mends it. */
export async function findBinaries(options: FindOptions): Promise<Outcome<Binaries>> {
  const { request } = options
  if (request === undefined) return findDefault(options)
  if (/^\d+$/.test(request)) return findMajor(Number(request), options)
  return examine(resolve(request), 'system', options)
}

async function findDefault(options: FindOptions): Promise<Outcome<Binaries>> {
  const refused: Failure[] = []
  for (const binDir of await systemDirectories(options)) {
    const found = await examine(binDir, 'system', options)
    if (found.kind === 'ok') return found
    refused.push(found)
  }
  const embedded = await useEmbedded(options)
  if (embedded.kind === 'ok') return embedded
  const reasons = [...refused, embedded].map((failure) => failure.reason)
  // An unsupported system version says more than "nothing found": the person sees which one and what to do.
  return failed(refused[0]?.code ?? embedded.code, reasons.join('; '))
}

async function findMajor(major: number, options: FindOptions): Promise<Outcome<Binaries>> {
  if (major < OLDEST || major > NEWEST) {
    return failed('unsupported-version', `PostgreSQL ${major} is not supported: ${OLDEST} to ${NEWEST} are`)
  }
  const others: string[] = []
  for (const binDir of await systemDirectories(options)) {
    const found = await examine(binDir, 'system', options)
    if (found.kind === 'ok' && found.value.major === major) return found
    others.push(found.kind === 'ok' ? `${binDir} is ${found.value.version}` : found.reason)
  }
  const embedded = await useEmbedded(options)
  if (embedded.kind === 'ok' && embedded.value.major === major) return embedded
  others.push(embedded.kind === 'ok' ? `the embedded one is ${embedded.value.version}` : embedded.reason)
  return failed(
    'no-binaries',
    `PostgreSQL ${major} was not found: ${others.join('; ')}`,
    `Install it (Debian: apt install postgresql-${major}), or name its directory with --pg BINDIR.`,
  )
}

/** Candidates in the order of preference, without repetition: PATH and pg_config first, then the newest package directory. */
async function systemDirectories(options: FindOptions): Promise<readonly string[]> {
  const env = options.env ?? process.env
  const onPath = (env['PATH'] ?? '').split(delimiter).filter((directory) => directory !== '')
  const candidates: string[] = []
  for (const directory of onPath) {
    const real = await realpath(join(directory, 'postgres')).catch(() => null)
    if (real !== null) candidates.push(resolve(real, '..'))
  }
  const configured = await runCommand('pg_config', ['--bindir'], {
    env: { PATH: env['PATH'] ?? '' },
    deadlineMs: VERSION_DEADLINE_MS,
  })
  if (configured.kind === 'exited' && configured.exitCode === 0) candidates.push(configured.stdout.trim())
  candidates.push(...(await packageDirectories(options.packageRoots ?? PACKAGE_ROOTS)))
  const present: string[] = []
  for (const directory of new Set(candidates)) {
    if ((await executable(directory, 'postgres')) !== null) present.push(directory)
  }
  return present
}

/** Newest supported version first; unsupported ones last, so that they are named when there is nothing else. */
async function packageDirectories(roots: readonly PackageRoot[]): Promise<readonly string[]> {
  const found: { readonly major: number; readonly path: string }[] = []
  for (const { root, pattern, below } of roots) {
    for (const name of await readdir(root).catch(() => [])) {
      const major = pattern.exec(name)?.[1]
      if (major !== undefined) found.push({ major: Number(major), path: join(root, name, below) })
    }
  }
  const rank = (major: number): number => (major >= OLDEST && major <= NEWEST ? major : -major)
  return found.sort((a, b) => rank(b.major) - rank(a.major)).map(({ path }) => path)
}

/**
 * The embedded package, used where it lies if it is complete and reachable, else mirrored. PostgreSQL's binaries find their
 * libraries relative to themselves, so a mirror needs no environment.
 */
async function useEmbedded(options: FindOptions): Promise<Outcome<Binaries>> {
  const embedded = options.embedded === undefined ? findEmbeddedPackage() : options.embedded
  if (embedded === null) {
    return failed('no-binaries', 'no PostgreSQL on PATH, in the usual directories, or from npm')
  }
  const runAs = options.runAs ?? null
  const binDir = join(embedded.nativeDir, 'bin')
  const inPlace =
    (runAs === null || (await reachableBy(runAs, join(binDir, 'postgres')))) &&
    ((await isLinked(embedded.nativeDir)) || (await linkEmbedded(embedded.nativeDir)).kind === 'ok')
  if (inPlace) return examine(binDir, 'embedded', { ...options, runAs: null })
  const staged = await stageEmbedded(options.cacheDir, embedded)
  return staged.kind === 'ok' ? examine(staged.value.binDir, 'embedded', options) : staged
}

async function examine(
  binDir: string,
  kind: Binaries['kind'],
  options: Pick<FindOptions, 'runAs'>,
): Promise<Outcome<Binaries>> {
  const [initdb, postgres] = [await executable(binDir, 'initdb'), await executable(binDir, 'postgres')]
  if (initdb === null || postgres === null) {
    const missing = initdb === null ? 'initdb' : 'postgres'
    return failed('no-binaries', `${binDir} has no program ${missing}: the server package is needed`)
  }
  const runAs = options.runAs ?? null
  if (runAs !== null && !(await reachableBy(runAs, postgres))) {
    return failed('no-permission', `the user ${runAs.name} cannot reach ${postgres}`)
  }
  const env = kind === 'system' ? libraryPath() : {}
  const version = await readVersion(postgres, env)
  if (version.kind === 'failed') return version
  const major = Number.parseInt(version.value, 10)
  if (major < OLDEST || major > NEWEST) {
    return failed(
      'unsupported-version',
      `${binDir} is PostgreSQL ${version.value}: ${OLDEST} to ${NEWEST} are supported`,
    )
  }
  return ok({
    binDir,
    major,
    version: version.value,
    kind,
    initdb,
    postgres,
    pgRewind: await executable(binDir, 'pg_rewind'),
    pgBasebackup: await executable(binDir, 'pg_basebackup'),
    psql: await executable(binDir, 'psql'),
    env,
  })
}

/**
 * A PostgreSQL built by hand may need it. Never for the embedded one: LD_LIBRARY_PATH goes before a program's own run path, and would
 * give it the system's libpq.
 */
function libraryPath(): Readonly<Record<string, string>> {
  const path = process.env['LD_LIBRARY_PATH']
  return path === undefined ? {} : { LD_LIBRARY_PATH: path }
}

/** "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)" → "15.18". */
async function readVersion(
  postgres: string,
  env: Readonly<Record<string, string>>,
): Promise<Outcome<string>> {
  const result = await runCommand(postgres, ['--version'], {
    env: { LC_ALL: 'C', ...env },
    deadlineMs: VERSION_DEADLINE_MS,
  })
  const version = result.kind === 'exited' ? /\(PostgreSQL\) (\d+\S*)/.exec(result.stdout)?.[1] : undefined
  if (version !== undefined) return ok(version)
  const words = result.kind === 'exited' ? lastLines(result.stderr, 2) : result.kind
  return failed('no-binaries', `${postgres} does not run on this machine: ${words}`)
}

async function executable(directory: string, name: string): Promise<string | null> {
  const path = join(directory, name)
  return access(path, constants.X_OK).then(
    () => path,
    () => null,
  )
}
