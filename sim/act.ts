/** Executes actions in order, each taking its time; the first that fails ends the list. Long ones go on as tasks. */
import type { ClusterView } from '../src/core/cluster-view.ts'
import type { Action } from '../src/core/decision.ts'
import { coversRules } from '../src/core/knowledge.ts'
import type { SimAgent } from './agent.ts'
import { initialize, moveAside } from './bootstrap.ts'
import type { SimNode } from './node.ts'
import { reloadPostgres } from './postgres.ts'
import { endWalsenders } from './replication.ts'
import { startTask } from './tasks.ts'
import type { World } from './world.ts'

type Done = (ok: boolean) => void

export function act(
  world: World,
  node: SimNode,
  agent: SimAgent,
  actions: readonly Action[],
  view: ClusterView,
  end: (done: boolean) => void,
  at = 0,
): void {
  const action = actions[at]
  if (action === undefined) {
    end(true)
    return
  }
  perform(world, node, agent, action, view, (ok) => {
    if (!ok) return end(false)
    if (world.crashesBetween && world.random.chance(world.crashesBetweenP)) {
      world.count('agent killed between two actions')
      agent.crash(`between actions, after ${action.kind}`)
      world.faults.rebootSoon(node)
      return
    }
    act(world, node, agent, actions, view, end, at + 1)
  })
}

function perform(
  world: World,
  node: SimNode,
  agent: SimAgent,
  action: Action,
  view: ClusterView,
  done: Done,
): void {
  const { random, store } = world
  const { state } = node
  const soon = (low: number, high: number, work: () => void): void => {
    agent.later(random.delay(low, high, 300, 0.01), () => {
      work()
      done(true)
    })
  }
  switch (action.kind) {
    case 'promise':
      if (state.promised >= action.epoch) {
        done(true)
        return
      }
      {
        soon(0.5, 4, () => {
          state.promised = Math.max(state.promised, action.epoch)
          agent.keep()
        })
        return
      }
    case 'removePassfiles':
      soon(0.2, 1, () => node.disk.passfiles.clear())
      return
    case 'configure':
      configure(world, node, agent, action.wanted, view, done)
      return
    case 'writePrimacy':
      agent.request(
        () => store.writePrimacy(action.primacy, action.expected, node.name),
        (written) => {
          if (written !== null) agent.learn(written, store.identity)
          done(written !== null)
        },
      )
      return
    case 'markStale':
      agent.request(
        () => store.markStale(action.mark, action.expected),
        (ok) => done(ok === true),
      )
      return
    case 'vote':
      agent.request(
        () => store.putBallot(action.ballot),
        (answer) => done(answer !== null),
      )
      return
    case 'takePrimaryLease':
      agent.lease.take(action.expected, done)
      return
    case 'dropPrimaryLease':
      agent.lease.drop()
      done(true)
      return
    case 'dropRequest':
      agent.request(
        () => {
          if (store[action.request]?.revision === action.expected) store[action.request] = null
        },
        (answer) => done(answer !== null),
      )
      return
    case 'dropReinit':
      agent.knows.reinitAsked = false
      done(true)
      return
    case 'endWalsenders':
      soon(0.5, 3, () => endWalsenders(world, node))
      return
    case 'abort':
      soon(1, 20, () => agent.endTask(action.task))
      return
    case 'moveAside':
      soon(2, 20, () => moveAside(node))
      return
    case 'claimBootstrap':
    case 'publishCluster':
      initialize.write(world, agent, action, done)
      return
    case 'createSlot':
    case 'dropSlot':
    case 'advanceSlot':
      done(true)
      return
    default:
      startTask(world, node, agent, action, view)
      done(true)
      return
  }
}

function configure(
  world: World,
  node: SimNode,
  agent: SimAgent,
  wanted: Extract<Action, { kind: 'configure' }>['wanted'],
  view: ClusterView,
  done: Done,
): void {
  const { disk, state } = node
  const { random } = world
  const { upstream, epoch } = wanted
  const step = (work: () => void): void => agent.later(random.delay(0.3, 3, 200, 0.01), work)
  step(() => {
    if (upstream !== null) {
      state.followed = epoch
      agent.keep()
      agent.knows.moves++
    }
    if (upstream !== null) disk.passfiles.add(epoch)
    const known = agent.knows.known?.primacy
    if (wanted.role === 'primary' && known !== undefined && !coversRules(state.known?.primacy ?? null, known))
      agent.keep()
    step(() => {
      const name = wanted.rejoining ? `rejoining ${node.name}` : node.name
      const conninfo = upstream === null ? null : { upstream: upstream.name, epoch, name }
      disk.files = { role: wanted.role, conninfo, names: wanted.synchronousStandbyNames }
      disk.standbySignal = wanted.role === 'standby'
      step(() => {
        // Only what was seen to run is told to read them.
        const running = view.local.postmaster.kind === 'running'
        if (running && node.run === null) {
          done(false)
          return
        }
        if (running) reloadPostgres(world, node)
        if (agent.knows.applied?.synchronousStandbyNames !== wanted.synchronousStandbyNames)
          agent.knows.namesInEffect = null
        agent.knows.applied = wanted
        const stale = [...disk.passfiles].filter((each) => each !== epoch || upstream === null)
        if (!world.shell.keepsPassfiles) for (const each of stale) disk.passfiles.delete(each)
        done(true)
      })
    })
  })
}
