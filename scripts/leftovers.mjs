/**
 * Processes that a test run has started and not ended. They are known by their environment, which every child inherits: the marker
 * of the run, or the node directory (UNDERSTUDY_NODE) of a PostgreSQL, whose environment is made anew; and by a command line that
 * names the run's temporary directory. What others run on this machine is none of them.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** A process that was told to stop right at the end of a test may need a moment. */
const GRACE_MS = 3_000

export async function findLeftovers({ marker, directory }) {
  const until = performance.now() + GRACE_MS
  for (;;) {
    const left = runningNow({ marker, directory })
    if (left.length === 0 || performance.now() > until) return left
    await sleep(100)
  }
}

function runningNow({ marker, directory }) {
  const found = []
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry)
    if (!Number.isInteger(pid) || pid === process.pid) continue
    const command = read(pid, 'cmdline').replaceAll('\0', ' ').trim()
    // Kernel threads and zombies have none.
    if (command === '') continue
    const environment = read(pid, 'environ').split('\0')
    const ours =
      environment.includes(`UNDERSTUDY_TEST_RUN=${marker}`) ||
      environment.some((each) => each.startsWith(`UNDERSTUDY_NODE=${directory}/`)) ||
      command.includes(`${directory}/`)
    if (ours) found.push({ pid, command: command.slice(0, 160) })
  }
  return found
}

/** '' when the process is gone or belongs to somebody else. */
function read(pid, name) {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8')
  } catch {
    return ''
  }
}
