/** The numbers in the configuration follow from the disk and from rto. */
import { expect, test } from 'vitest'
import { LEAST_WAL_KEEP_MB, replicationTimings, slotWalKeepMb, walKeepMb } from '../../src/postgres/sizing.ts'

const GB = 1024 ** 3

test.each([
  ['a tenth of a usual disk', 200 * GB, 20 * 1024],
  ['no more than 64 GB', 100_000 * GB, 64 * 1024],
  ['no less than 512 MB', 1 * GB, 512],
])('WAL that slots may hold: %s', (_, bytes, megabytes) => {
  expect(slotWalKeepMb(bytes)).toBe(megabytes)
})

test('WAL kept without slots is always less, and enough', () => {
  for (const bytes of [1, 1 * GB, 20 * GB, 10_000 * GB]) {
    expect(walKeepMb(bytes)).toBeLessThan(slotWalKeepMb(bytes))
    expect(walKeepMb(bytes)).toBeGreaterThanOrEqual(LEAST_WAL_KEEP_MB)
    expect(walKeepMb(bytes)).toBeLessThanOrEqual(1024)
  }
})

test.each([500, 1_000, 3_000, 30_000, 600_000])('timers fit together for rto %i ms', (rtoMs) => {
  const timings = replicationTimings(rtoMs)
  expect(timings.walReceiverTimeoutMs).toBeLessThan(timings.walSenderTimeoutMs)
  expect(timings.walReceiverStatusIntervalS * 1000).toBeLessThan(timings.walReceiverTimeoutMs)
  expect(timings.connectTimeoutS).toBeGreaterThanOrEqual(2)
  for (const seconds of [
    timings.keepalivesIdleS,
    timings.keepalivesIntervalS,
    timings.walReceiverStatusIntervalS,
  ]) {
    expect(Number.isInteger(seconds) && seconds >= 1).toBe(true)
  }
})
