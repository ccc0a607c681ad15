/** Other people's programs that are run through the proxy, and what they need of a machine. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'

export interface ClientProgram {
  readonly name: string
  /** Below test/clients/programs. */
  readonly script: string
  readonly interpreter: 'node' | 'python' | 'perl'
  /** Programs that the script runs. */
  readonly programs: readonly string[]
  /** Python or Perl modules that it loads. */
  readonly modules: readonly string[]
  /** What to install when something of it is not there. */
  readonly hint: string
  /** It refuses a server that is newer than itself. */
  readonly refusesNewer?: boolean
}

/** Debian's modules are those of Debian's interpreters. */
const INTERPRETERS = { node: process.execPath, python: '/usr/bin/python3', perl: '/usr/bin/perl' } as const

const POSTGRES_HINT = 'apt install postgresql-client-15 postgresql-15'

export const CLIENT_PROGRAMS: readonly ClientProgram[] = [
  postgresProgram('psql', 'psql.mjs', ['psql']),
  postgresProgram('pgbench', 'pgbench.mjs', ['pgbench', 'psql']),
  { ...postgresProgram('pg_dump', 'pg-dump.mjs', ['pg_dump', 'pg_restore', 'psql']), refusesNewer: true },
  nodeProgram('pg', 'node-pg.mjs'),
  nodeProgram('postgres.js', 'postgres-js.mjs'),
  {
    ...{ name: 'psycopg 2', script: 'psycopg_2.py', interpreter: 'python', programs: [] },
    ...{ modules: ['psycopg2'], hint: 'apt install python3-psycopg2' },
  },
  {
    ...{ name: 'psycopg 3', script: 'psycopg_3.py', interpreter: 'python', programs: [] },
    ...{ modules: ['psycopg'], hint: 'apt install python3-psycopg' },
  },
  {
    ...{ name: 'DBD::Pg', script: 'dbd_pg.pl', interpreter: 'perl', programs: [] },
    ...{ modules: ['DBD::Pg'], hint: 'apt install libdbd-pg-perl' },
  },
]

function postgresProgram(name: string, script: string, programs: readonly string[]): ClientProgram {
  return { name, script, interpreter: 'node', programs, modules: [], hint: POSTGRES_HINT }
}

function nodeProgram(name: string, script: string): ClientProgram {
  return { name, script, interpreter: 'node', programs: [], modules: [], hint: 'npm ci' }
}

export function interpreterOf(program: ClientProgram): string {
  return INTERPRETERS[program.interpreter]
}

/** null: everything is there; else what is not, in words. */
export function whatIsMissing(program: ClientProgram, searchPath: string): string | null {
  const interpreter = interpreterOf(program)
  if (!existsSync(interpreter)) return interpreter
  const directories = searchPath.split(path.delimiter)
  for (const each of program.programs)
    if (!directories.some((directory) => existsSync(path.join(directory, each)))) return each
  for (const module of program.modules) {
    const args = program.interpreter === 'perl' ? [`-M${module}`, '-e', '1'] : ['-c', `import ${module}`]
    if (spawnSync(interpreter, args, { stdio: 'ignore' }).status !== 0) return module
  }
  return null
}
