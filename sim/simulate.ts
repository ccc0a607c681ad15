/** One run: phases of faults, each followed by mending everything and looking that the cluster comes to rest by itself. */
import { Violation } from './checks.ts'
import { type Course, play } from './course.ts'
import { hopeless, unwell } from './health.ts'
import type { SimNode } from './node.ts'
import { type BrokenShell, type Decide, World } from './world.ts'

/** Clones, waits after failures and a stuck standby's patience fit in here several times. */
const HEALED_WITHIN_MS = 240_000
/** A healed cluster needs an election or two, and then no more. */
const EPOCHS_AFTER_HEALING = 12
const STEP_MS = 250
const RESTS_WITHIN_MS = 60_000

/** An operator has to say how it goes on: the run is over, and nothing was violated. */
class NeedsOperator extends Error {}

/** What a run breaks on purpose, and who hears of it. */
export type Broken = Pick<RunOptions, 'decide' | 'shell' | 'onTrace' | 'keep'>

export interface RunOptions {
  readonly seed: number
  readonly minutes: number
  readonly nodes: 3 | 5
  readonly durability: 'quorum' | 'async'
  readonly decide?: Decide
  readonly shell?: BrokenShell
  readonly onTrace?: (line: string) => void
  readonly keep?: number
}

export interface RunResult {
  readonly seed: number
  readonly simulatedMs: number
  readonly epochs: number
  readonly acknowledged: number
  readonly decisions: number
  readonly slowestHealingMs: number
  /** null: nothing was violated. */
  readonly violation: string | null
  /** What happened how often. */
  readonly counts: Readonly<Record<string, number>>
  readonly lines: readonly string[]
}

export function simulate(options: RunOptions): RunResult {
  return live(new World(options), options.seed, (world) => {
    if (world.random.chance(0.1)) beginFromNothing(world)
    else world.startSteady()
    world.clients.start(2)
    const endAtMs = options.minutes * 60_000
    let slowestHealingMs = awaitHealth(world, null)
    while (world.loop.now < endAtMs) slowestHealingMs = Math.max(slowestHealingMs, episode(world))
    return slowestHealingMs
  })
}

/** Instead of faults by chance those of the course, at its moments. */
export function simulateCourse(course: Course, broken: Broken = {}): RunResult {
  return live(new World({ ...course, ...broken }), course.seed, (world) => {
    if (course.empty === true) world.startEmpty()
    else world.startSteady()
    world.clients.start(2)
    if (course.empty !== true) awaitHealth(world, null)
    world.clients.pauseMs = 100
    play(world, course)
    world.clients.pauseMs = 600
    world.faults.heal()
    const healedAfterMs = awaitHealth(world, null)
    comeToRest(world)
    return healedAfterMs
  })
}

function live(world: World, seed: number, life: (world: World) => number): RunResult {
  let violation: string | null = null
  let slowestHealingMs = 0
  try {
    slowestHealingMs = life(world)
  } catch (error) {
    if (error instanceof NeedsOperator) world.count(`ended: ${error.message}`)
    else if (error instanceof Violation) violation = error.message
    else throw error
  }
  return {
    seed,
    simulatedMs: world.loop.now,
    epochs: world.store.primacy?.value.epoch ?? 0,
    acknowledged: world.checks.acknowledged,
    decisions: world.decisions,
    slowestHealingMs,
    violation,
    counts: Object.fromEntries(world.counts),
    lines: world.lines,
  }
}

/** Agents die while they make the cluster. */
function beginFromNothing(world: World): void {
  const { random, loop } = world
  world.startEmpty()
  world.crashesBetween = random.chance(0.7)
  world.crashesBetweenP = random.between(0.05, 0.9)
  loop.runUntil(loop.now + random.between(1_000, 20_000))
  world.faults.heal()
}

function episode(world: World): number {
  const { random, loop } = world
  world.crashesBetween = random.chance(0.4)
  world.crashesBetweenP = random.between(0.005, 0.06)
  world.clients.pauseMs = random.chance(0.3) ? 100 : 700
  world.faults.begin(random.between(800, 15_000))
  loop.runUntil(loop.now + random.between(10_000, 120_000))
  world.clients.pauseMs = 600
  // With one node that does not come back the others must do, unless another one has lost what it had.
  if (random.chance(0.3) && !world.faults.hadLoss && world.store.forgot === null) healWithoutOne(world)
  world.faults.heal()
  const healedAfterMs = awaitHealth(world, null)
  comeToRest(world)
  return healedAfterMs
}

function healWithoutOne(world: World): void {
  const dead = world.random.pick(world.nodes)
  world.count('went on with one node dead')
  world.dead = dead
  world.faults.heal(dead)
  awaitHealth(world, dead)
  world.dead = null
}

/** Nobody writes for a while: then everybody must have the same, and all that was acknowledged. */
function comeToRest(world: World): void {
  const { loop, checks, clients, nodes } = world
  clients.stop()
  const since = loop.now
  let why: string | null = 'not looked yet'
  while (why !== null && loop.now - since < RESTS_WITHIN_MS) {
    loop.runUntil(loop.now + STEP_MS)
    why = unwell(world, null) ?? checks.atRest(nodes)
  }
  if (why !== null) checks.fail('progress', `${RESTS_WITHIN_MS / 1_000} s after the last write: ${why}`)
  world.count('came to rest with the same everywhere')
  world.disksLost.clear()
  world.statesLost.clear()
  clients.start(2)
}

/** Well, and well for some time, with commits acknowledged meanwhile. */
function awaitHealth(world: World, dead: SimNode | null): number {
  const { loop, checks, clients } = world
  const since = loop.now
  const epoch = Math.max(world.store.truth?.epoch ?? 0, world.store.primacy?.value.epoch ?? 0)
  let wellSince = Number.POSITIVE_INFINITY
  while (loop.now - since < HEALED_WITHIN_MS) {
    loop.runUntil(loop.now + STEP_MS)
    if ((world.store.primacy?.value.epoch ?? 0) > epoch + EPOCHS_AFTER_HEALING)
      checks.fail(
        'progress',
        `${EPOCHS_AFTER_HEALING} epochs after everything was mended there are still more`,
      )
    if (unwell(world, dead) !== null) wellSince = Number.POSITIVE_INFINITY
    else wellSince = Math.min(wellSince, loop.now)
    if (loop.now - wellSince >= 5_000 && clients.lastAcknowledgedAtMs > wellSince) return wellSince - since
  }
  const lost = hopeless(world)
  if (lost !== null) throw new NeedsOperator(lost)
  return checks.fail(
    'progress',
    `${HEALED_WITHIN_MS / 1_000} s after everything was mended: ${unwell(world, dead) ?? 'no commit is acknowledged'}`,
  )
}
