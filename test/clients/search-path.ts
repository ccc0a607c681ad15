/** Where PostgreSQL's own programs are: pgbench is not on the PATH of Debian. */
import { readdirSync } from 'node:fs'
import path from 'node:path'

const DEBIAN = '/usr/lib/postgresql'

/** The newest of Debian's first. */
export function searchPathOf(): string {
  const found = debianVersions().map((version) => path.join(DEBIAN, version, 'bin'))
  return [...found, process.env['PATH'] ?? ''].join(path.delimiter)
}

function debianVersions(): readonly string[] {
  try {
    return readdirSync(DEBIAN).sort((a, b) => Number(b) - Number(a))
  } catch {
    return []
  }
}
