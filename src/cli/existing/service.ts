/** Which service had started a server before understudy did: kept in the node's directory, for the day on which the server is given back. */
import { chown } from 'node:fs/promises'
import path from 'node:path'
import { readTextIfPresent, writeFileAtomic } from '../../postgres/durable.ts'
import type { Journal } from './journal.ts'
import type { OldUnit } from './old-unit.ts'
import { startModeOf } from './plan.ts'

export interface FormerService {
  readonly kind: 'debian' | 'plain'
  /** "15 main"; null: none of Debian's. */
  readonly cluster: string | null
  /** What a start reads: start.conf, or postgresql.conf, which was moved aside. */
  readonly startFile: string
  /** Of Debian's: auto, manual or disabled. */
  readonly startMode: string
  readonly configDirectory: string
  /** Of systemd; null: none. An older version did not write it. */
  readonly unit?: OldUnit | null
}

const NAME = 'service.json'

export async function writeService({ nodeDirectory, server }: Journal): Promise<void> {
  const { manager, startFile, owner } = server
  const service: FormerService = {
    kind: manager.kind,
    cluster: manager.kind === 'debian' ? `${manager.version} ${manager.name}` : null,
    startFile,
    startMode: startModeOf(server.startText),
    configDirectory: manager.directory,
    unit: server.unit ?? null,
  }
  const file = path.join(nodeDirectory, NAME)
  await writeFileAtomic(file, `${JSON.stringify(service)}\n`, { durable: true })
  await chown(file, owner.uid, owner.gid)
}

/** null: the server began with understudy. */
export async function readService(nodeDirectory: string): Promise<FormerService | null> {
  const text = await readTextIfPresent(path.join(nodeDirectory, NAME)).catch(() => null)
  if (text === null) return null
  try {
    return JSON.parse(text) as FormerService
  } catch {
    return null
  }
}
