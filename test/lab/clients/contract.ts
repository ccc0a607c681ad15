/**
 * What clients of the proxy may be told when the primary changes (docs/proxy.md), checked against what they were told. Every session keeps its
 * connection: one that ends is a breach, too. Pure.
 */
import type { Operation } from './history.ts'

/** own: of the server, and it would have said it without a proxy; patience: the client did not wait any longer. */
export type Told = 'lost' | 'inDoubt' | 'heldTooLong' | 'queueFull' | 'own' | 'patience'

const TOLD: readonly (readonly [RegExp, Told])[] = [
  [/^40001: the transaction was lost/, 'lost'],
  [/^08007: /, 'inDoubt'],
  [/^57P03: no primary took the statement/, 'heldTooLong'],
  [/^53300: \d+ clients wait/, 'queueFull'],
  [/^40001: could not serialize/, 'own'],
  [/^40P01: /, 'own'],
  [/^no such list$/, 'own'],
  [/^no answer within \d+ ms$/, 'patience'],
]

export interface ContractResult {
  readonly counts: Readonly<Record<Told, number>>
  readonly breaches: readonly string[]
}

/** `planned`: the primary was changed by switchovers and by nothing else, which no client may notice except by the time that it takes. */
export function checkContract(operations: readonly Operation[], planned: boolean): ContractResult {
  const counts: Record<Told, number> = {
    lost: 0,
    inDoubt: 0,
    heldTooLong: 0,
    queueFull: 0,
    own: 0,
    patience: 0,
  }
  const breaches: string[] = []
  for (const operation of operations) {
    if (operation.outcome === 'acknowledged') continue
    const told = toldOf(operation.reason)
    if (told !== null) counts[told]++
    if (told === null || (planned && told !== 'own')) breaches.push(breachOf(operation))
  }
  return { counts, breaches }
}

/** null: nothing that the contract names. */
function toldOf(reason: string): Told | null {
  return TOLD.find(([pattern]) => pattern.test(reason))?.[1] ?? null
}

function breachOf({ value, kind, outcome, reason, startedAtMs, endedAtMs }: Operation): string {
  return `${kind} of ${value}, ${outcome} after ${(endedAtMs - startedAtMs).toFixed(0)} ms: ${reason}`
}
