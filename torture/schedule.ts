/**
 * Which faults happen when: drawn round by round from the seed, as values that can be written down and read back. Several may overlap; and
 * some are placed so that they hit what the one before has just begun: a clone, a rewind, a switchover, an election.
 */
import { readFileSync } from 'node:fs'
import { Random } from '../sim/random.ts'
import { FAULTS } from '../test/lab/faults/catalogue.ts'
import type { FaultKind, PlannedFault, Surroundings } from '../test/lab/faults/fault.ts'

export interface PlannedRound {
  readonly round: number
  readonly faults: readonly PlannedFault[]
}

/** The primary changes because it was asked to, and for no other reason. */
export function isPlanned({ faults }: PlannedRound): boolean {
  return faults.every(({ kind }) => kind === 'switchover')
}

/** Most rounds have one or two, some more. */
const ANOTHER = 0.45
const MOST = 5

/** What takes a while, so that a second fault can hit it in the middle. */
const OPENINGS = new Set([
  'switchover',
  'reinit',
  'kill-node',
  'kill-postgres',
  'restart-node',
  'isolate-node-with-clients',
])

export class Schedule {
  readonly #random: Random
  readonly #kinds: readonly FaultKind[]
  readonly #surroundings: Surroundings

  /** `names`: only these; null: all that can be injected there. Errors: one of `names` cannot. */
  constructor(seed: number, surroundings: Surroundings, names: readonly string[] | null) {
    this.#random = new Random(seed)
    this.#surroundings = surroundings
    const wanted = FAULTS.filter(({ name }) => names === null || names.includes(name))
    for (const kind of names === null ? [] : wanted) {
      const missing = kind.missing(surroundings)
      if (missing !== null) throw new Error(`${kind.name} cannot be injected here: ${missing}`)
    }
    this.#kinds = wanted.filter((kind) => kind.missing(surroundings) === null)
  }

  next(round: number): PlannedRound {
    const random = this.#random
    const faults: PlannedFault[] = []
    let atMs = random.between(300, 1_200)
    do {
      faults.push(this.#draw(atMs))
      const opens = OPENINGS.has(faults.at(-1)?.kind ?? '')
      atMs += opens && random.chance(0.6) ? random.between(0, 900) : random.between(0, 4_000)
    } while (faults.length < MOST && random.chance(ANOTHER))
    return { round, faults }
  }

  #draw(atMs: number): PlannedFault {
    const total = this.#kinds.reduce((sum, { weight }) => sum + weight, 0)
    let ticket = this.#random.int(total)
    for (const kind of this.#kinds) {
      ticket -= kind.weight
      if (ticket >= 0) continue
      const { target, forMs, with: drawn } = kind.plan(this.#random, this.#surroundings)
      return { kind: kind.name, target, atMs: Math.round(atMs), forMs: Math.round(forMs), with: drawn }
    }
    throw new Error('there is no fault to draw from')
  }
}

/** One round as a line, which `--replay` reads back. */
export function printRound(planned: PlannedRound): string {
  return JSON.stringify(planned)
}

export function readRounds(file: string): readonly PlannedRound[] {
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => JSON.parse(line) as PlannedRound)
}
