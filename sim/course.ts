/**
 * Directed runs: faults at given moments of a life, where chance would meet them once in thousands of hours. It is the same world with the
 * same checks, the same seed gives the same run, and at its end everything is mended and the cluster must come to rest by itself.
 */
import { callElection } from '../src/core/rules/election.ts'
import type { SimNode } from './node.ts'
import type { Settings, World } from './world.ts'

export interface Step {
  /** Looked at after every event; `sinceMs`: of the step before. */
  readonly when: (world: World, sinceMs: number) => boolean
  readonly does?: (world: World) => void
  /** So long the moment is waited for, which perhaps only a broken decision has; without it a moment that does not come fails the run. */
  readonly orAfterMs?: number
}

export interface Course {
  readonly tells: string
  readonly seed: number
  readonly nodes: 3 | 5
  readonly durability: 'quorum' | 'async'
  readonly settings?: Settings
  /** There is no cluster yet; otherwise there is one, and it is well. */
  readonly empty?: boolean
  readonly steps: readonly Step[]
}

const MOMENT_WITHIN_MS = 120_000

export function play(world: World, { steps }: Course): void {
  const { loop } = world
  for (const [at, { when, does, orAfterMs }] of steps.entries()) {
    const sinceMs = loop.now
    const came = loop.runUntilTrue(() => when(world, sinceMs), sinceMs + (orAfterMs ?? MOMENT_WITHIN_MS))
    if (!came && orAfterMs === undefined)
      world.checks.fail('course', `the moment of step ${at + 1} does not come`)
    world.trace('course', `STEP ${at + 1}`, came ? '' : 'its moment did not come')
    does?.(world)
  }
}

// ---- moments

export const now = (): boolean => true

export function after(ms: number): Step['when'] {
  return ({ loop }, sinceMs) => loop.now >= sinceMs + ms
}

/** The rules in the store: as `1{b,c}`, the one that is being changed to behind `>`. */
export function rules(text: string): Step['when'] {
  return ({ store }) => {
    const primacy = store.primacy?.value
    if (primacy === undefined || primacy.phase !== 'steady') return false
    const all = [...primacy.rules, ...(primacy.nextRule === null ? [] : [primacy.nextRule])]
    return all.map(({ acks, standbys }) => `${acks}{${standbys}}`).join('>') === text
  }
}

export function steadyIn(epoch: number): Step['when'] {
  return ({ store }) => store.primacy?.value.epoch === epoch && store.primacy.value.phase === 'steady'
}

// ---- faults

export function cut(world: World, name: string, others: readonly string[]): void {
  for (const other of others) {
    world.network.cut(name, other)
    world.network.cut(other, name)
  }
  world.trace('network', 'CUT', `${name} from ${others}`)
}

export function mend(world: World, name: string, others: readonly string[]): void {
  for (const other of others) {
    world.network.mend(name, other)
    world.network.mend(other, name)
  }
  world.trace('network', 'MENDED', `${name} with ${others}`)
}

export function pauseFailover(world: World): void {
  world.store.paused = { reason: 'a course', by: 'an operator', at: '' }
}

/** An election that nobody needs, as an operator or a false alarm begins it. */
export function callFalseAlarm(world: World, by: SimNode): void {
  const { primacy } = world.store
  const action = primacy === null ? null : callElection(primacy, by.name, 'a false alarm')
  if (action?.kind === 'writePrimacy') world.store.writePrimacy(action.primacy, action.expected, by.name)
}
