/**
 * Whether a history could have happened on a cluster that keeps its promises (P1, P2). Pure: values in, violations out.
 *
 * What is always wrong: an acknowledged write that is missing, something that is there twice or that nobody wrote, a list whose order
 * contradicts what ended before what began, two nodes that acknowledged on one timeline, an acknowledgement by an old timeline of
 * something that began after a newer one had acknowledged, nodes that differ at the end.
 *
 * In async mode the end of a timeline may be lost with its primary. Then what is missing must be exactly such an end: nothing that was
 * acknowledged later on the same timeline may have survived.
 */
import type { FinalState, History, Operation, Reading } from './history.ts'

export type ViolationKind =
  /** Acknowledged, and not there (P1). */
  | 'lost'
  | 'duplicated'
  /** There, although it was never sent, or had certainly failed. */
  | 'phantom'
  | 'order'
  /** Two nodes acknowledged on one timeline, which belongs to one epoch and so to one primary. */
  | 'two-primaries'
  /** An old primary acknowledged what began when a newer one had acknowledged already (P2). */
  | 'stale-acknowledgement'
  /** A primary of a newer timeline did not show what had been acknowledged before. */
  | 'stale-reading'
  /** Shown to a reader, and gone afterwards. Never acknowledged, but somebody may have acted on it. */
  | 'lost-reading'
  | 'nodes-differ'

export interface Violation {
  readonly kind: ViolationKind
  readonly sentence: string
  /** The operation that it is about, when it is about one. */
  readonly operation: Operation | null
}

export interface Checked {
  readonly violations: readonly Violation[]
  /** Async mode: acknowledged, and lost as it may be there. */
  readonly exposed: readonly Operation[]
  readonly counts: Readonly<Record<Operation['outcome'], number>>
  /** Of the unknown ones, how many turned out to be there. */
  readonly unknownPresent: number
}

export function checkHistory(history: History): Checked {
  const { operations, finals } = history
  const primary = finals.find(({ role }) => role === 'primary') ?? finals[0]
  if (primary === undefined) throw new Error('a history needs a final state')
  const content = contentOf(primary)
  const missing = operations.filter(
    (operation) => operation.outcome === 'acknowledged' && !content.has(operation.value),
  )
  const exposed = history.durability === 'async' ? missing.filter(mayBeExposed(operations, content)) : []
  const excused = new Set(exposed)
  return {
    violations: [
      ...missing.filter((each) => !excused.has(each)).map(lost),
      ...duplicates(primary),
      ...phantoms(operations, primary),
      ...orderOf(operations, primary),
      ...acknowledgedByTwo(operations),
      ...staleAcknowledgements(history),
      ...readingsOf(history, primary, excused),
      ...differences(finals, primary),
    ],
    exposed,
    counts: {
      acknowledged: count(operations, 'acknowledged'),
      failed: count(operations, 'failed'),
      unknown: count(operations, 'unknown'),
    },
    unknownPresent: operations.filter((each) => each.outcome === 'unknown' && content.has(each.value)).length,
  }
}

/** What was shown to a reader before it was acknowledged and then went with its primary breaks no promise; it is counted and said. */
export function isBroken(violation: Violation): boolean {
  return violation.kind !== 'lost-reading'
}

function count(operations: readonly Operation[], outcome: Operation['outcome']): number {
  return operations.filter((each) => each.outcome === outcome).length
}

function contentOf(state: FinalState): ReadonlySet<number> {
  return new Set([...state.values, ...[...state.lists.values()].flat()])
}

function violation(kind: ViolationKind, sentence: string, operation: Operation | null = null): Violation {
  return { kind, sentence, operation }
}

function told(operation: Operation): string {
  const { kind, value, list, node, timelineId, startedAtMs, endedAtMs } = operation
  const what = list === null ? `${kind} of ${value}` : `${kind} of ${value} to list ${list}`
  return `${what} on ${node}, timeline ${timelineId ?? '?'}, from ${startedAtMs.toFixed(0)} to ${endedAtMs.toFixed(0)} ms`
}

function lost(operation: Operation): Violation {
  return violation('lost', `acknowledged, and missing: ${told(operation)}`, operation)
}

/** Nothing that the same timeline acknowledged afterwards has survived: then it is the end of a timeline that went with its primary. */
function mayBeExposed(
  operations: readonly Operation[],
  content: ReadonlySet<number>,
): (operation: Operation) => boolean {
  const lastSurvivor = new Map<number | null, number>()
  const newest = operations.reduce((highest, { timelineId }) => Math.max(highest, timelineId ?? 0), 0)
  for (const { outcome, value, timelineId, startedAtMs } of operations) {
    if (outcome !== 'acknowledged' || !content.has(value)) continue
    lastSurvivor.set(timelineId, Math.max(lastSurvivor.get(timelineId) ?? 0, startedAtMs))
  }
  return ({ timelineId, endedAtMs }) =>
    timelineId !== null && timelineId < newest && endedAtMs >= (lastSurvivor.get(timelineId) ?? 0)
}

function duplicates(state: FinalState): readonly Violation[] {
  const seen = new Set<number>()
  const twice = new Set<number>()
  for (const value of [...state.values, ...[...state.lists.values()].flat()]) {
    if (seen.has(value)) twice.add(value)
    seen.add(value)
  }
  return [...twice].map((value) => violation('duplicated', `${value} is there more than once`))
}

function phantoms(operations: readonly Operation[], state: FinalState): readonly Violation[] {
  const sent = new Map(operations.map((operation) => [operation.value, operation]))
  const places: readonly (readonly [number | null, readonly number[]])[] = [
    [null, state.values],
    ...state.lists,
  ]
  return places.flatMap(([list, values]) =>
    values.flatMap((value) => {
      const operation = sent.get(value)
      const where = list === null ? 'the table' : `list ${list}`
      if (operation === undefined)
        return [violation('phantom', `nobody wrote ${value}, which is in ${where}`)]
      if (operation.list !== list)
        return [
          violation('phantom', `it is in ${where}, and was not sent there: ${told(operation)}`, operation),
        ]
      if (operation.outcome !== 'failed') return []
      const sentence = `it failed (${operation.reason}), and is in ${where}: ${told(operation)}`
      return [violation('phantom', sentence, operation)]
    }),
  )
}

/** In each list, nothing stands before what had ended before it began. */
function orderOf(operations: readonly Operation[], state: FinalState): readonly Violation[] {
  const sent = new Map(operations.map((operation) => [operation.value, operation]))
  return [...state.lists].flatMap(([list, items]) => {
    const found: Violation[] = []
    let earliestEnd = Number.POSITIVE_INFINITY
    let endsFirst: Operation | null = null
    // From the end: whatever stands further on must not have ended before this one began.
    for (const value of [...items].reverse()) {
      const operation = sent.get(value)
      if (operation === undefined) continue
      if (endsFirst !== null && operation.startedAtMs > earliestEnd) {
        found.push(
          violation(
            'order',
            `in list ${list} ${value} stands before ${endsFirst.value}, which had been acknowledged before ${value} was sent`,
            operation,
          ),
        )
      }
      if (operation.outcome === 'acknowledged' && operation.endedAtMs < earliestEnd) {
        earliestEnd = operation.endedAtMs
        endsFirst = operation
      }
    }
    return found
  })
}

function acknowledgedByTwo(operations: readonly Operation[]): readonly Violation[] {
  const nodes = new Map<number, Operation>()
  const found = new Map<number, Violation>()
  for (const operation of operations) {
    if (operation.outcome !== 'acknowledged' || operation.timelineId === null) continue
    const first = nodes.get(operation.timelineId)
    if (first === undefined) nodes.set(operation.timelineId, operation)
    else if (first.node !== operation.node)
      found.set(
        operation.timelineId,
        violation(
          'two-primaries',
          `timeline ${operation.timelineId}: ${told(first)}, and ${told(operation)}`,
          operation,
        ),
      )
  }
  return [...found.values()]
}

/** Without acknowledgements by standbys only a lease ends an old primary, so there such an operation is counted as exposed if it is lost. */
function staleAcknowledgements({ durability, operations }: History): readonly Violation[] {
  if (durability === 'async') return []
  const acknowledged = operations.filter(
    ({ outcome, timelineId }) => outcome === 'acknowledged' && timelineId !== null,
  )
  const firstEnd = new Map<number, number>()
  for (const { timelineId, endedAtMs } of acknowledged) {
    const timeline = timelineId ?? 0
    firstEnd.set(timeline, Math.min(firstEnd.get(timeline) ?? Number.POSITIVE_INFINITY, endedAtMs))
  }
  return acknowledged.flatMap((operation) => {
    const newer = [...firstEnd].find(
      ([timelineId, endedAtMs]) =>
        timelineId > (operation.timelineId ?? 0) && endedAtMs < operation.startedAtMs,
    )
    if (newer === undefined) return []
    const sentence = `timeline ${newer[0]} had acknowledged at ${newer[1].toFixed(0)} ms already: ${told(operation)}`
    return [violation('stale-acknowledgement', sentence, operation)]
  })
}

/**
 * What a reader was shown must be the beginning of the list as it is at the end; and on a timeline it must hold whatever was acknowledged
 * before on this one or an older one. What an old primary shows to readers while it is cut off may be old (P2).
 */
function readingsOf(
  { durability, operations, readings }: History,
  final: FinalState,
  excused: ReadonlySet<Operation>,
): readonly Violation[] {
  const appended = new Map<number, Operation[]>()
  for (const operation of operations) {
    if (operation.list === null || operation.outcome !== 'acknowledged' || excused.has(operation)) continue
    const others = appended.get(operation.list)
    if (others === undefined) appended.set(operation.list, [operation])
    else others.push(operation)
  }
  return readings.flatMap((reading) => [
    // Without acknowledgements by standbys a reader is shown what may go with its primary.
    ...(durability === 'async' ? [] : notInFinal(reading, final.lists.get(reading.list) ?? [])),
    ...notShown(reading, appended.get(reading.list) ?? []),
  ])
}

function notInFinal(
  { list, items, node, timelineId, startedAtMs }: Reading,
  final: readonly number[],
): readonly Violation[] {
  const index = items.findIndex((value, at) => final[at] !== value)
  const value = items[index]
  if (value === undefined) return []
  const sentence = `${node}, timeline ${timelineId}, showed ${value} at place ${index} of list ${list} at ${startedAtMs.toFixed(0)} ms, where ${final[index] ?? 'nothing'} is at the end`
  return [violation('lost-reading', sentence)]
}

function notShown(reading: Reading, appended: readonly Operation[]): readonly Violation[] {
  const shown = new Set(reading.items)
  const before = appended.find(
    ({ value, endedAtMs, timelineId }) =>
      endedAtMs < reading.startedAtMs &&
      timelineId !== null &&
      timelineId <= reading.timelineId &&
      !shown.has(value),
  )
  if (before === undefined) return []
  const { node, timelineId, list, startedAtMs } = reading
  const sentence = `${node}, timeline ${timelineId}, did not show it in list ${list} at ${startedAtMs.toFixed(0)} ms: ${told(before)}`
  return [violation('stale-reading', sentence, before)]
}

function differences(finals: readonly FinalState[], primary: FinalState): readonly Violation[] {
  const writable = finals.filter(({ role }) => role === 'primary').map(({ node }) => node)
  const alone =
    writable.length === 1
      ? []
      : [
          violation(
            'nodes-differ',
            `${writable.length} nodes accept writes at the end: ${writable.join(', ')}`,
          ),
        ]
  const differing = finals
    .filter((each) => each !== primary)
    .flatMap((each) => {
      const facts: readonly (readonly [string, unknown, unknown])[] = [
        ['system identifier', each.systemIdentifier, primary.systemIdentifier],
        ['timeline', each.timelineId, primary.timelineId],
        ['checksum', each.checksum, primary.checksum],
      ]
      return facts
        .filter(([, own, expected]) => own !== expected)
        .map(([what, own, expected]) =>
          violation('nodes-differ', `${each.node} has ${what} ${own}, ${primary.node} has ${expected}`),
        )
    })
  return [...alone, ...differing]
}
