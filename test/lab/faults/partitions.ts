/** Networks that part, in every shape: nodes from nodes, from the store, from the clients; both ways or one, silently or with a reset. */
import type { Lab } from '../lab.ts'
import { CLIENTS, type Cut, cutBetween, cutBoth } from '../network.ts'
import {
  type Chance,
  drawSilenceMs,
  drawTarget,
  type FaultKind,
  NEVER_MISSING,
  nodeOfTarget,
  type PlannedFault,
} from './fault.ts'

interface Shape {
  readonly what: string
  readonly cuts: readonly Cut[]
}

interface Around {
  readonly target: string
  readonly primary: string
  readonly standbys: readonly string[]
  /** Nodes other than the target. */
  readonly others: readonly string[]
  readonly store: readonly string[]
  readonly how: Cut['how']
  readonly drawn: PlannedFault['with']
}

type DrawMore = (chance: Chance, nodes: number) => PlannedFault['with']

function parting(
  name: string,
  weight: number,
  shape: (around: Around) => Shape,
  more: DrawMore = () => ({}),
): FaultKind {
  return {
    name,
    weight,
    missing: ({ nodes }) => (nodes < 2 ? 'there is only one node' : null),
    plan: (chance, { rtoMs, nodes }) => ({
      target: drawTarget(chance),
      forMs: drawSilenceMs(chance, rtoMs),
      with: { how: chance.chance(0.75) ? 'drop' : 'reject', ...more(chance, nodes) },
    }),
    inject: async (lab, planned) => {
      const { what, cuts } = shape(await lookAround(lab, planned))
      const heal = await lab.part(cuts)
      return { what: `${what}${planned.with['how'] === 'reject' ? ', with a reset' : ''}`, heal }
    },
  }
}

async function lookAround(lab: Lab, planned: PlannedFault): Promise<Around> {
  const names = lab.nodes.map(({ name }) => name)
  const target = await nodeOfTarget(lab, planned.target)
  const primary = planned.target === 'primary' ? target : await nodeOfTarget(lab, 'primary')
  return {
    ...{ target, primary },
    standbys: names.filter((name) => name !== primary),
    others: names.filter((name) => name !== target),
    store: lab.store.members,
    how: planned.with['how'] === 'reject' ? 'reject' : 'drop',
    drawn: planned.with,
  }
}

const isolate = parting('isolate-node', 5, ({ target, others, store, how }) => ({
  what: `${target} from nodes, store and clients`,
  cuts: cutBetween([target], [...others, ...store, CLIENTS], how),
}))

/** The worst one for an old primary: those who write to it do not notice. */
const isolateWithClients = parting('isolate-node-with-clients', 4, ({ target, others, store, how }) => ({
  what: `${target} from nodes and store, not from the clients`,
  cuts: cutBetween([target], [...others, ...store], how),
}))

const fromStandbys = parting('primary-from-standbys', 4, ({ primary, standbys, how }) => ({
  what: `${primary} from ${standbys.join(', ')}, not from the store`,
  cuts: cutBetween([primary], standbys, how),
}))

const fromStore = parting('node-from-store', 4, ({ target, store, how }) => ({
  what: `${target}`,
  cuts: cutBetween([target], store, how),
}))

const fromOneMember = parting(
  'node-from-store-member',
  2,
  ({ target, store, how, drawn }) => {
    const member = store[Number(drawn['member']) % store.length] ?? ''
    return { what: `${target} from ${member}`, cuts: cutBoth(target, member, how) }
  },
  (chance) => ({ member: chance.int(3) }),
)

const standbyFromPrimary = parting('standby-from-primary', 3, ({ primary, target, standbys, how }) => {
  const standby = target === primary ? (standbys[0] ?? '') : target
  return { what: `${standby} from ${primary}`, cuts: cutBoth(primary, standby, how) }
})

const standbysFromEachOther = parting('standbys-from-each-other', 2, ({ primary, standbys, how }) => ({
  what: `all but ${primary}`,
  cuts: standbys.flatMap((a, index) => standbys.slice(index + 1).flatMap((b) => cutBoth(a, b, how))),
}))

const fromClients = parting('node-from-clients', 1, ({ target, how }) => ({
  what: target,
  cuts: cutBoth(target, CLIENTS, how),
}))

/** The store's majority is on one side, by chance; so the other one has no store. */
const halves = parting(
  'halves',
  3,
  ({ target, others, store, how, drawn }) => {
    const left = [target, ...others.slice(0, Number(drawn['beside']))]
    const right = others.slice(Number(drawn['beside']))
    const members =
      drawn['store'] === 'left' ? [store.slice(0, 2), store.slice(2)] : [store.slice(2), store.slice(0, 2)]
    return {
      what: `${[...left, ...(members[0] ?? [])].join(', ')} | ${[...right, ...(members[1] ?? [])].join(', ')}`,
      cuts: cutBetween([...left, ...(members[0] ?? [])], [...right, ...(members[1] ?? [])], how),
    }
  },
  (chance, nodes) => ({ beside: chance.int(nodes - 1), store: chance.pick(['left', 'right']) }),
)

/** Everybody reaches only the next and the one before; with three nodes that cuts nothing, so there one pair is cut. */
const ring = parting('ring', 1, ({ primary, standbys, how }) => {
  const names = [primary, ...standbys]
  const pairs = names.flatMap((a, i) =>
    names.slice(i + 1).map((b, k) => [a, b, k + 1, names.length] as const),
  )
  const apart = pairs.filter(([, , distance, size]) => distance > 1 && distance < size - 1)
  const cut = apart.length > 0 ? apart : pairs.slice(-1)
  return {
    what: cut.map(([a, b]) => `${a} from ${b}`).join(', '),
    cuts: cut.flatMap(([a, b]) => cutBoth(a, b, how)),
  }
})

const oneWay = parting(
  'one-way',
  4,
  ({ target, others, store, drawn }) => {
    const groups: Readonly<Record<string, readonly string[]>> = {
      nodes: others,
      store,
      all: [...others, ...store],
      one: others.slice(0, 1),
    }
    const far = groups[String(drawn['far'])] ?? others
    const sends = drawn['direction'] === 'out'
    return {
      what: sends ? `what ${target} sends to ${far.join(', ')}` : `what ${far.join(', ')} send to ${target}`,
      cuts: far.map(
        (each): Cut =>
          sends ? { from: target, to: each, how: 'drop' } : { from: each, to: target, how: 'drop' },
      ),
    }
  },
  (chance) => ({ far: chance.pick(['nodes', 'store', 'all', 'one']), direction: chance.pick(['in', 'out']) }),
)

/** A cable with a loose contact: cut and mended many times. */
const flapping: FaultKind = {
  name: 'flapping',
  weight: 2,
  missing: NEVER_MISSING,
  plan: (chance, { rtoMs }) => ({
    target: drawTarget(chance),
    forMs: chance.between(2_000, 3 * rtoMs + 2_000),
    with: { onMs: Math.round(chance.between(50, rtoMs)), offMs: Math.round(chance.between(50, 800)) },
  }),
  inject: async (lab, planned) => {
    const { target, others, store } = await lookAround(lab, planned)
    const cuts = cutBetween([target], [...others, ...store], 'drop')
    const ended = new AbortController()
    const flap = async (): Promise<void> => {
      while (!ended.signal.aborted) {
        const mend = await lab.part(cuts)
        await pause(Number(planned.with['onMs']), ended.signal)
        await mend()
        await pause(Number(planned.with['offMs']), ended.signal)
      }
    }
    const done = flap()
    return {
      what: `${target}: ${planned.with['onMs']} ms cut, ${planned.with['offMs']} ms not`,
      heal: async () => {
        ended.abort()
        await done
      },
    }
  },
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal.addEventListener('abort', done)
  })
}

export const partitionFaults: readonly FaultKind[] = [
  isolate,
  isolateWithClients,
  fromStandbys,
  fromStore,
  fromOneMember,
  standbyFromPrimary,
  standbysFromEachOther,
  fromClients,
  halves,
  ring,
  oneWay,
  flapping,
]
