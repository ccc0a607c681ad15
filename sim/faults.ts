/** What goes wrong, at random: processes die and freeze, networks part, the store stumbles, disks are lost, operators ask for things. */

import { freshDisk } from './bootstrap.ts'
import { CLIENT, STORE } from './network.ts'
import { emptyState, type SimNode } from './node.ts'
import { crashRestart, killPostgres, losePower } from './postgres.ts'
import { refreshContacts } from './replication.ts'
import type { World } from './world.ts'

type Fault = (world: World, node: SimNode, other: SimNode) => void

const FAULTS: readonly (readonly [weight: number, fault: Fault])[] = [
  [14, (world, node) => world.faults.crashAgent(node, 'killed')],
  [12, (world, node) => kill(world, node)],
  [6, (world, node) => backendCrash(world, node)],
  [10, (world, node) => world.faults.powerOff(node, world.random.delay(500, 8_000, 90_000, 0.2))],
  [6, (world, node) => killNode(world, node)],
  [7, (world, node) => world.faults.freezeNode(node, pause(world))],
  [6, (world, node) => world.faults.freezePostgres(node, pause(world))],
  [4, (world, node) => freezePostmaster(world, node, pause(world))],
  [3, (world, node) => fillDisk(world, node)],
  [7, (world, node) => world.faults.freezeAgent(node, pause(world))],
  [12, (world, node, other) => part(world, node, other)],
  [6, (world, node) => isolate(world, node)],
  [6, (world, node) => cutFromStore(world, node)],
  [3, (world, node) => cutFromClients(world, node)],
  [3, (world) => storeDown(world)],
  [2, (world) => storeSlow(world)],
  [2, (world) => networkSlow(world)],
  [6, (world, node) => requestSwitchover(world, node)],
  [2, (world) => pauseFailover(world)],
  [2, (world, node) => world.faults.loseDisk(node)],
  [2, (world, node) => world.faults.loseState(node)],
]

const TOTAL = FAULTS.reduce((sum, [weight]) => sum + weight, 0)

function pause(world: World): number {
  return world.random.delay(50, 6_000, 40_000, 0.2)
}

export class Faults {
  readonly #world: World
  #active = false
  #meanMs = 5_000

  constructor(world: World) {
    this.#world = world
  }

  begin(meanMs: number): void {
    this.#active = true
    this.#meanMs = meanMs
    this.#next()
  }

  #next(): void {
    const { loop, random } = this.#world
    loop.after(random.exponential(this.#meanMs), () => {
      if (!this.#active) return
      this.#one()
      // Troubles come together.
      while (random.chance(0.3)) this.#one()
      this.#next()
    })
  }

  #one(): void {
    const world = this.#world
    const { random, nodes } = world
    const primary = nodes.find((each) => each.name === world.store.primacy?.value.primary)
    const node = primary !== undefined && random.chance(0.35) ? primary : random.pick(nodes)
    const other = random.pick(nodes.filter((each) => each !== node))
    let ticket = random.int(TOTAL)
    for (const [weight, fault] of FAULTS) {
      ticket -= weight
      if (ticket < 0) {
        fault(world, node, other)
        return
      }
    }
  }

  /** Everything is mended, everybody is started; what is on the disks stays as it is. */
  heal(): void {
    const world = this.#world
    this.#active = false
    world.trace('faults', 'HEAL', '')
    world.crashesBetween = false
    world.store.up = true
    world.store.slow = false
    world.store.paused = null
    world.network.mendAll()
    for (const node of world.nodes) {
      this.wake(node)
      node.machineUp = true
      node.postmasterFrozen = false
      node.diskFull = false
      node.agent.boot()
    }
    refreshContacts(world)
  }

  rebootSoon(node: SimNode): void {
    const { loop, random } = this.#world
    this.#world.checks.unwatched(node)
    loop.after(random.delay(50, 1_500, 20_000, 0.1), () => {
      this.#world.checks.unwatched(node)
      if (node.machineUp) node.agent.boot()
    })
  }

  crashAgent(node: SimNode, why: string): void {
    if (!node.agent.alive) return
    node.agent.crash(why)
    this.rebootSoon(node)
  }

  powerOff(node: SimNode, ms: number): void {
    const world = this.#world
    if (!node.machineUp) return
    world.trace(node.name, 'POWER-OFF', `for ${Math.round(ms)} ms`)
    node.machineUp = false
    node.postgresFrozen = false
    losePower(world, node)
    node.agent.crash('no power')
    world.checks.unwatched(node)
    world.loop.after(ms, () => {
      node.machineUp = true
      refreshContacts(world)
      node.agent.boot()
    })
  }

  freezePostgres(node: SimNode, ms: number): void {
    const world = this.#world
    if (node.run === null || node.postgresFrozen) return
    const { run } = node
    world.trace(node.name, 'FREEZE-PG', `for ${Math.round(ms)} ms`)
    node.postgresFrozen = true
    refreshContacts(world)
    world.loop.after(ms, () => {
      if (node.run === run) this.#thawPostgres(node)
    })
  }

  #thawPostgres(node: SimNode): void {
    if (!node.postgresFrozen) return
    const world = this.#world
    world.trace(node.name, 'THAW-PG', '')
    node.postgresFrozen = false
    const work = node.deferred
    node.deferred = []
    for (const each of work) world.loop.after(world.random.between(0, 3), each)
    refreshContacts(world)
    node.agent.postgresChanged()
  }

  freezeAgent(node: SimNode, ms: number): void {
    const world = this.#world
    const { agent } = node
    if (!agent.alive || agent.frozen) return
    world.trace(node.name, 'FREEZE-AGENT', `for ${Math.round(ms)} ms`)
    agent.freeze()
    world.checks.unwatched(node)
    const { incarnation } = agent
    world.loop.after(ms, () => {
      world.checks.unwatched(node)
      if (agent.incarnation !== incarnation) return
      if (agent.frozen) world.trace(node.name, 'THAW-AGENT', '')
      agent.thaw()
    })
  }

  freezeNode(node: SimNode, ms: number): void {
    this.freezePostgres(node, ms + this.#world.random.between(-20, 20))
    this.freezeAgent(node, ms)
  }

  wake(node: SimNode): void {
    if (node.postgresFrozen) this.#thawPostgres(node)
    if (node.agent.frozen) {
      this.#world.checks.unwatched(node)
      node.agent.thaw()
    }
  }

  /** One disk a run, never a primary's: more would be a loss that nothing can prevent. */
  loseDisk(node: SimNode): void {
    const world = this.#world
    const primacy = world.store.primacy?.value
    if (world.diskWasLost || primacy?.primary === node.name || primacy?.phase !== 'steady') return
    world.diskWasLost = true
    world.trace(node.name, 'DISK-LOST', '')
    node.postgresFrozen = false
    losePower(world, node)
    node.disk = freshDisk(node.disk)
    node.disk.passfiles.clear()
    node.state = emptyState()
    node.votedIn = 0
    world.stateWasLost.add(node.name)
    this.crashAgent(node, 'its disk was lost')
  }

  loseState(node: SimNode): void {
    const world = this.#world
    if (world.stateWasLost.has(node.name) || node.state.sentinel !== null) return
    if (world.durability === 'async') return
    world.stateWasLost.add(node.name)
    world.trace(node.name, 'STATE-LOST', '')
    killPostgres(world, node)
    node.state = emptyState()
    this.crashAgent(node, 'its state directory was lost')
  }
}

function kill(world: World, node: SimNode): void {
  if (node.run === null) return
  world.trace(node.name, 'KILL-PG', '')
  node.postgresFrozen = false
  killPostgres(world, node)
}

function backendCrash(world: World, node: SimNode): void {
  if (node.run === null || node.run.status !== 'ready') return
  world.trace(node.name, 'BACKEND-CRASH', '')
  crashRestart(world, node)
}

function freezePostmaster(world: World, node: SimNode, ms: number): void {
  const { run } = node
  if (run === null || node.postmasterFrozen) return
  world.trace(node.name, 'FREEZE-PM', `for ${Math.round(ms)} ms`)
  node.postmasterFrozen = true
  world.loop.after(ms, () => {
    if (node.run !== run || !node.postmasterFrozen) return
    world.trace(node.name, 'THAW-PM', '')
    node.postmasterFrozen = false
    node.agent.postgresChanged()
  })
}

/** No space left for WAL: PostgreSQL panics, and cannot be started until there is some again. */
function fillDisk(world: World, node: SimNode): void {
  if (node.diskFull) return
  world.trace(node.name, 'DISK-FULL', '')
  node.diskFull = true
  kill(world, node)
  mendLater(world, () => {
    node.diskFull = false
  })
}

/** Agent and PostgreSQL together; the machine lives and refuses connections. */
function killNode(world: World, node: SimNode): void {
  kill(world, node)
  world.faults.crashAgent(node, 'killed with PostgreSQL')
}

function mendLater(world: World, work: () => void): void {
  world.loop.after(world.random.delay(200, 10_000, 90_000, 0.15), work)
}

function part(world: World, node: SimNode, other: SimNode): void {
  const both = world.random.chance(0.6)
  world.trace('network', 'CUT', `${node.name} ${both ? '<>' : '>'} ${other.name}`)
  world.network.cut(node.name, other.name)
  if (both) world.network.cut(other.name, node.name)
  mendLater(world, () => {
    world.network.mend(node.name, other.name)
    world.network.mend(other.name, node.name)
  })
}

/** From all nodes; perhaps from the store and the clients too. */
function isolate(world: World, node: SimNode): void {
  const { network, random, nodes } = world
  const parties = nodes.filter((each) => each !== node).map((each) => each.name)
  if (random.chance(0.6)) parties.push(STORE)
  if (random.chance(0.3)) parties.push(CLIENT)
  world.trace('network', 'ISOLATE', `${node.name} from ${parties.join(', ')}`)
  for (const each of parties) {
    network.cut(node.name, each)
    network.cut(each, node.name)
  }
  mendLater(world, () => {
    for (const each of parties) {
      network.mend(node.name, each)
      network.mend(each, node.name)
    }
  })
}

function cutFromStore(world: World, node: SimNode): void {
  const { network, random } = world
  const way = random.int(3)
  world.trace('network', 'CUT', `${node.name} and the store${way === 0 ? '' : ', one way'}`)
  if (way !== 1) network.cut(node.name, STORE)
  if (way !== 2) network.cut(STORE, node.name)
  mendLater(world, () => {
    network.mend(node.name, STORE)
    network.mend(STORE, node.name)
  })
}

function cutFromClients(world: World, node: SimNode): void {
  world.network.cut(CLIENT, node.name)
  mendLater(world, () => world.network.mend(CLIENT, node.name))
}

function storeDown(world: World): void {
  world.trace('store', 'DOWN', '')
  world.store.up = false
  mendLater(world, () => {
    if (world.store.up) return
    world.trace('store', 'UP', '')
    world.store.up = true
    world.store.restart()
  })
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

function requestSwitchover(world: World, node: SimNode): void {
  const { primacy } = world.store
  if (world.store.switchover !== null || primacy === null) return
  world.trace('operator', 'SWITCHOVER', `to ${node.name}`)
  world.store.switchover = {
    value: {
      to: node.name,
      epoch: primacy.value.epoch,
      session: world.node(primacy.value.primary).agent.session,
      at: null,
      by: 'an operator',
      requestedAt: '',
    },
    revision: world.store.nextRevision(),
  }
  world.store.tellWatchers('requests')
}

function pauseFailover(world: World): void {
  world.trace('operator', 'PAUSE', '')
  world.store.paused = { reason: 'an operator said so', by: 'an operator', at: '' }
  mendLater(world, () => {
    world.store.paused = null
  })
}
