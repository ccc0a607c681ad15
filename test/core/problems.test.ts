/** What a person is told of: codes that scripts can use, and what to do. */
import { expect, it } from 'vitest'
import { findProblems } from '../../src/core/problems.ts'
import { primaryServer, view } from '../support/views.ts'

function codesOf(local: object): readonly string[] {
  return findProblems(view({ local })).map((each) => each.code)
}

it('nothing, when everything is as it shall be', () => {
  expect(codesOf({})).toEqual([])
})

it('a standby that does not stream, and too few for the quorum', () => {
  const server = primaryServer({ walsenders: [] })
  expect(codesOf({ server })).toEqual(['not-streaming', 'not-streaming', 'quorum-missing'])
})

it('a slot that nobody uses and that keeps dead rows', () => {
  const slots = primaryServer().slots.map((slot) => ({ ...slot, holdsXmin: true }))
  expect(codesOf({ server: primaryServer({ slots }) })).toEqual([])
  const [first, ...rest] = slots
  const idle = [{ ...first, active: false }, ...rest]
  expect(codesOf({ server: primaryServer({ slots: idle as typeof slots }) })).toEqual(['slot-holds-xmin'])
})
