/**
 * Faults as values. A kind knows how to draw one from chance (`plan`: only names and numbers, so that it can be written down and replayed)
 * and how to do it to a lab (`inject`), which says what was done to whom and how it is undone.
 */
import type { Lab } from '../lab.ts'

/** Who it happens to, by role at the moment when it is injected. */
export type Target = 'primary' | 'standby' | 'other-standby'

export interface PlannedFault {
  readonly kind: string
  readonly target: Target
  /** When the round begins, plus this. */
  readonly atMs: number
  /** Until it is healed. */
  readonly forMs: number
  /** Whatever else the kind has drawn. */
  readonly with: Readonly<Record<string, string | number>>
}

export interface InjectedFault {
  /** What was done, and to whom: continues the kind's name. */
  readonly what: string
  /** Must work whatever else has happened in between. */
  heal(): Promise<void>
}

/** What a lab has, and so which faults can be injected. */
export interface Surroundings {
  readonly nodes: number
  readonly rtoMs: number
  readonly storeMembers: number
  readonly canFill: boolean
  readonly canFreezeDisk: boolean
  readonly canStepClock: boolean
  readonly canDelay: boolean
}

/** Where chance comes from: sim/random.ts. */
export interface Chance {
  chance(probability: number): boolean
  int(below: number): number
  between(low: number, high: number): number
  pick<T>(list: readonly T[]): T
}

export interface FaultKind {
  readonly name: string
  /** How often it comes, against the others. */
  readonly weight: number
  /** Why it cannot be injected there; null: it can. */
  missing(surroundings: Surroundings): string | null
  plan(chance: Chance, surroundings: Surroundings): Pick<PlannedFault, 'target' | 'forMs' | 'with'>
  inject(lab: Lab, planned: PlannedFault): Promise<InjectedFault>
}

export const NEVER_MISSING = (): null => null

/** More often the primary: most of what can go wrong is about it. */
export function drawTarget(chance: Chance): Target {
  return chance.chance(0.5) ? 'primary' : chance.pick(['standby', 'other-standby'] as const)
}

/** Shorter than the detection, about as long, or much longer than it and every lease. */
export function drawSilenceMs(chance: Chance, rtoMs: number): number {
  if (chance.chance(0.3)) return chance.between(100, 0.8 * rtoMs)
  if (chance.chance(0.3)) return chance.between(0.8 * rtoMs, 1.5 * rtoMs)
  return chance.between(1.5 * rtoMs, 4 * rtoMs + 2_000)
}

export function drawAbsenceMs(chance: Chance): number {
  return chance.chance(0.5) ? chance.between(50, 1_500) : chance.between(1_500, 9_000)
}

/** The node that the target means now. Without a known primary the first node is taken for it: a fault is never left out. */
export async function nodeOfTarget(lab: Lab, target: Target): Promise<string> {
  const names = lab.nodes.map(({ name }) => name)
  const primary = (await lab.primary()) ?? names[0] ?? ''
  const standbys = names.filter((name) => name !== primary)
  if (target === 'primary') return primary
  return (target === 'standby' ? standbys[0] : standbys.at(-1)) ?? primary
}
