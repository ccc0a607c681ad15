/** Waiting by looking: for what no event tells. */
import { setTimeout as sleep } from 'node:timers/promises'

const INTERVAL_MS = 10

/** Looks at least once. True as soon as the condition holds, false when it still does not after `patienceMs`. */
export async function waitUntil(
  patienceMs: number,
  condition: () => Promise<boolean>,
  intervalMs = INTERVAL_MS,
): Promise<boolean> {
  const deadlineAt = performance.now() + patienceMs
  for (;;) {
    if (await condition()) return true
    if (performance.now() >= deadlineAt) return false
    await sleep(intervalMs)
  }
}
