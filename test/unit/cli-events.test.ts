/** Events of several nodes as one list: what came later stands below, also where a clock says otherwise. */
import { describe, expect, it } from 'vitest'
import type { ClusterEvent } from '../../src/api/contract.ts'
import { mergeEvents, renderEvent } from '../../src/cli/event-list.ts'
import { paintFor } from '../../src/cli/paint.ts'

let ids = 0

function at(second: number, node: string, epoch?: number): ClusterEvent {
  const instant = new Date(Date.UTC(2026, 0, 1, 10, 0, second)).toISOString()
  const event = { id: ++ids, at: instant, node, kind: 'vote', message: `${node} at ${second}` }
  return epoch === undefined ? event : { ...event, epoch }
}

const messages = (...lists: ClusterEvent[][]): string[] => mergeEvents(lists).map(({ message }) => message)

describe('events of all nodes', () => {
  it('go by epoch first: a clock that is behind moves nothing into an epoch before', () => {
    const alpha = [at(10, 'alpha', 1), at(20, 'alpha', 2)]
    const behind = [at(1, 'bravo', 1), at(3, 'bravo', 2)]
    expect(messages(alpha, behind)).toEqual(['bravo at 1', 'alpha at 10', 'bravo at 3', 'alpha at 20'])
  })

  it('keep the order of each node, also when it tells late of an older epoch', () => {
    const alpha = [at(1, 'alpha', 2), at(2, 'alpha', 1), at(3, 'alpha', 2)]
    expect(messages(alpha)).toEqual(['alpha at 1', 'alpha at 2', 'alpha at 3'])
  })

  it('put what names no epoch where its time says', () => {
    const bravo = [at(5, 'bravo', 2), at(9, 'bravo', 2)]
    expect(messages([at(1, 'alpha', 1), at(7, 'alpha')], bravo)).toEqual([
      'alpha at 1',
      'bravo at 5',
      'alpha at 7',
      'bravo at 9',
    ])
  })

  it('say how long after the beginning of the change they were', () => {
    const event = { ...at(1, 'bravo', 2), details: { sinceElectingMs: 65.2 } }
    expect(renderEvent(event, paintFor(false))).toContain('(epoch 2, +65 ms)')
  })
})
