/** Checks of the machine itself: programs, locale, limits, shared memory, clock. */
import { mkdtemp, readFile, rm, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { ERRORS } from '../../errors/codes.ts'
import type { Outcome } from '../../ports/postgres.ts'
import { type Binaries, findBinaries } from '../../postgres/binaries.ts'
import { runCommand } from '../../postgres/command.ts'
import { humanBytes } from '../humanise.ts'
import { type Check, check, failing, fine, type Judgement, warning } from './check.ts'
import type { Scene } from './scene.ts'

const COMMAND_DEADLINE_MS = 5_000
const MB = 1024 * 1024

export function judgeNode(version: string): Judgement {
  const [major = 0, minor = 0] = version.replace(/^v/, '').split('.').map(Number)
  if (major > 20 || (major === 20 && minor >= 19)) return fine(version)
  return failing(
    `${version} is too old: 20.19 or later is needed`,
    'Install Node 20.19, 22 or 24: https://nodejs.org',
  )
}

export interface BinariesFacts {
  readonly found: Outcome<Binaries>
  /** The major version that an existing cluster was made with. */
  readonly clusterMajor: number | null
}

async function probeBinaries(scene: Scene): Promise<BinariesFacts> {
  // An embedded PostgreSQL that cannot be used in place is copied; looking must leave nothing behind.
  const cacheDir = await mkdtemp(path.join(tmpdir(), 'understudy-doctor-'))
  try {
    const found = await findBinaries({ request: scene.binariesRequest, cacheDir })
    return { found, clusterMajor: scene.cluster?.local?.major ?? null }
  } finally {
    await rm(cacheDir, { recursive: true, force: true })
  }
}

export function judgeBinaries({ found, clusterMajor }: BinariesFacts): Judgement {
  if (found.kind === 'failed') return failing(found.reason, found.hint ?? ERRORS[found.code].hint)
  const { version, major, kind, binDir } = found.value
  if (clusterMajor !== null && clusterMajor !== major)
    return failing(
      `${version} in ${binDir}, but the cluster was made with ${clusterMajor}`,
      ERRORS['wrong-major'].hint,
    )
  if (kind === 'embedded') return fine(`${version}, from npm (initdb, pg_ctl and postgres only)`)
  return fine(`${version} in ${binDir}`)
}

/** null: the program is not there. */
async function outputOf(program: string, args: readonly string[]): Promise<string | null> {
  const env = { PATH: process.env['PATH'] ?? '', LC_ALL: 'C' }
  const result = await runCommand(program, args, { env, deadlineMs: COMMAND_DEADLINE_MS })
  return result.kind === 'exited' && result.exitCode === 0 ? result.stdout.trim() : null
}

export function judgeOpenssl(version: string | null): Judgement {
  return version === null
    ? failing('the openssl command is not there: it makes the certificates', ERRORS['no-openssl'].hint)
    : fine(version.split(' ').slice(0, 2).join(' '))
}

/** `locales`: what `locale -a` lists; null where there is no such program (musl, which always knows C.UTF-8). */
export function judgeLocale(locales: string | null): Judgement {
  if (locales === null) return fine('not listed on this system; C.UTF-8 is built in')
  if (locales.split('\n').some((name) => /^C\.(utf8|utf-8)$/i.test(name.trim()))) return fine('C.UTF-8')
  return failing(
    'C.UTF-8 is missing: databases are made with it, so that sorting never changes under an index',
    'Run: localedef -i C -f UTF-8 C.UTF-8',
  )
}

export function judgeFileLimit(limits: string | null): Judgement {
  const soft = /^Max open files\s+(\d+|unlimited)/m.exec(limits ?? '')?.[1]
  if (soft === undefined) return fine('not known on this system')
  const value = soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft)
  const said = `${soft} open files per process`
  if (value < 256) return failing(`${said}: PostgreSQL does not start`, 'Run: ulimit -n 4096')
  return value < 1024 ? warning(`${said} is little`, 'Run: ulimit -n 4096') : fine(said)
}

/** `totalBytes`: of /dev/shm; null: there is none. */
export function judgeSharedMemory(totalBytes: number | null): Judgement {
  if (totalBytes === null)
    return warning('there is no /dev/shm: parallel queries use slower files', 'Mount a tmpfs at /dev/shm.')
  const said = `${humanBytes(totalBytes)} in /dev/shm`
  if (totalBytes >= 128 * MB) return fine(said)
  return warning(
    `${said}: larger parallel queries will fail`,
    'Make it larger: docker run --shm-size=1g, or mount -o remount,size=1g /dev/shm',
  )
}

export interface ClockFacts {
  readonly now: Date
  /** "yes", "no", or null where systemd's clock service is not there. */
  readonly synchronized: string | null
}

export function judgeClock({ now, synchronized }: ClockFacts): Judgement {
  const said = now.toISOString()
  const year = now.getUTCFullYear()
  if (year < 2025 || year > 2100)
    return failing(`${said}: certificates made now would be wrong`, ERRORS['clock-wrong'].hint)
  if (synchronized === 'no')
    return warning(`${said}, not synchronized with a time server`, 'Run: timedatectl set-ntp true')
  return fine(synchronized === 'yes' ? `${said}, synchronized` : said)
}

async function sharedMemoryBytes(): Promise<number | null> {
  const facts = await statfs('/dev/shm').catch(() => null)
  return facts === null ? null : facts.blocks * facts.bsize
}

export const MACHINE_CHECKS: readonly Check[] = [
  check('node', 'Node.js', () => process.version, judgeNode),
  check('postgres', 'PostgreSQL', probeBinaries, judgeBinaries),
  check('openssl', 'openssl', () => outputOf('openssl', ['version']), judgeOpenssl),
  check('locale', 'locale', () => outputOf('locale', ['-a']), judgeLocale),
  check('files', 'file limit', () => readFile('/proc/self/limits', 'utf8').catch(() => null), judgeFileLimit),
  check('shared-memory', 'shared memory', sharedMemoryBytes, judgeSharedMemory),
  check(
    'clock',
    'clock',
    async () => ({
      now: new Date(),
      synchronized: await outputOf('timedatectl', ['show', '-p', 'NTPSynchronized', '--value']),
    }),
    judgeClock,
  ),
]
