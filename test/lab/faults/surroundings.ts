/** What a node depends on: the store, its disk, its clock, a network that is fast. */
import { CLIENTS, type Delay } from '../network.ts'
import {
  drawAbsenceMs,
  drawSilenceMs,
  drawTarget,
  type FaultKind,
  NEVER_MISSING,
  nodeOfTarget,
} from './fault.ts'

/** One, most of them or all; of an embedded store the only one. */
function storeFault(name: string, weight: number, how: 'kill' | 'freeze'): FaultKind {
  return {
    name,
    weight,
    missing: NEVER_MISSING,
    plan: (chance, { rtoMs, storeMembers }) => ({
      target: 'primary',
      forMs: how === 'kill' ? drawAbsenceMs(chance) : drawSilenceMs(chance, rtoMs),
      with: { first: chance.int(storeMembers), count: 1 + chance.int(storeMembers) },
    }),
    inject: async (lab, { with: drawn }) => {
      const { members } = lab.store
      const hit = members.map((_, index) => members[(Number(drawn['first']) + index) % members.length] ?? '')
      const some = hit.slice(0, Number(drawn['count']))
      if (how === 'freeze') for (const member of some) lab.store.freeze(member)
      else await Promise.all(some.map((member) => lab.store.kill(member)))
      return {
        what: some.join(', '),
        heal: async () => {
          if (how === 'freeze') for (const member of some) lab.store.thaw(member)
          else lab.store.start(...some)
        },
      }
    },
  }
}

/** What WAL segments are there already can still be written: so a few of them are used up. */
const SWITCHES = 4

const fullDisk: FaultKind = {
  name: 'full-disk',
  weight: 3,
  missing: ({ canFill }) => (canFill ? null : 'only root can mount a small disk'),
  plan: (chance) => ({
    target: drawTarget(chance),
    forMs: chance.between(1_000, 10_000),
    with: { leaveKb: chance.pick([0, 0, 64, 20_000]) },
  }),
  inject: async (lab, { target, with: drawn }) => {
    const node = lab.node(await nodeOfTarget(lab, target))
    const primary = await nodeOfTarget(lab, 'primary')
    await node.fillDisk(1_024 * Number(drawn['leaveKb']))
    void useUpSegments((text) => lab.sql(primary, text))
    return {
      what: `of ${node.name}, but for ${drawn['leaveKb']} kB`,
      heal: async () => node.freeDisk(),
    }
  },
}

/** Shorter than rto as well, when nothing may come of it. */
const hangingDisk: FaultKind = {
  name: 'hanging-disk',
  weight: 4,
  missing: ({ canFreezeDisk }) =>
    canFreezeDisk ? null : 'the disks are not of blocks (--disks blocks, which only root can mount)',
  plan: (chance, { rtoMs }) => ({
    target: drawTarget(chance),
    forMs: drawSilenceMs(chance, rtoMs),
    with: {},
  }),
  inject: async (lab, { target }) => {
    const node = lab.node(await nodeOfTarget(lab, target))
    await node.freezeDisk()
    return { what: `of ${node.name}`, heal: () => node.thawDisk() }
  },
}

async function useUpSegments(sql: (text: string) => Promise<unknown>): Promise<void> {
  try {
    for (let i = 0; i < SWITCHES; i++) {
      await sql('SELECT pg_switch_wal()')
      await new Promise((resolve) => setTimeout(resolve, 150))
    }
  } catch {
    // The primary has died of it, which is what was wanted.
  }
}

const HOUR_SECONDS = 3_600

const clockStep: FaultKind = {
  name: 'clock-step',
  weight: 2,
  missing: ({ canStepClock }) => (canStepClock ? null : 'faketime is not installed (apt install faketime)'),
  plan: (chance) => ({
    target: drawTarget(chance),
    forMs: chance.between(1_500, 8_000),
    with: {
      seconds: Math.round(
        chance.pick([-1, 1]) * chance.pick([chance.between(1, 30), chance.between(60, 12 * HOUR_SECONDS)]),
      ),
    },
  }),
  inject: async (lab, { target, with: drawn }) => {
    const node = lab.node(await nodeOfTarget(lab, target))
    node.stepClock(Number(drawn['seconds']))
    return { what: `of ${node.name}'s agent by ${drawn['seconds']} s`, heal: async () => node.stepClock(0) }
  },
}

const slowNetwork: FaultKind = {
  name: 'slow-network',
  weight: 3,
  missing: ({ canDelay }) => (canDelay ? null : 'not everything goes through proxies'),
  plan: (chance, { rtoMs }) => ({
    target: drawTarget(chance),
    forMs: drawSilenceMs(chance, rtoMs),
    with: {
      ms: Math.round(
        chance.pick([chance.between(5, 50), chance.between(50, 400), chance.between(400, rtoMs)]),
      ),
    },
  }),
  inject: async (lab, { target, with: drawn }) => {
    const name = await nodeOfTarget(lab, target)
    const far = [...lab.nodes.map((node) => node.name), ...lab.store.members, CLIENTS].filter(
      (each) => each !== name,
    )
    const ms = Number(drawn['ms'])
    lab.network.delay(
      far.flatMap((each): readonly Delay[] => [
        { from: name, to: each, ms },
        { from: each, to: name, ms },
      ]),
    )
    return { what: `around ${name} by ${ms} ms each way`, heal: async () => lab.network.delay([]) }
  },
}

export const surroundingFaults: readonly FaultKind[] = [
  storeFault('kill-store', 3, 'kill'),
  storeFault('freeze-store', 3, 'freeze'),
  fullDisk,
  hangingDisk,
  clockStep,
  slowNetwork,
]
