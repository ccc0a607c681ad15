/** The two connections of a base backup, for the data and for the WAL beside it, and what must be known of the server before. */
import { randomBytes } from 'node:crypto'
import { UnderstudyError } from '../errors/codes.ts'
import { createReplicationSlot, identifySystem, show, walSegmentSize } from './commands.ts'
import type { ReplicationConnection } from './connection.ts'

export interface BackupSource {
  readonly data: ReplicationConnection
  readonly wal: ReplicationConnection
  /** Temporary: goes with `wal`. */
  readonly slot: string
  readonly systemIdentifier: string
  readonly segmentBytes: number
  /** 0o700, or 0o750 for a cluster with group access. */
  readonly directoryMode: number
  readonly reportFlush: boolean
}

/**
 * Opens both and reserves WAL from now on. Throws 'system-identifier' for another cluster than expected,
 * 'unsupported-version' before PostgreSQL 15, and what connecting throws.
 */
export async function connectSource(
  open: () => Promise<ReplicationConnection>,
  expectedSystemIdentifier: string | undefined,
  applicationName: string,
): Promise<BackupSource> {
  const [data, wal] = await Promise.all([open(), open()])
  if (data.serverMajor < 15) {
    throw new UnderstudyError('unsupported-version', `The source runs PostgreSQL ${data.serverMajor}`)
  }
  const [identity, walIdentity] = await Promise.all([identifySystem(data), identifySystem(wal)])
  const expected = expectedSystemIdentifier ?? identity.systemIdentifier
  // Both connections: behind a name with two addresses they may reach two servers.
  for (const { systemIdentifier } of [identity, walIdentity]) {
    if (systemIdentifier === expected) continue
    const found = `The source is cluster ${systemIdentifier}, expected ${expected}`
    throw new UnderstudyError('system-identifier', found)
  }
  const slot = `understudy_clone_${process.pid}_${randomBytes(4).toString('hex')}`
  await createReplicationSlot(wal, { name: slot, temporary: true, reserveWal: true })
  return {
    data,
    wal,
    slot,
    systemIdentifier: identity.systemIdentifier,
    segmentBytes: await walSegmentSize(wal),
    directoryMode: (await show(wal, 'data_directory_mode')).endsWith('750') ? 0o750 : 0o700,
    reportFlush: !couldBeSynchronous(await show(wal, 'synchronous_standby_names'), applicationName),
  }
}

/**
 * Whether synchronous_standby_names could mean a connection of that name. Such a receiver must not report what it flushed: a
 * commit would be acknowledged that rests on a copy which is no standby yet, and may be thrown away (P1). Too careful for
 * names that only contain this one; then the slot holds WAL for the time of the copy, and nothing else is lost.
 */
export function couldBeSynchronous(standbyNames: string, applicationName: string): boolean {
  return standbyNames.includes('*') || standbyNames.toLowerCase().includes(applicationName.toLowerCase())
}
