/** What an interrupted initialize or clone left beside the data directory. */
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type NodeLayout, UNFINISHED_PREFIX } from './layout.ts'
import { hasOpenBelow, listMarked, listPostgresIn, signalProcess } from './processes.ts'
import { waitUntil } from './wait.ts'

const KILL_PATIENCE_MS = 5_000

/**
 * Removes unfinished directories, after ending what a killed agent may still be running there: initdb, its backends, a clone worker.
 * Returns their paths. Only for when no initialize or clone of this node is under way.
 */
export async function removeLeftovers(layout: NodeLayout): Promise<readonly string[]> {
  const names = await readdir(layout.nodeDir).catch(() => [])
  const paths = names
    .filter((name) => name.startsWith(UNFINISHED_PREFIX))
    .map((name) => join(layout.nodeDir, name))
  for (const path of paths) {
    await waitUntil(KILL_PATIENCE_MS, async () => {
      const busy = await busyIn(path, layout.nodeDir)
      for (const pid of busy) signalProcess(pid, 'SIGKILL')
      return busy.length === 0
    })
    await rm(path, { recursive: true, force: true, maxRetries: 3 })
  }
  return paths
}

/** Unfinished directories are only ever ours, so whatever works there may be ended; outside, only what carries our marker. */
async function busyIn(path: string, nodeDir: string): Promise<readonly number[]> {
  const busy = new Set((await listPostgresIn(path)).map(({ pid }) => pid))
  for (const { pid, title } of await listMarked(nodeDir)) {
    if (title.includes(path) || (await hasOpenBelow(pid, path))) busy.add(pid)
  }
  return [...busy]
}
