/**
 * What has been done so far to a server that is taken over, and what it needs to be finished or undone: one durable file in the operator's
 * directory, written after each step. A step that was begun and not written is done again, or undone, as if it had not been begun.
 */
import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import { UnderstudyError } from '../../errors/codes.ts'
import { readTextIfPresent, writeFileAtomic } from '../../postgres/durable.ts'
import { fileError } from '../local/prepare.ts'
import type { Target } from './connect.ts'
import type { ServerLook } from './facts.ts'
import type { MachineLook, Manager } from './machine.ts'
import { JOURNAL_NAME } from './names.ts'
import type { OldUnit } from './old-unit.ts'

export interface Journal {
  readonly version: 1
  readonly startedAt: string
  readonly cluster: string
  readonly node: string
  /** A primary begins a cluster; a standby joins one that is there. */
  readonly role: 'primary' | 'standby'
  /** Without its password. */
  readonly target: {
    readonly host: string
    readonly port: number
    readonly user: string
    readonly database: string
  }
  /** Of understudy.yaml. */
  readonly configText: string
  /** Name in store/ → content. */
  readonly given: Readonly<Record<string, string>>
  /** Where the node's bundle goes, and its agent reads it. */
  readonly bundleDirectory: string
  readonly nodeDirectory: string
  readonly server: {
    readonly systemIdentifier: string
    readonly dataDirectory: string
    readonly owner: { readonly name: string; readonly uid: number; readonly gid: number }
    readonly manager: Manager
    readonly startFile: string
    readonly startText: string | null
    /** Of systemd; null: none. An older version did not write it. */
    readonly unit?: OldUnit | null
    readonly autoConf: string
    /** How it was started. */
    readonly command: readonly string[]
    readonly outputFile: string | null
    readonly binDirectory: string
    readonly externalPidFile: string | null
  }
  readonly done: readonly string[]
  readonly undoing: boolean
  readonly completedAt: string | null
}

/** Of a server that was looked at, and of which nothing is changed yet. */
export function newJournal(
  begun: Pick<
    Journal,
    'cluster' | 'node' | 'role' | 'configText' | 'given' | 'bundleDirectory' | 'nodeDirectory'
  >,
  { target, server, machine }: NewJournal,
): Journal {
  const { password: _, ...where } = target
  const { dataDirectory, manager, startFile, startText, autoConf, command, outputFile } = machine
  const { binDirectory, externalPidFile, unit } = machine
  const owner = machine.owner ?? { name: 'postgres', uid: machine.ownerUid, gid: machine.ownerUid }
  return {
    version: 1,
    startedAt: new Date().toISOString(),
    ...begun,
    target: where,
    server: {
      ...{ systemIdentifier: server.systemIdentifier, dataDirectory },
      owner: { name: owner.name, uid: owner.uid, gid: owner.gid },
      ...{ manager, startFile, startText, unit, autoConf, command, outputFile, binDirectory },
      externalPidFile,
    },
    done: [],
    undoing: false,
    completedAt: null,
  }
}

interface NewJournal {
  readonly target: Target
  readonly server: Pick<ServerLook, 'systemIdentifier'>
  readonly machine: MachineLook
}

export function journalFile(directory: string): string {
  return path.join(directory, JOURNAL_NAME)
}

/** null: nothing was begun here. Errors: data-damaged, no-permission. */
export async function readJournal(directory: string): Promise<Journal | null> {
  const file = journalFile(directory)
  let text: string | null
  try {
    text = await readTextIfPresent(file)
  } catch (error) {
    throw fileError(error, file)
  }
  if (text === null) return null
  const value = parse(text)
  if (value !== null) return value
  throw new UnderstudyError('data-damaged', `${file} cannot be read`, {
    hint: 'It says how to undo what was done to the server: keep it, and compare it with docs/existing-servers.md.',
  })
}

function parse(text: string): Journal | null {
  try {
    const value = JSON.parse(text) as Partial<Journal> | null
    return value?.version === 1 && Array.isArray(value.done) ? (value as Journal) : null
  } catch {
    return null
  }
}

/** Durable when it returns. */
export async function writeJournal(directory: string, journal: Journal): Promise<Journal> {
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    await writeFileAtomic(journalFile(directory), `${JSON.stringify(journal, null, 2)}\n`, { durable: true })
  } catch (error) {
    throw fileError(error, directory)
  }
  return journal
}
