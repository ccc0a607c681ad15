/** The node's own record: complete and in order in its file, and never in anybody's way. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { EventLog } from '../../src/agent/events.ts'
import type { ClusterEvent } from '../../src/api/contract.ts'

const place = mkdtempSync(path.join(tmpdir(), 'events-'))
afterAll(() => rmSync(place, { recursive: true }))

const clock = { nowMs: () => 0, timestamp: () => '2026-01-01T00:00:00.000Z' }

function logIn(file: string) {
  const warnings: string[] = []
  const log = { info: () => {}, warn: (message: string) => void warnings.push(message), error: () => {} }
  return { events: new EventLog({ file, node: 'alpha', clock, log }), warnings }
}

test('what is added while something is being written follows it, and the next agent goes on behind it', async () => {
  const file = path.join(place, 'events.jsonl')
  const { events } = logIn(file)
  for (let i = 0; i < 300; i++) {
    events.add({ kind: 'vote', message: `${i}` })
    if (i % 7 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  await events.written()
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n')
  const ids = lines.map((line) => (JSON.parse(line) as ClusterEvent).id)
  expect(ids).toEqual(Array.from({ length: 300 }, (_, index) => index + 1))
  const { events: next } = logIn(file)
  next.add({ kind: 'vote', message: 'one more' })
  expect(next.after(299).map(({ id }) => id)).toEqual([300, 301])
})

test('a file that cannot be written is complained of once, and the ring has everything', async () => {
  const { events, warnings } = logIn(path.join(place, 'missing', 'events.jsonl'))
  events.add({ kind: 'vote', message: 'a' })
  await events.written()
  events.add({ kind: 'vote', message: 'b' })
  await events.written()
  expect(warnings).toHaveLength(1)
  expect(events.after(0).map(({ message }) => message)).toEqual(['a', 'b'])
})
