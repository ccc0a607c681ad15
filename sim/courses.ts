/** Lives that chance does not write within a sweep: each brings a cluster to the one moment at which a rule of docs/failover.md matters. */
import {
  after,
  type Course,
  callFalseAlarm,
  cut,
  mend,
  now,
  pauseFailover,
  rules,
  type Step,
  steadyIn,
} from './course.ts'
import { STORE } from './network.ts'
import { killPostgres, promoteByHand } from './postgres.ts'

/** As soon as every process of its server goes by `names`. */
function goesBy(name: string, names: string): Step['when'] {
  return (world) => {
    const { run } = world.node(name)
    if (run === null || run.names !== names || run.namesOfCheckpointer !== names) return false
    return [...run.walsenders.values()].every((each) => each.names === names)
  }
}

export const COURSES = {
  theBeginningIsInterrupted: {
    tells:
      'the agent that begins the cluster is killed in the moment in which its data directory has got its name',
    seed: 1,
    nodes: 3,
    durability: 'quorum',
    empty: true,
    steps: [
      {
        when: ({ nodes }) => nodes.some(({ disk }) => disk.present),
        does: (world) => {
          for (const node of world.nodes) if (node.disk.present) world.faults.crashAgent(node, 'killed', 500)
        },
      },
    ],
  },
  aRuleIsGivenUp: {
    tells:
      'the rule changes to one more standby, both standbys are cut off, and when it is given up after 15 s the agent freezes and only the new standby comes back',
    seed: 1,
    nodes: 3,
    durability: 'quorum',
    settings: { rtoMs: 1_000, whenStandbyLost: 'relax', unequal: false },
    steps: [
      { when: now, does: (world) => cut(world, 'c', ['a', 'b']) },
      {
        when: rules('1{b}'),
        does: (world) => {
          pauseFailover(world)
          mend(world, 'c', ['a', 'b'])
        },
      },
      {
        when: (world, sinceMs) =>
          rules('1{b}>1{b,c}')(world, sinceMs) && goesBy('a', 'ANY 1 ("b", "c")')(world, sinceMs),
        does: (world) => cut(world, 'a', ['b', 'c']),
      },
      {
        when: rules('1{b}'),
        orAfterMs: 25_000,
        does: (world) => {
          world.faults.freezeAgent(world.node('a'), 20_000)
          mend(world, 'a', ['c'])
        },
      },
      { when: after(10_000) },
    ],
  },
  aRewoundStandbyAcknowledges: {
    tells:
      'a rewound standby streams and has not replayed enough to let readers in when the other standby is cut off, clients write, and the primary loses its power',
    seed: 1,
    nodes: 3,
    durability: 'quorum',
    settings: { rtoMs: 1_000, whenStandbyLost: 'relax', canRewind: true, unequal: false },
    steps: [
      {
        when: now,
        does: (world) => {
          cut(world, 'a', ['b', 'c'])
          world.faults.freezeAgent(world.node('a'), 60_000)
        },
      },
      {
        when: steadyIn(2),
        does: (world) => {
          mend(world, 'a', ['b', 'c'])
          world.faults.wake(world.node('a'))
        },
      },
      {
        when: (world) => {
          const { state, run } = world.node('a')
          return state.sentinel?.finished === true && run?.status === 'starting' && run.walreceiver !== null
        },
        does: (world) => {
          world.faults.freezeProcess(world.node('a'), 'startup', 60_000)
          cut(world, 'c', ['a', 'b'])
        },
      },
      {
        when: after(3_000),
        does: (world) => {
          mend(world, 'c', ['a', 'b'])
          world.faults.powerOff(world.node('b'), 60_000)
        },
      },
      { when: after(30_000) },
    ],
  },
  aFencedStandbyForgets: {
    tells:
      'a standby votes while the old primary hears of no election, then it loses its PostgreSQL and its state directory, and the store is out of its reach',
    seed: 1,
    nodes: 3,
    durability: 'quorum',
    settings: { rtoMs: 3_000, whenStandbyLost: 'relax', unequal: false },
    steps: [
      {
        when: now,
        does: (world) => {
          cut(world, 'a', [STORE])
          callFalseAlarm(world, world.node('b'))
        },
      },
      {
        when: (world) => world.store.ballots.some((each) => each.node === 'b' && each.epoch === 2),
        does: (world) => {
          const b = world.node('b')
          cut(world, 'b', [STORE])
          killPostgres(world, b)
          world.faults.loseState(b)
        },
      },
      { when: after(20_000) },
    ],
  },
  theOnlyOtherCopyIsPromotedByHand: {
    tells:
      'one standby alone has acknowledged, somebody promotes it by hand, and the primary loses its power while the other standby comes back',
    seed: 1,
    nodes: 3,
    durability: 'quorum',
    settings: { rtoMs: 1_000, whenStandbyLost: 'block', canRewind: true, unequal: false },
    steps: [
      { when: now, does: (world) => cut(world, 'c', ['a', 'b']) },
      {
        when: after(3_000),
        does: (world) => {
          promoteByHand(world, world.node('b'))
          world.faults.powerOff(world.node('a'), 40_000)
          mend(world, 'c', ['a', 'b'])
        },
      },
      { when: after(30_000) },
    ],
  },
} as const satisfies Readonly<Record<string, Course>>

export type CourseName = keyof typeof COURSES
