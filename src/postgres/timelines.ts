/**
 * Which timeline PostgreSQL goes for in recovery. It begins with pg_control's, which may be an old one for minutes after a failover, and
 * follows the history files upwards as long as none is missing (findNewestTimeLine). So a gap hides WAL that is on the disk, and with it
 * commits that were acknowledged (seen on 15 and 18, M: posNaive); a history without WAL makes it go for a timeline of which it has nothing.
 * Before each start as standby the files are made such that it goes for the newest timeline that it has WAL of, and for no other.
 */
import { readdir, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ControlFacts, Outcome } from '../ports/postgres.ts'
import { historyFileName, parseHistoryFileName, parseWalFileName } from '../protocol/wal-names.ts'
import { fsyncDirectory } from './durable.ts'
import { DONE, failed, fileFailure } from './outcome.ts'

/** Timeline -> bytes of its history file. Ours that fill gaps are empty; PostgreSQL writes none such. */
async function readHistorySizes(dataDir: string): Promise<ReadonlyMap<number, number>> {
  const directory = join(dataDir, 'pg_wal')
  const sizes = new Map<number, number>()
  for (const name of await readdir(directory)) {
    const timelineId = parseHistoryFileName(name)
    if (timelineId !== null) sizes.set(timelineId, (await stat(join(directory, name))).size)
  }
  return sizes
}

/** The newest timeline with a segment; 0 when there is none. */
async function newestSegment(dataDir: string, walSegmentSize: number): Promise<number> {
  const names = await readdir(join(dataDir, 'pg_wal'))
  return Math.max(0, ...names.map((name) => parseWalFileName(name, walSegmentSize)?.timelineId ?? 0))
}

/** PostgreSQL must be stopped, to be started as a standby. Errors: data-damaged, and those of the file system. */
export async function settleTimelines(dataDir: string, control: ControlFacts): Promise<Outcome> {
  try {
    const histories = await readHistorySizes(dataDir)
    const begins = Math.max(control.timelineId, control.minRecoveryTimelineId)
    const goesFor = Math.max(begins, await newestSegment(dataDir, control.walSegmentSize))
    if (goesFor > begins && (histories.get(goesFor) ?? 0) === 0) {
      // Without it PostgreSQL would not see that WAL, and its position would be taken for the end of what this node has.
      return failed('data-damaged', `there is WAL of timeline ${goesFor} in ${dataDir}, but not its history`)
    }
    await removeHistories(dataDir, histories, (timelineId) => timelineId > goesFor)
    await fillGaps(dataDir, begins, goesFor)
    return DONE
  } catch (error) {
    return fileFailure(error, dataDir)
  }
}

/** Empty history files for every timeline between the two that has none. */
export async function fillGaps(dataDir: string, after: number, before: number): Promise<void> {
  const there = new Set(await readdir(join(dataDir, 'pg_wal')))
  for (let timelineId = after + 1; timelineId < before; timelineId++) {
    const name = historyFileName(timelineId)
    if (there.has(name)) continue
    // A walreceiver may be writing the real one at this moment.
    await writeFile(join(dataDir, 'pg_wal', name), '', { flag: 'wx', mode: 0o600 }).catch(unlessThere)
  }
}

function unlessThere(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EEXIST') throw error
}

/** Those at the end that nothing real follows: they would be what PostgreSQL goes for when it restarts. The others it may need. */
export async function removeLastFillers(dataDir: string): Promise<void> {
  const histories = await readHistorySizes(dataDir)
  const real = [...histories].filter(([, bytes]) => bytes > 0).map(([timelineId]) => timelineId)
  const newest = Math.max(0, ...real)
  await removeHistories(dataDir, histories, (timelineId) => timelineId > newest)
}

async function removeHistories(
  dataDir: string,
  histories: ReadonlyMap<number, number>,
  goes: (timelineId: number) => boolean,
): Promise<void> {
  const directory = join(dataDir, 'pg_wal')
  const going = [...histories.keys()].filter(goes)
  for (const timelineId of going) await rm(join(directory, historyFileName(timelineId)), { force: true })
  if (going.length > 0) await fsyncDirectory(directory)
}
