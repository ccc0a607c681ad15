/**
 * The store is restored from an old copy, or emptied; some time later an operator has what the nodes know put back, by the same plan as
 * `understudy recover-store`. What no protocol survives is left out: a store that forgets what only those nodes know that are not asked.
 */
import { overlaps, rulesToSatisfy } from '../src/core/election.ts'
import { doubtOf } from '../src/core/knowledge.ts'
import { type MemberKnowledge, planRecovery } from '../src/core/store-recovery.ts'
import { timersOf } from '../src/core/timers.ts'
import { STORE } from './network.ts'
import type { SimNode } from './node.ts'
import type { Copy } from './store.ts'
import type { World } from './world.ts'

const ASK_AGAIN_MS = 1_500

export function restoreStore(world: World): unknown {
  const { copies } = world.store
  if (copies.length === 0) return false
  return replace(world, world.random.pick(copies))
}

export function emptyStore(world: World): unknown {
  return replace(world, null)
}

function replace(world: World, copy: Copy | null): unknown {
  const { store, random, loop } = world
  if (!store.up || store.forgot !== null || store.primacy === null || !isSurvivable(world, copy)) return false
  const what = copy === null ? 'emptied' : `as it was in epoch ${copy.primacy.value.epoch}`
  world.trace('store', 'RESTORED', what)
  store.replace(copy)
  loop.after(random.delay(200, 5_000, 20_000, 0.1), () => store.start())
  loop.after(random.delay(500, 20_000, 60_000, 0.2), () => ask(world))
  return true
}

/** Whoever could act on the copy, because it knows of nothing newer, must not be enough for anything. */
function isSurvivable(world: World, copy: Copy | null): boolean {
  const unaware = world.nodes.filter(({ state }) => {
    const facts = { primacy: copy?.primacy ?? null, identity: copy?.identity ?? null, stale: null }
    return state.owed === null || doubtOf(facts, state.owed, state.promised) === null
  })
  if (world.nodes.some(({ state }) => state.owed === null)) return false
  if (copy === null || unaware.length === 0) return true
  const { primacy, ballots } = copy
  const voted = ballots.filter(({ epoch }) => epoch === primacy.value.epoch).map(({ node }) => node)
  const voters = new Set([...unaware.map(({ name }) => name), ...voted])
  return !overlaps(rulesToSatisfy(primacy.value), voters, new Set(world.nodes.map(({ name }) => name)))
}

/** Until it is done. Nobody is left out: a member that does not answer is waited for. */
function ask(world: World): void {
  const { store, loop } = world
  if (store.forgot === null) return
  loop.after(ASK_AGAIN_MS, () => ask(world))
  const through = world.nodes.find((node) => answers(node) && reachesStore(world, node))
  if (through === undefined || !store.up) return
  const asked = world.nodes.filter((node) => answers(node) && connects(world, through, node))
  const plan = planRecovery({
    self: through.name,
    members: world.members.map(({ name }) => name),
    answers: new Map(asked.map((node) => [node.name, knowledgeOf(node)])),
    store: {
      primacy: store.primacy,
      identity: store.identity,
      stale: store.stale,
      leaseHolder: store.leaseHolder(),
    },
    without: [],
    acceptDataLoss: false,
    by: 'an operator',
    reason: null,
    id: `${world.nextId()}`,
  })
  const refused = plan.checks.find(({ result }) => result === 'failed')
  if (refused !== undefined || plan.document === null) {
    world.trace('operator', 'NOT-RECOVERED', refused?.message ?? '')
    if (refused?.code === 'nothing-to-recover') world.checks.fail('progress', refused.message)
    return
  }
  const { document, leaseHolder } = plan
  const expected = store.primacy?.revision ?? null
  through.agent.request(
    () => {
      const ttlMs = timersOf(world.rtoMs).primaryLeaseMs
      const lease = leaseHolder === null ? null : { holder: leaseHolder, ttlMs }
      return store.recover(
        world.shell.recoversOnlyTheEpoch ? olden(world, document) : document,
        lease,
        expected,
      )
    },
    () => {},
  )
}

/** Broken on purpose: what the store still knew is trusted, in a new epoch. */
function olden(world: World, document: NonNullable<ReturnType<typeof planRecovery>['document']>) {
  const old = world.store.primacy?.value
  if (old === undefined) return document
  return { ...document, primacy: { ...document.primacy, rules: rulesToSatisfy(old) } }
}

function answers({ agent, machineUp }: SimNode): boolean {
  return machineUp && agent.alive && !agent.frozen && agent.knows.lastView !== null
}

function reachesStore({ network }: World, { name }: SimNode): boolean {
  return network.passes(name, STORE) && network.passes(STORE, name)
}

function connects({ network }: World, a: SimNode, b: SimNode): boolean {
  return a === b || network.connects(a.name, b.name)
}

function knowledgeOf({ name, state, agent, disk }: SimNode): MemberKnowledge {
  return {
    name,
    promisedEpoch: state.promised,
    known: agent.knows.known,
    systemIdentifier: disk.present ? disk.systemIdentifier : null,
    timelineId: disk.present ? disk.timelineId() : null,
  }
}
