/** Parts of an agent for tests of what operators ask of it: a store in memory, a clock that a test sets, and events in a temporary file. */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Chronicle } from '../../src/agent/chronicle.ts'
import type { ControlContext } from '../../src/agent/controls/context.ts'
import { EventLog } from '../../src/agent/events.ts'
import type { ClusterView, NodeReport } from '../../src/core/cluster-view.ts'
import type { Primacy } from '../../src/core/primacy.ts'
import type { ClusterStore } from '../../src/ports/cluster-store.ts'
import { createClusterStore } from '../../src/store/cluster-store.ts'
import { MemoryStore } from './memory-store.ts'
import { IDENTITY, MEMBERS, primacy, report, type ViewChanges, view } from './views.ts'

export class TestClock {
  ms = 0
  readonly #began = Date.parse('2026-01-01T00:00:00.000Z')

  nowMs = (): number => this.ms

  timestamp = (): string => new Date(this.#began + this.ms).toISOString()
}

export interface Parts {
  readonly memory: MemoryStore
  readonly store: ClusterStore
  readonly clock: TestClock
  readonly events: EventLog
  readonly chronicle: Chronicle
  readonly context: ControlContext
  /** What was done beside the store, in order. */
  readonly done: string[]
  /** What this agent has last seen of itself. */
  looks(changes: ViewChanges): void
  kinds(): readonly string[]
}

/** The agent of `self`, and a store that holds a steady cluster of three; another agent's, where one is given. */
export async function agentParts(
  self = 'alpha',
  changes: Partial<Primacy> = {},
  memory = new MemoryStore(),
): Promise<Parts> {
  const store = createClusterStore(memory, 'main')
  const clock = new TestClock()
  const log = { info: () => {}, warn: () => {}, error: () => {} }
  const file = path.join(mkdtempSync(path.join(tmpdir(), 'understudy-events-')), 'events.jsonl')
  const events = new EventLog({ file, node: self, clock, log })
  const chronicle = new Chronicle({ node: self, clock, store, events })
  await store.publishCluster(primacy(changes), IDENTITY, 0n)
  for (const { name } of MEMBERS) await store.putReport(report(name), 0n)
  let seen: ClusterView = view({ self })
  const done: string[] = []
  const context: ControlContext = {
    node: self,
    primaryLeaseMs: 6_000,
    store,
    clock,
    events,
    chronicle,
    session: `session-of-${self}`,
    view: () => seen,
    fresh: async () => {
      const [facts, nodes] = [await store.readFacts(), await store.readNodes()]
      if (facts.kind !== 'ok' || nodes.kind !== 'ok')
        return { kind: 'failed', code: 'store-unreachable', reason: 'down' }
      return {
        kind: 'ok',
        value: { ...seen, store: { kind: 'read', facts: { ...facts.value, nodes: nodes.value } } },
      }
    },
    checkpoint: async () => {
      done.push('checkpoint')
    },
    wake: () => done.push('wake'),
  }
  return {
    memory,
    store,
    clock,
    events,
    chronicle,
    context,
    done,
    looks: (more) => {
      seen = view({ self, ...more })
    },
    kinds: () => events.after(0).map(({ kind }) => kind),
  }
}

/** Replaces what the nodes report; those that are left out report no more. */
export async function reportsAre(parts: Parts, reports: readonly NodeReport[]): Promise<void> {
  await parts.memory.transact({
    compare: [],
    success: [{ op: 'deletePrefix', prefix: '/understudy/main/nodes/' }],
  })
  for (const each of reports) await parts.store.putReport(each, 0n)
}

/** The store's primacy as it is now; fails when it cannot be read. */
export async function factsOf(parts: Parts) {
  const read = await parts.store.readFacts()
  if (read.kind !== 'ok') throw new Error(read.reason)
  return read.value
}
