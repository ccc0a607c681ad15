/** One run: phases of faults, each followed by mending everything and looking that the cluster comes to rest by itself. */
import { Violation } from './checks.ts'
import { type Decide, World } from './world.ts'

/** Clones, waits after failures and a stuck standby's patience fit in here several times. */
const HEALED_WITHIN_MS = 240_000
/** A healed cluster needs an election or two, and then no more. */
const EPOCHS_AFTER_HEALING = 12
const STEP_MS = 250

export interface RunOptions {
  readonly seed: number
  readonly minutes: number
  readonly nodes: 3 | 5
  readonly durability: 'quorum' | 'async'
  readonly decide?: Decide
  readonly keepsPassfiles?: boolean
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
  readonly lines: readonly string[]
}

export function simulate(options: RunOptions): RunResult {
  const world = new World(options)
  let violation: string | null = null
  let slowestHealingMs = 0
  try {
    if (world.random.chance(0.1)) world.startEmpty()
    else world.startSteady()
    world.clients.start(2)
    const endAtMs = options.minutes * 60_000
    slowestHealingMs = awaitHealth(world)
    while (world.loop.now < endAtMs) slowestHealingMs = Math.max(slowestHealingMs, episode(world))
  } catch (error) {
    if (!(error instanceof Violation)) throw error
    violation = error.message
  }
  return {
    seed: options.seed,
    simulatedMs: world.loop.now,
    epochs: world.store.primacy?.value.epoch ?? 0,
    acknowledged: world.checks.acknowledged,
    decisions: world.decisions,
    slowestHealingMs,
    violation,
    lines: world.lines,
  }
}

function episode(world: World): number {
  const { random, loop } = world
  world.crashesBetween = random.chance(0.4)
  world.crashesBetweenP = random.between(0.005, 0.06)
  world.clients.pauseMs = random.chance(0.3) ? 100 : 700
  world.faults.begin(random.between(800, 15_000))
  loop.runUntil(loop.now + random.between(10_000, 120_000))
  world.faults.heal()
  world.clients.pauseMs = 600
  return awaitHealth(world)
}

/** Well, and well for some time, with commits acknowledged meanwhile. */
function awaitHealth(world: World): number {
  const { loop, checks, clients } = world
  const since = loop.now
  const epoch = world.store.primacy?.value.epoch ?? 0
  let wellSince = Number.POSITIVE_INFINITY
  while (loop.now - since < HEALED_WITHIN_MS) {
    loop.runUntil(loop.now + STEP_MS)
    if ((world.store.primacy?.value.epoch ?? 0) > epoch + EPOCHS_AFTER_HEALING)
      checks.fail(
        'progress',
        `${EPOCHS_AFTER_HEALING} epochs after everything was mended there are still more`,
      )
    if (checks.unwell() !== null) wellSince = Number.POSITIVE_INFINITY
    else wellSince = Math.min(wellSince, loop.now)
    if (loop.now - wellSince >= 5_000 && clients.lastAcknowledgedAtMs > wellSince) return wellSince - since
  }
  return checks.fail(
    'progress',
    `${HEALED_WITHIN_MS / 1_000} s after everything was mended: ${checks.unwell() ?? 'no commit is acknowledged'}`,
  )
}
