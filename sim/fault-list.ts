/** What goes wrong, and how often. A fault that does not apply to the node that chance gave it says `false`, and is not counted. */
import { callElection } from '../src/core/rules/election.ts'
import { emptyStore, restoreStore } from './lost-store.ts'
import { CLIENT, STORE } from './network.ts'
import type { SimNode } from './node.ts'
import { crashRestart, killPostgres, type Process } from './postgres.ts'
import { removeOldWal } from './replication.ts'
import type { World } from './world.ts'

type Fault = (world: World, node: SimNode, other: SimNode) => unknown

export const FAULTS: readonly (readonly [weight: number, name: string, fault: Fault])[] = [
  [14, 'agent killed', (world, node) => world.faults.crashAgent(node, 'killed')],
  [12, 'PostgreSQL killed', kill],
  [6, 'backend crashed', backendCrash],
  [10, 'machine lost power', powerOff],
  [6, 'agent and PostgreSQL killed', killNode],
  [7, 'machine frozen', (world, node) => world.faults.freezeNode(node, pause(world))],
  [3, 'machine suspended, its clock too', (world, node) => world.faults.suspend(node, pause(world))],
  [6, 'PostgreSQL frozen', (world, node) => world.faults.freezePostgres(node, pause(world))],
  [4, 'postmaster frozen', freezePostmaster],
  [6, 'one process of PostgreSQL frozen', freezeProcess],
  [3, 'disk full', fillDisk],
  [7, 'agent frozen', (world, node) => world.faults.freezeAgent(node, pause(world))],
  [12, 'two nodes cut from each other', part],
  [6, 'one way cut between two nodes', partOneWay],
  [6, 'node isolated', isolate],
  [3, 'cluster split in two', split],
  [2, 'only neighbours reach each other', ring],
  [4, 'node cut from the store', cutFromStore],
  [3, 'one way cut between node and store', cutFromStoreOneWay],
  [3, 'clients cut from a node', cutFromClients],
  [3, 'store down', storeDown],
  [2, 'store flapping', storeFlapping],
  [2, 'store answers late', storeSlow],
  [2, 'network slow', networkSlow],
  [3, 'clock leaps', leap],
  [2, 'old WAL removed', removeWal],
  [6, 'switchover asked for', requestSwitchover],
  [2, 'failover paused', pauseFailover],
  [2, 'election called by an operator', callByOperator],
  [2, 'reinit asked for', (world, node) => world.faults.reinit(node)],
  [2, 'several operators at once', severalOperators],
  [2, 'disk lost', (world, node) => world.faults.loseDisk(node)],
  [2, 'state directory lost', (world, node) => world.faults.loseState(node)],
  [2, 'store restored from an old copy', (world) => restoreStore(world)],
  [1, 'store emptied', (world) => emptyStore(world)],
]

function pause(world: World): number {
  return world.random.delay(50, 6_000, 40_000, 0.2)
}

function mendLater(world: World, work: () => void): void {
  world.loop.after(world.random.delay(200, 10_000, 90_000, 0.15), work)
}

function kill(world: World, node: SimNode): unknown {
  if (node.run === null) return false
  world.trace(node.name, 'KILL-PG', '')
  killPostgres(world, node)
  return true
}

function backendCrash(world: World, node: SimNode): unknown {
  if (node.run === null || node.run.status !== 'ready') return false
  world.trace(node.name, 'BACKEND-CRASH', '')
  crashRestart(world, node)
  return true
}

function powerOff(world: World, node: SimNode): unknown {
  return world.faults.powerOff(node, world.random.delay(500, 8_000, 90_000, 0.2))
}

/** Agent and PostgreSQL together; the machine lives and refuses connections. */
function killNode(world: World, node: SimNode): unknown {
  kill(world, node)
  return world.faults.crashAgent(node, 'killed with PostgreSQL')
}

function freezePostmaster(world: World, node: SimNode): unknown {
  const { run } = node
  if (run === null || node.postmasterFrozen) return false
  const ms = pause(world)
  world.trace(node.name, 'FREEZE-PM', `for ${Math.round(ms)} ms`)
  node.postmasterFrozen = true
  world.loop.after(ms, () => {
    if (node.run !== run || !node.postmasterFrozen) return
    world.trace(node.name, 'THAW-PM', '')
    node.postmasterFrozen = false
    node.agent.postgresChanged()
  })
  return true
}

function freezeProcess(world: World, node: SimNode): unknown {
  const { run } = node
  if (run === null) return false
  const senders = [...run.walsenders.keys()].map((name): Process => `walsender ${name}`)
  const own: readonly Process[] = run.inRecovery ? ['startup', 'walreceiver'] : ['checkpointer']
  return world.faults.freezeProcess(node, world.random.pick([...senders, ...own]), pause(world))
}

/** No space left for WAL: PostgreSQL panics, and cannot be started until there is some again. */
function fillDisk(world: World, node: SimNode): unknown {
  if (node.diskFull) return false
  world.trace(node.name, 'DISK-FULL', '')
  node.diskFull = true
  if (node.run !== null) killPostgres(world, node)
  mendLater(world, () => {
    node.diskFull = false
  })
  return true
}

type Way = readonly [from: string, to: string]

function cut(world: World, ways: readonly Way[], what: string): void {
  world.trace('network', 'CUT', what)
  for (const [from, to] of ways) world.network.cut(from, to)
  mendLater(world, () => {
    for (const [from, to] of ways) world.network.mend(from, to)
  })
}

function both(a: string, b: string): readonly Way[] {
  return [
    [a, b],
    [b, a],
  ]
}

function part(world: World, node: SimNode, other: SimNode): void {
  cut(world, both(node.name, other.name), `${node.name} <> ${other.name}`)
}

function partOneWay(world: World, node: SimNode, other: SimNode): void {
  cut(world, [[node.name, other.name]], `${node.name} > ${other.name}`)
}

/** From all nodes; perhaps from the store and the clients too. */
function isolate(world: World, node: SimNode): void {
  const { random, nodes } = world
  const parties = nodes.filter((each) => each !== node).map((each) => each.name)
  if (random.chance(0.6)) parties.push(STORE)
  if (random.chance(0.3)) parties.push(CLIENT)
  const ways = parties.flatMap((each) => both(node.name, each))
  cut(world, ways, `${node.name} from ${parties.join(', ')}`)
}

/** The store is reached from one side, or from both. */
function split(world: World): void {
  const { random, nodes } = world
  const left = nodes.filter(() => random.chance(0.5)).map((each) => each.name)
  const right = nodes.map((each) => each.name).filter((name) => !left.includes(name))
  const ways = left.flatMap((a) => right.flatMap((b) => both(a, b)))
  const without = random.chance(0.6) ? random.pick([left, right]) : []
  cut(world, [...ways, ...without.flatMap((a) => both(a, STORE))], `${left} <> ${right}`)
}

function ring(world: World): unknown {
  const { nodes } = world
  if (nodes.length < 5) return false
  const ways = nodes.flatMap((a) =>
    nodes
      .filter((b) => Math.abs(a.index - b.index) % (nodes.length - 1) > 1)
      .map((b): Way => [a.name, b.name]),
  )
  cut(world, ways, 'all but neighbours')
  return true
}

function cutFromStore(world: World, node: SimNode): void {
  cut(world, both(node.name, STORE), `${node.name} <> store`)
}

function cutFromStoreOneWay(world: World, node: SimNode): void {
  const way: Way = world.random.chance(0.5) ? [node.name, STORE] : [STORE, node.name]
  cut(world, [way], way.join(' > '))
}

function cutFromClients(world: World, node: SimNode): void {
  cut(world, [[CLIENT, node.name]], `clients > ${node.name}`)
}

function storeDown(world: World): unknown {
  if (!world.store.up) return false
  world.store.stop()
  mendLater(world, () => world.store.start())
  return true
}

/** A member after the other restarts: each time everybody's requests are lost and the leases begin anew. */
function storeFlapping(world: World): unknown {
  if (!world.store.up) return false
  const { random, loop, store } = world
  let times = 2 + random.int(5)
  const once = (): void => {
    if (times-- <= 0) return
    store.stop()
    loop.after(random.between(50, 2_500), () => {
      store.start()
      loop.after(random.between(100, 3_000), once)
    })
  }
  once()
  return true
}

function storeSlow(world: World): void {
  world.trace('store', 'SLOW', '')
  world.store.slow = true
  mendLater(world, () => {
    world.store.slow = false
  })
}

function networkSlow(world: World): void {
  world.trace('network', 'SLOW', '')
  world.network.slow = true
  mendLater(world, () => {
    world.network.slow = false
  })
}

function leap(world: World, node: SimNode): void {
  const ms = world.random.delay(500, 20_000, 3_600_000, 0.2)
  world.trace(node.name, 'CLOCK-LEAP', `by ${Math.round(ms)} ms`)
  node.clock.leap(ms)
}

/** More of it than max_slot_wal_keep_size allows to be kept for who is away. */
function removeWal(world: World, node: SimNode): unknown {
  if (!node.disk.present || node.disk.flushed < 10) return false
  world.trace(node.name, 'WAL-REMOVED', '')
  removeOldWal(world, node)
  return true
}

// ---- operators

function requestSwitchover(world: World, node: SimNode): void {
  const { store } = world
  if (store.switchover !== null) world.count('switchover asked for while another is')
  world.trace('operator', 'SWITCHOVER', `to ${node.name}`)
  const { primacy } = store
  if (primacy === null) return
  const { epoch, primary } = primacy.value
  const { session } = world.node(primary).agent
  store.switchover = {
    value: { to: node.name, epoch, session, at: null, by: 'an operator', requestedAt: '' },
    revision: store.nextRevision(),
  }
  store.tellWatchers('requests')
}

function pauseFailover(world: World): void {
  world.trace('operator', 'PAUSE', '')
  world.store.paused = { reason: 'an operator said so', by: 'an operator', at: '' }
  mendLater(world, () => {
    world.store.paused = null
  })
}

/** `failover`, or a false alarm: an election that nobody needs, by the agent of any node that reaches the store. */
function callByOperator(world: World, node: SimNode): unknown {
  const { store } = world
  const { agent } = node
  if (!agent.alive || agent.frozen || agent.knows.lastView?.store.kind === 'stale') return false
  world.trace('operator', 'FAILOVER', `through ${node.name}`)
  agent.request(
    () => {
      if (store.primacy === null) return
      const action = callElection(store.primacy, node.name, 'an operator said so')
      if (action.kind === 'writePrimacy') store.writePrimacy(action.primacy, action.expected, node.name)
    },
    () => {},
  )
  return true
}

function severalOperators(world: World, node: SimNode, other: SimNode): void {
  requestSwitchover(world, node)
  requestSwitchover(world, other)
  if (world.random.chance(0.5)) callByOperator(world, other)
  if (world.random.chance(0.3)) pauseFailover(world)
  if (world.random.chance(0.3)) world.faults.reinit(other)
}
