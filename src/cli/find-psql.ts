/**
 * Finds psql. Debian's /usr/bin/psql is a wrapper that guesses a server of its own from PGPORT: the real program of the newest
 * version comes before it. The embedded binaries have none.
 */
import { constants } from 'node:fs'
import { access, readdir, realpath } from 'node:fs/promises'
import path from 'node:path'

/** Directories of one folder per major version, as packages make them. */
const VERSIONED = [
  { parent: '/usr/lib/postgresql', prefix: '' },
  { parent: '/usr', prefix: 'pgsql-' },
  { parent: '/opt/homebrew/opt', prefix: 'postgresql@' },
] as const

export interface PsqlPlaces {
  /** The configured binaries of the cluster, when they are a directory. */
  readonly configured: string | null
  readonly searchPath: string
}

export async function findPsql({ configured, searchPath }: PsqlPlaces): Promise<string | null> {
  const own = configured !== null && path.isAbsolute(configured) ? [path.join(configured, 'psql')] : []
  const onPath = searchPath
    .split(path.delimiter)
    .filter((directory) => path.isAbsolute(directory))
    .map((directory) => path.join(directory, 'psql'))
  const packaged = (await Promise.all(VERSIONED.map(versionedPrograms))).flat()
  let wrapper: string | null = null
  for (const candidate of [...own, ...onPath, ...packaged]) {
    if (!(await isExecutable(candidate))) continue
    if (!(await isWrapper(candidate))) return candidate
    wrapper ??= candidate
  }
  return wrapper
}

async function versionedPrograms(place: (typeof VERSIONED)[number]): Promise<string[]> {
  const names = await readdir(place.parent).catch(() => [])
  return names
    .filter((name) => name.startsWith(place.prefix) && /^\d+$/.test(name.slice(place.prefix.length)))
    .sort((a, b) => Number(b.slice(place.prefix.length)) - Number(a.slice(place.prefix.length)))
    .map((name) => path.join(place.parent, name, 'bin', 'psql'))
}

async function isExecutable(file: string): Promise<boolean> {
  return access(file, constants.X_OK).then(
    () => true,
    () => false,
  )
}

async function isWrapper(file: string): Promise<boolean> {
  return path.basename(await realpath(file).catch(() => file)) === 'pg_wrapper'
}
