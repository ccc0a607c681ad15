/** What the titles of PostgreSQL's processes tell of a recovery. */
import { expect, it } from 'vitest'
import { recoveryOf } from '../../src/postgres/recovery-titles.ts'

const SEGMENT = '000000020000000000000003'

it('names the segment, and tells whether WAL comes', () => {
  const startup = `postgres: alpha: startup recovering ${SEGMENT}`
  expect(recoveryOf([startup, 'postgres: alpha: checkpointer '])).toEqual({
    segment: SEGMENT,
    streams: false,
  })
  expect(recoveryOf([`postgres: alpha: startup waiting for ${SEGMENT}`])).toEqual({
    segment: SEGMENT,
    streams: false,
  })
  const receiver = 'postgres: alpha: walreceiver streaming 0/3000148'
  expect(recoveryOf([receiver, startup])).toEqual({ segment: SEGMENT, streams: true })
  expect(recoveryOf(['postgres: alpha: walreceiver ', startup])).toEqual({ segment: SEGMENT, streams: false })
})

it('is nothing before replay begins, and after recovery', () => {
  expect(recoveryOf(['postgres: alpha: startup '])).toBeNull()
  expect(recoveryOf(['postgres: alpha: walwriter ', 'postgres: alpha: autovacuum launcher '])).toBeNull()
})
