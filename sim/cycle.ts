/** The loop of one agent, as src/agent/agent.ts and observe.ts: observe, decide, act, rest. One cycle at a time. */
import type { ClusterView, LocalView, StoreFacts, TaskKind } from '../src/core/cluster-view.ts'
import type { Decision } from '../src/core/decision.ts'
import { act } from './act.ts'
import type { SimAgent } from './agent.ts'
import type { SimNode } from './node.ts'
import {
  type Look,
  localGlance,
  localView,
  look,
  NOWHERE,
  probe,
  readFacts,
  readPosition,
  receives,
  reportOf,
  viewOf,
} from './observe.ts'
import type { World } from './world.ts'

const REST_MS = 1_000
const BUSY_MS = 200
const REPORT_EVERY_MS = 1_000
const COUNT_FOR_MS = 200

export class Cycle {
  readonly #world: World
  readonly #node: () => SimNode
  readonly #agent: SimAgent
  #running = false
  #woken = false
  #pauseToken = 0
  #reportedAtMs = Number.NEGATIVE_INFINITY
  #reported = ''

  constructor(world: World, node: () => SimNode, agent: SimAgent) {
    this.#world = world
    this.#node = node
    this.#agent = agent
  }

  boot(): void {
    this.#running = false
    this.#reported = ''
    this.#agent.later(20, () => this.wake())
  }

  wake(): void {
    if (this.#agent.frozen) return
    if (this.#running) this.#woken = true
    else this.#run()
  }

  /** Decides on what can be seen without waiting, beside the loop. */
  fenceAtDeadline(): void {
    const world = this.#world
    const node = this.#node()
    const agent = this.#agent
    const view = viewOf(world, node, agent, null, localGlance(world, node, agent))
    const decision = world.decide(view, agent.knows.memory)
    if (decision.rule !== 'self-fence') return
    world.count('fenced by the timer of the lease')
    act(world, node, agent, decision.actions, view, () => {})
  }

  #run(): void {
    this.#running = true
    this.#woken = false
    this.#pauseToken++
    this.#agent.lease.renew(() => this.#observe())
  }

  #observe(): void {
    const agent = this.#agent
    probe(this.#world, this.#node(), agent)
    if (this.#onlyCounts()) {
      this.#readStore((facts) => {
        const { lastView } = agent.knows
        const primacy = facts?.primacy?.value
        const before = lastView?.store.kind === 'read' ? lastView.store.facts.primacy?.value : undefined
        const same = primacy?.phase === 'electing' && primacy.epoch === before?.epoch
        if (lastView !== null && same) this.#decide(facts, { ...lastView.local, ...this.#ownPart() })
        else this.#lookAndRead(facts)
      })
      return
    }
    this.#lookAndRead()
  }

  /** A node that has voted looks at the ballots alone for a while. */
  #onlyCounts(): boolean {
    const { lastView } = this.#agent.knows
    if (lastView?.store.kind !== 'read' || this.#agent.now() - lastView.now >= COUNT_FOR_MS) return false
    const { primacy, ballots } = lastView.store.facts
    if (primacy?.value.phase !== 'electing') return false
    return ballots.some((each) => each.node === lastView.self && each.epoch === primacy.value.epoch)
  }

  #ownPart(): Partial<LocalView> {
    const agent = this.#agent
    const own = localGlance(this.#world, this.#node(), agent)
    const { tasks, stopping, failures, applied, promisedEpoch, known, sentinel, primaryLeaseUntilMs } = own
    return { tasks, stopping, failures, applied, promisedEpoch, known, sentinel, primaryLeaseUntilMs }
  }

  #readStore(answer: (facts: StoreFacts | null) => void): void {
    const world = this.#world
    this.#agent.request(() => readFacts(world, this.#agent.knows.last), answer)
  }

  #lookAndRead(known?: StoreFacts | null): void {
    const agent = this.#agent
    let facts = known
    let seen: Look | undefined
    const begun = [...agent.tasks.keys()]
    const join = (): void => {
      if (facts === undefined || seen === undefined) return
      this.#findPosition(facts, seen, this.#localView(seen, begun))
    }
    if (facts === undefined) {
      this.#readStore((value) => {
        facts = value
        join()
      })
    }
    this.#look((value) => {
      seen = value
      join()
    })
  }

  #look(then: (seen: Look) => void): void {
    const world = this.#world
    const node = this.#node()
    const sqlMs = node.postgresFrozen && node.run !== null ? 1_000 : world.random.delay(0.3, 3, 120, 0.005)
    this.#agent.later(sqlMs, () => then(look(world, node)))
  }

  /** As src/agent/observe.ts: a task that ended while this looked still counts as running. */
  #localView(seen: Look, begun: readonly TaskKind[]): LocalView {
    const agent = this.#agent
    const local = localView(this.#world, this.#node(), agent, seen, NOWHERE)
    if (begun.every((kind) => local.tasks.has(kind))) return local
    this.#world.count('a task ended under a look')
    return this.#world.shell.forgetsEndedTasks
      ? local
      : { ...local, tasks: new Set([...begun, ...local.tasks]) }
  }

  /** Asked for only where it decides something. The process list first; SQL a moment later. */
  #findPosition(facts: StoreFacts | null, seen: Look, local: LocalView): void {
    const world = this.#world
    const node = this.#node()
    const agent = this.#agent
    const primacy = facts?.primacy?.value
    const inOffice = primacy?.primary === node.name && primacy.phase === 'steady'
    const follows = node.state.followed === primacy?.epoch && primacy.phase !== 'electing'
    const streams = seen.server !== null && seen.server.walreceiver !== null
    if (primacy === undefined || inOffice || follows || streams || receives(node)) {
      this.#decide(facts, local)
      return
    }
    agent.later(world.random.delay(0.2, 1, 60, 0.01), () => {
      this.#decide(facts, { ...local, ...readPosition(node, agent, seen) })
    })
  }

  #decide(facts: StoreFacts | null, local: LocalView): void {
    const world = this.#world
    const node = this.#node()
    const agent = this.#agent
    const { knows } = agent
    const view = viewOf(world, node, agent, facts, local)
    if (view.store.kind !== 'read') knows.unreachableSinceMs ??= agent.now()
    else {
      knows.unreachableSinceMs = null
      knows.last = view.store.facts
    }
    knows.lastView = view
    this.#learn(view)
    const decision = world.decide(view, knows.memory)
    world.decisions++
    knows.memory = decision.memory
    this.#note(decision)
    this.#report(reportOf(view))
    if (decision.rule === 'keep-running' || decision.actions.length === 0) agent.later(2, () => agent.keep())
    act(world, node, agent, decision.actions, view, (done) => this.#pause(decision, done))
  }

  /** What the shell itself makes of a look. */
  #learn({ store, local: { server, sentinel } }: ClusterView): void {
    const facts = store.kind === 'read' ? store.facts : null
    const primacy = facts?.primacy?.value
    const { state, name } = this.#node()
    const { knows } = this.#agent
    if (primacy !== undefined) this.#agent.learn(primacy, facts?.identity ?? null)
    if (primacy?.primary === name && server?.inRecovery === false) knows.ranAsPrimaryIn = primacy.epoch
    if (sentinel?.finished === true && server?.inRecovery === true) {
      state.sentinel = null
      state.followed = sentinel.epoch
    }
  }

  #note(decision: Decision): void {
    const { knows } = this.#agent
    if (decision.rule !== knows.lastRule || decision.reason !== knows.lastReason)
      this.#world.trace(this.#agent.name, `! ${decision.rule}`, decision.reason)
    if (decision.rule !== knows.lastRule) this.#world.count(`rule ${decision.rule}`)
    knows.lastRule = decision.rule
    knows.lastReason = decision.reason
  }

  #report(report: ReturnType<typeof reportOf>): void {
    const world = this.#world
    const { now } = world.loop
    const text = `${report.role}${report.state}${report.epoch}${report.suspects}`
    if (text === this.#reported && now - this.#reportedAtMs < REPORT_EVERY_MS) return
    const changed = text !== this.#reported
    this.#reported = text
    this.#reportedAtMs = now
    this.#agent.request(
      () => {
        world.store.reports.set(report.name, { report, untilMs: world.loop.now + world.reportTtlMs })
        if (changed) world.store.tellWatchers('nodes/')
      },
      () => {},
    )
  }

  #pause(decision: Decision, done: boolean): void {
    const resting = decision.rule === 'keep-running' && this.#agent.tasks.size === 0
    const ms = decision.actions.length > 0 ? (done ? 10 : BUSY_MS) : resting ? REST_MS : BUSY_MS
    this.#running = false
    const token = this.#pauseToken
    this.#agent.later(this.#woken ? 1 : ms, () => {
      if (!this.#running && this.#pauseToken === token) this.#run()
    })
  }
}
