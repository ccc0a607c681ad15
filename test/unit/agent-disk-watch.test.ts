/** The disk is tried where PostgreSQL of this node runs, one write at a time, and what does not come back is said. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { DiskWatch } from '../../src/agent/disk-watch.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

function watchOf(mayTry: () => boolean) {
  let nowMs = 1_000
  const asked: { readonly end: () => void; readonly fail: (error: Error) => void }[] = []
  const postgres = {
    tryDisk: () => new Promise<void>((end, fail) => void asked.push({ end, fail })),
  }
  const clock = { nowMs: () => nowMs, timestamp: () => '' }
  const watch = new DiskWatch(postgres, clock, mayTry)
  const pass = async (ms: number): Promise<void> => {
    nowMs += ms
    await vi.advanceTimersByTimeAsync(ms)
  }
  return { watch, asked, pass }
}

test('one write at a time; the next one comes after it has come back, whatever came of it', async () => {
  const { watch, asked, pass } = watchOf(() => true)
  watch.start()
  await pass(5_000)
  expect(asked).toHaveLength(1)
  expect(watch.triedSinceMs).toBe(1_000)
  asked[0]?.fail(new Error('no space is left'))
  await pass(0)
  expect(watch.triedSinceMs).toBeNull()
  await pass(1_000)
  expect(asked).toHaveLength(2)
  asked[1]?.end()
  watch.close()
  await pass(5_000)
  expect(asked).toHaveLength(2)
})

test('nothing is written where no PostgreSQL of this node runs', async () => {
  let runs = false
  const { watch, asked, pass } = watchOf(() => runs)
  watch.start()
  await pass(5_000)
  expect(asked).toHaveLength(0)
  expect(watch.triedSinceMs).toBeNull()
  runs = true
  await pass(1_000)
  expect(asked).toHaveLength(1)
  watch.close()
})
