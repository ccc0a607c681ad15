/** What one look of an agent may and may not put into one view. */
import { expect, test } from 'vitest'
import type { AgentOptions } from '../../src/agent/dependencies.ts'
import { Observer, type Remembered } from '../../src/agent/observe.ts'
import { Tasks } from '../../src/agent/tasks.ts'
import type { Clock } from '../../src/ports/clock.ts'
import type { ClusterStore } from '../../src/ports/cluster-store.ts'
import type { Outcome, Postgres } from '../../src/ports/postgres.ts'
import { view as viewOf } from '../support/views.ts'

const CLOCK: Clock = { nowMs: () => 0, timestamp: () => '' }
const DONE: Outcome<null> = { kind: 'ok', value: null }

test('a task that ends while the agent looks is still under way in that view: what it made may not have been seen yet', async () => {
  const tasks = new Tasks(CLOCK, () => {})
  let end = (): void => {}
  tasks.start(
    'initialize',
    () =>
      new Promise<Outcome<null>>((resolve) => {
        end = () => resolve(DONE)
      }),
  )
  const postgres = {
    // Read before the task put the directory in its place, answered after it did.
    inspectDirectory: async () => {
      end()
      await new Promise((resolve) => setTimeout(resolve, 5))
      expect(tasks.running.size).toBe(0)
      return { kind: 'absent' }
    },
    inspectPostmaster: async () => ({ kind: 'stopped' }),
  } as unknown as Postgres
  const store = {
    readFacts: async () => ({ kind: 'unavailable', reason: 'none' }),
  } as unknown as ClusterStore
  const observer = new Observer({ node: 'alpha' } as AgentOptions, store, postgres, CLOCK)

  const view = await observer.observe(() => remembered(tasks))
  expect(view.local.directory.kind).toBe('absent')
  expect([...view.local.tasks]).toEqual(['initialize'])

  const later = await observer.observe(() => remembered(tasks))
  expect([...later.local.tasks]).toEqual([])
})

test('failures are forgotten when asked for, and counted from one again', async () => {
  const tasks = new Tasks(CLOCK, () => {})
  const failed: Outcome = { kind: 'failed', code: 'clone-failed', reason: 'no' }
  tasks.start('clone', async () => failed)
  await new Promise((resolve) => setTimeout(resolve, 1))
  expect(tasks.failures.get('clone')?.count).toBe(1)
  tasks.forgetFailures()
  expect(tasks.failures.size).toBe(0)
})

function remembered(tasks: Tasks): Remembered {
  const { local } = viewOf()
  return { ...local, tasks: tasks.running, failures: tasks.failures, promotionAskedPid: null }
}
