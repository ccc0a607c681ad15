/** Faults over time, and what they do to a node: its processes die and freeze, its power, its disk or its state directory is lost. */
import { refusalOf } from '../src/core/check.ts'
import { reinitChecks } from '../src/core/reinit-checks.ts'
import { freshDisk } from './bootstrap.ts'
import { FAULTS } from './fault-list.ts'
import { emptyState, type PostgresRun, type SimNode } from './node.ts'
import { killPostgres, losePower, type Process } from './postgres.ts'
import { refreshContacts } from './replication.ts'
import type { World } from './world.ts'

const TOTAL = FAULTS.reduce((sum, [weight]) => sum + weight, 0)

export class Faults {
  readonly #world: World
  #active = false
  #meanMs = 5_000
  /** One loss of what can be lost once: together with a second one at the same time nothing could be promised. */
  #lossAllowed = true

  constructor(world: World) {
    this.#world = world
  }

  begin(meanMs: number): void {
    this.#active = true
    this.#meanMs = meanMs
    this.#lossAllowed = true
    this.#next()
  }

  /** Whether a disk was lost since the beginning. */
  get hadLoss(): boolean {
    return !this.#lossAllowed
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
    for (const [weight, name, fault] of FAULTS) {
      ticket -= weight
      if (ticket >= 0) continue
      const phase = world.store.primacy?.value.phase ?? 'no cluster'
      if (fault(world, node, other) === false) return
      world.count(`fault: ${name}`)
      world.count(`faults while ${phase}`)
      return
    }
  }

  /** Everything is mended and started, but for one that stays as it is; what is on the disks stays too. */
  heal(dead: SimNode | null = null): void {
    const world = this.#world
    this.#active = false
    world.trace('faults', 'HEAL', dead === null ? '' : `all but ${dead.name}`)
    world.crashesBetween = false
    world.store.start()
    world.store.slow = false
    world.store.paused = null
    world.network.mendAll()
    for (const node of world.nodes) if (node !== dead) this.#mend(node)
    if (dead !== null) this.#die(dead)
    refreshContacts(world)
  }

  #mend(node: SimNode): void {
    this.wake(node)
    node.machineUp = true
    node.postmasterFrozen = false
    node.diskFull = false
    node.agent.boot()
  }

  #die(node: SimNode): void {
    const world = this.#world
    node.machineUp = false
    losePower(world, node)
    node.agent.crash('for good')
  }

  rebootSoon(node: SimNode): void {
    const { loop, random } = this.#world
    this.#world.checks.unwatched(node)
    loop.after(random.delay(50, 1_500, 20_000, 0.1), () => {
      this.#world.checks.unwatched(node)
      if (node.machineUp) node.agent.boot()
    })
  }

  crashAgent(node: SimNode, why: string): unknown {
    if (!node.agent.alive) return false
    node.agent.crash(why)
    this.rebootSoon(node)
    return true
  }

  powerOff(node: SimNode, ms: number): unknown {
    const world = this.#world
    if (!node.machineUp) return false
    world.trace(node.name, 'POWER-OFF', `for ${Math.round(ms)} ms`)
    node.machineUp = false
    losePower(world, node)
    node.agent.crash('no power')
    node.clock.reboot(world.loop.now)
    world.checks.unwatched(node)
    world.loop.after(ms, () => {
      if (world.dead === node) return
      node.machineUp = true
      refreshContacts(world)
      node.agent.boot()
    })
    return true
  }

  freezePostgres(node: SimNode, ms: number): unknown {
    const world = this.#world
    if (node.run === null || node.postgresFrozen) return false
    const { run } = node
    world.trace(node.name, 'FREEZE-PG', `for ${Math.round(ms)} ms`)
    node.postgresFrozen = true
    refreshContacts(world)
    world.loop.after(ms, () => {
      if (node.run === run) this.#thawPostgres(node)
    })
    return true
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

  freezeProcess(node: SimNode, process: Process, ms: number): unknown {
    const world = this.#world
    const { run } = node
    if (run === null || run.stuck.has(process)) return false
    world.trace(node.name, 'FREEZE-PROCESS', `${process} for ${Math.round(ms)} ms`)
    run.stuck.set(process, [])
    world.loop.after(ms, () => this.#thawProcess(node, run, process))
    return true
  }

  #thawProcess(node: SimNode, run: PostgresRun, process: string): void {
    const work = run.stuck.get(process) ?? []
    run.stuck.delete(process)
    if (node.run !== run) return
    this.#world.trace(node.name, 'THAW-PROCESS', process)
    for (const each of work) this.#world.loop.after(this.#world.random.between(0, 3), each)
    node.agent.postgresChanged()
  }

  freezeAgent(node: SimNode, ms: number): unknown {
    const world = this.#world
    const { agent } = node
    if (!agent.alive || agent.frozen) return false
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
    return true
  }

  freezeNode(node: SimNode, ms: number): unknown {
    const postgres = this.freezePostgres(node, ms + this.#world.random.between(-20, 20))
    const agent = this.freezeAgent(node, ms)
    return postgres === true || agent === true
  }

  /** As a virtual machine that is paused: it does not know afterwards. */
  suspend(node: SimNode, ms: number): unknown {
    const { loop } = this.#world
    if (node.postgresFrozen || node.agent.frozen || !node.machineUp) return false
    // Before anything that wakes up then looks at it.
    node.clock.stop(loop.now)
    loop.after(Math.max(0, ms - 20), () => node.clock.goOn(loop.now))
    this.freezeNode(node, ms)
    return true
  }

  wake(node: SimNode): void {
    node.clock.goOn(this.#world.loop.now)
    if (node.postgresFrozen) this.#thawPostgres(node)
    const { run } = node
    for (const process of run === null ? [] : [...run.stuck.keys()]) {
      if (run !== null) this.#thawProcess(node, run, process)
    }
    if (node.agent.frozen) {
      this.#world.checks.unwatched(node)
      node.agent.thaw()
    }
  }

  /** The primary's as well. Sometimes the state directory is on another one. */
  loseDisk(node: SimNode): unknown {
    const world = this.#world
    if (!this.#lossAllowed || !node.disk.present || world.store.forgot !== null) return false
    this.#lossAllowed = false
    const primary = world.store.primacy?.value.primary === node.name
    world.trace(node.name, 'DISK-LOST', primary ? 'of the primary' : '')
    if (primary) world.count('disk of the primary lost')
    losePower(world, node)
    this.forgetData(node)
    node.disk.passfiles.clear()
    if (world.random.chance(0.6)) this.#forgetState(node)
    node.agent.crash('its disk was lost')
    this.rebootSoon(node)
    return true
  }

  forgetData(node: SimNode): void {
    this.#world.disksLost.add(node.name)
    node.disk = freshDisk(node.disk)
    node.lostData = true
  }

  #forgetState(node: SimNode): void {
    node.state = emptyState()
    node.votedIn = 0
    this.#world.statesLost.add(node.name)
  }

  /**
   * Not while a rewind is under way: the sentinel goes with it, and nobody could know that the data directory is half of one and half of
   * another. PostgreSQL may go on running meanwhile.
   */
  loseState(node: SimNode): unknown {
    const world = this.#world
    if (node.state.sentinel !== null || node.agent.tasks.has('rewind') || world.store.forgot !== null)
      return false
    world.trace(node.name, 'STATE-LOST', '')
    if (world.random.chance(0.5) && node.run !== null) killPostgres(world, node)
    const { votedIn } = node
    this.#forgetState(node)
    // What it voted still stands, although it does not know.
    node.votedIn = votedIn
    node.agent.crash('its state directory was lost')
    this.rebootSoon(node)
    return true
  }

  /** As the agent's API does it, on what its last cycle saw; the decision does the rest. */
  reinit(node: SimNode): unknown {
    const world = this.#world
    const { agent } = node
    const view = agent.knows.lastView
    if (!agent.alive || agent.frozen || view === null || refusalOf(reinitChecks(view)) !== null) return false
    world.trace('operator', 'REINIT', node.name)
    agent.knows.reinitAsked = true
    return true
  }
}
