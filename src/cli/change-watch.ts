/**
 * Follows a change of primary to its end by the nodes' events, which cost the nodes nothing while they are busy with it; a look at the
 * status now and then catches what a broken stream has missed. Then the history tells how long each phase took.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { ClusterEvent, HistoryEntry } from '../api/contract.ts'
import { mergeHistories } from '../api/history.ts'
import type { ResolvedNode } from '../config/load.ts'
import { UnderstudyError } from '../errors/codes.ts'
import { askCluster, askHistory } from './api-client.ts'
import { followEvents } from './event-stream.ts'

/** Of the whole change. */
const DEADLINE_MS = 90_000
const LOOK_EVERY_MS = 1_000
const OPEN_WITHIN_MS = 1_000
/** The old primary comes back by itself, and nobody need wait for it. */
const OLD_PRIMARY_MS = 15_000
const HISTORY_EVERY_MS = 150

/** What ends the waiting: the epoch that is steady now, and its primary. */
export interface Ending {
  readonly epoch: number
  readonly primary: string
}

export interface ChangeWatch {
  /** Every event that came since it was opened is looked at. Errors: refused, timeout. */
  ending(request: FollowRequest): Promise<Ending>
  close(): void
}

export interface FollowRequest {
  /** That was asked in: a later one is what is waited for. */
  readonly epoch: number
  /** Of the event that says that the decision refuses it. */
  readonly refusedKind: string
  readonly tell: (event: ClusterEvent) => void
}

/** Opens the streams; to be done before anything is asked for. */
export async function watchChange(nodes: readonly ResolvedNode[]): Promise<ChangeWatch> {
  const leave = new AbortController()
  const events: ClusterEvent[] = []
  let wake: () => void = () => {}
  const opened = nodes.map(
    (node) =>
      new Promise<void>((resolve) => {
        void followEvents(node, {
          after: Number.MAX_SAFE_INTEGER,
          signal: leave.signal,
          onOpen: resolve,
          onEvent: (event) => {
            events.push(event)
            wake()
          },
        })
      }),
  )
  await Promise.race([Promise.all(opened), sleep(OPEN_WITHIN_MS, undefined, { signal: leave.signal })])
  return {
    close: () => leave.abort(),
    ending: async (request) => {
      const deadlineAt = performance.now() + DEADLINE_MS
      let lookedAt = performance.now()
      while (performance.now() < deadlineAt) {
        for (const event of events.splice(0)) {
          request.tell(event)
          const ending = endingIn(event, request)
          if (ending !== null) return ending
        }
        if (performance.now() - lookedAt >= LOOK_EVERY_MS) {
          const status = await askCluster(nodes)
          const { epoch, phase, primary } = status ?? { epoch: null, phase: null, primary: null }
          if (phase === 'steady' && epoch !== null && epoch > request.epoch && primary !== null)
            return { epoch, primary }
          lookedAt = performance.now()
        }
        await Promise.race([
          sleep(LOOK_EVERY_MS),
          new Promise<void>((resolve) => {
            wake = resolve
            if (events.length > 0) resolve()
          }),
        ])
      }
      throw new UnderstudyError('timeout', `it has not ended within ${DEADLINE_MS / 1_000} s`)
    },
  }
}

function endingIn(event: ClusterEvent, request: FollowRequest): Ending | null {
  if (event.kind === request.refusedKind && (event.epoch ?? 0) >= request.epoch)
    throw new UnderstudyError('refused', event.message)
  const { epoch = 0, details } = event
  if (event.kind !== 'primacy' || details?.['phase'] !== 'steady' || epoch <= request.epoch) return null
  return { epoch, primary: String(details['primary']) }
}

/** With the return of the old primary, when that comes soon. null: no agent knows of the epoch. */
export async function entryOf(nodes: readonly ResolvedNode[], epoch: number): Promise<HistoryEntry | null> {
  const deadlineAt = performance.now() + OLD_PRIMARY_MS
  for (;;) {
    const answers = await Promise.all(nodes.map((node) => askHistory(node, epoch)))
    const lists = answers.map((answer) => (answer.kind === 'ok' ? answer.value : []))
    const [entry = null] = mergeHistories(lists).filter((each) => each.epoch === epoch)
    if (entry !== null && isWhole(entry)) return entry
    if (performance.now() >= deadlineAt) return entry
    await sleep(HISTORY_EVERY_MS)
  }
}

function isWhole({ from, to, kind, phases }: HistoryEntry): boolean {
  const has = (name: string): boolean => phases.some((phase) => phase.name === name)
  // Whose votes were done without comes back some day, or never.
  return has('firstQuorumWrite') && (from === to || kind === 'manual' || has('oldPrimaryStreams'))
}
