/** Writes what configuration.ts renders, and the signal files that make a server a standby. */
import { mkdir, open, stat, statfs } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Outcome, RefusedParameter, ReplicationConfiguration } from '../ports/postgres.ts'
import { sanitizeAutoConf } from './auto-conf.ts'
import { REPLICATION_FILE, renderConfiguration } from './configuration.ts'
import type { ConfigurationInput } from './configuration-input.ts'
import { fsyncDirectory, readTextIfPresent, removeFileDurably, writeFileIfDifferent } from './durable.ts'
import { fileFailure, ok, systemErrorCode } from './outcome.ts'

export interface Configured {
  readonly changed: boolean
  readonly refused: readonly RefusedParameter[]
}

/**
 * Only replication.conf and the signal files are synced: they say what role the node has, and a fence must hold through a loss of
 * power. The rest is written again before every start.
 */
export async function writeConfiguration(
  input: ConfigurationInput,
  replication: ReplicationConfiguration,
): Promise<Outcome<Configured>> {
  const { layout } = input
  const rendered = renderConfiguration(input, replication)
  try {
    await mkdir(layout.confDir, { recursive: true, mode: 0o700 })
    await mkdir(layout.logDir, { recursive: true, mode: 0o700 })
    const changes: boolean[] = []
    // A standby gets its signal before its configuration and a primary loses it after: in between it is always the harmless role.
    if (replication.role === 'standby') changes.push(await writeStandbySignal(layout.dataDir))
    const [auto, ...written] = await Promise.all([
      sanitizeAutoConfFile(layout.dataDir, input.major),
      // A recovery.signal, left by a restore, would end recovery in a promotion that nobody decided.
      removeFileDurably(join(layout.dataDir, 'recovery.signal')),
      ...[...rendered.files].map(([name, content]) =>
        writeFileIfDifferent(join(layout.confDir, name), content, { durable: name === REPLICATION_FILE }),
      ),
    ])
    changes.push(auto.changed, ...written)
    if (replication.role === 'primary')
      changes.push(await removeFileDurably(join(layout.dataDir, 'standby.signal')))
    return ok({ changed: changes.includes(true), refused: [...rendered.refused, ...auto.refused] })
  } catch (error) {
    return fileFailure(error, layout.nodeDir)
  }
}

async function writeStandbySignal(dataDir: string): Promise<boolean> {
  const path = join(dataDir, 'standby.signal')
  try {
    const handle = await open(path, 'wx', 0o600)
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  } catch (error) {
    const code = systemErrorCode(error)
    // ENOENT: there is no data directory yet; whoever clones it configures it again before a start.
    if (code === 'EEXIST' || code === 'ENOENT') return false
    throw error
  }
  await fsyncDirectory(dirname(path))
  return true
}

async function sanitizeAutoConfFile(
  dataDir: string,
  major: number,
): Promise<{ changed: boolean; refused: readonly RefusedParameter[] }> {
  const path = join(dataDir, 'postgresql.auto.conf')
  const text = await readTextIfPresent(path)
  if (text === null) return { changed: false, refused: [] }
  const sanitized = sanitizeAutoConf(text, major)
  const changed = await writeFileIfDifferent(path, sanitized.text, { durable: false })
  return { changed, refused: sanitized.refused }
}

/** Size of the file system that holds `path`, or of the nearest directory above it that exists. */
export async function diskSize(path: string): Promise<number> {
  for (let at = path; ; at = dirname(at)) {
    const present = await stat(at).then(
      () => true,
      () => false,
    )
    if (present) {
      const system = await statfs(at)
      return system.blocks * system.bsize
    }
  }
}
