/** The long actions: what runs beside the loop of the agent, ends with it, and may end at any point. */
import type { ClusterView, Sentinel } from '../src/core/cluster-view.ts'
import type { Action } from '../src/core/decision.ts'
import { synchronousStandbyNames } from '../src/core/primacy.ts'
import { heldInCommon } from '../src/core/sentinel.ts'
import type { End, SimAgent, Task } from './agent.ts'
import { freshDisk, makeDirectory } from './bootstrap.ts'
import type { PostgresRun, SimNode } from './node.ts'
import { checkPromotion, checkStart } from './office-checks.ts'
import { commit, killPostgres, promotePostgres, startPostgres, stopFast } from './postgres.ts'
import { endWalsenders } from './replication.ts'
import { settleTimelines } from './timelines.ts'
import { commonLength, endOf } from './wal.ts'
import type { World } from './world.ts'

type Of<K extends Action['kind']> = Extract<Action, { kind: K }>

const START_DEADLINE_MS = 60_000
const STOP_DEADLINE_MS = 30_000
const PROOF_DEADLINE_MS = 5_000

export function startTask(
  world: World,
  node: SimNode,
  agent: SimAgent,
  action: Action,
  view: ClusterView,
): void {
  switch (action.kind) {
    case 'start':
      checkStart(world, node, view)
      agent.startTask('start', (task, end) => start(world, node, agent, action, task, end))
      return
    case 'stop': {
      agent.endTask('promote')
      if (agent.knows.stopping === 'fast' && action.mode === 'immediate') agent.tasks.get('stop')?.hasten?.()
      agent.startTask('stop', (task, end) => stop(world, node, agent, action.mode, task, end))
      return
    }
    case 'promote':
      checkPromotion(world, node, view)
      agent.startTask('promote', (task, end) => promote(world, node, agent, action, task, end))
      return
    case 'prove':
      agent.startTask('prove', (_task, end) => prove(world, node, agent, action, end))
      return
    case 'settle':
      agent.startTask('settle', (task, end) => settle(world, node, agent, task, end))
      return
    case 'clone':
      agent.knows.reinitAsked = false
      agent.startTask('clone', (task, end) => clone(world, node, agent, action, task, end))
      return
    case 'rewind':
      agent.startTask('rewind', (task, end) => rewind(world, node, agent, action, view, task, end))
      return
    case 'initialize':
      agent.startTask('initialize', (task, end) => {
        const systemIdentifier = `made by ${agent.session}`
        const remember = (): void => {
          node.state.initialized = systemIdentifier
        }
        const [first, second] = world.shell.remembersWhatItMadeAfterwards
          ? [() => makeDirectory(node.disk, systemIdentifier), remember]
          : [remember, () => makeDirectory(node.disk, systemIdentifier)]
        agent.later(world.random.between(800, 3_000), () => {
          if (task.aborted) return
          first()
          agent.later(world.random.delay(0.5, 5, 2_000), () => {
            second()
            agent.later(1, () => end(null))
          })
        })
      })
      return
    default:
      throw new Error(`no task: ${action.kind}`)
  }
}

function start(
  world: World,
  node: SimNode,
  agent: SimAgent,
  action: Of<'start'>,
  task: Task,
  end: End,
): void {
  if (node.run !== null) {
    end(null)
    return
  }
  agent.later(world.random.delay(2, 15, 300), () => {
    if (task.aborted || node.run !== null) return end(null)
    if (action.notAfterMs !== null && agent.now() >= action.notAfterMs) return end('the lease runs out')
    if (node.disk.standbySignal && !world.shell.keepsGaps) settleTimelines(node.disk)
    else node.disk.fillers.clear()
    agent.knows.moves++
    // Files that this agent has written itself say what it wants.
    if (world.shell.fencesByPromise && agent.knows.applied === null) unfence(node)
    startPostgres(world, node)
    const run = startedRun(node)
    if (run === null) return end('there is nothing to start')
    const names = agent.knows.applied?.synchronousStandbyNames ?? null
    task.check = (): void => {
      if (node.run?.pid !== run.pid)
        end('it has ended while starting', node.disk.lacksWal ? 'data-damaged' : 'internal')
      else if (node.run.status === 'ready') {
        if (agent.knows.applied?.synchronousStandbyNames === names) agent.knows.namesInEffect = names
        end(null)
      }
    }
    agent.later(START_DEADLINE_MS, () => end('it does not become ready'))
  })
}

/** Broken on purpose (M: stateLossNoGuard): the files lead to the last upstream, unless a newer epoch is known to be promised. */
function unfence({ disk, state }: SimNode): void {
  const { files, lastConninfo } = disk
  if (files === null || files.conninfo !== null || lastConninfo === null) return
  if (files.role !== 'standby' || state.promised > lastConninfo.epoch) return
  disk.files = { ...files, conninfo: lastConninfo }
  disk.passfiles.add(lastConninfo.epoch)
}

/** Asked anew, because the compiler does not know that starting has set it. */
function startedRun(node: SimNode): PostgresRun | null {
  return node.run
}

function stop(
  world: World,
  node: SimNode,
  agent: SimAgent,
  mode: 'fast' | 'immediate',
  task: Task,
  end: End,
): void {
  const { run } = node
  if (run === null) {
    end(null)
    return
  }
  agent.knows.stopping = mode
  agent.knows.namesInEffect = null
  task.check = (): void => {
    if (node.run?.pid !== run.pid) end(null)
  }
  const killAfter = (ms: number): void => {
    agent.later(ms, () => {
      if (!task.aborted && node.run?.pid === run.pid) killPostgres(world, node)
      end(null)
    })
  }
  // Every process is signalled, so a postmaster that hangs holds nothing up.
  const quit = (): void => killAfter(world.random.delay(2, 40, 500))
  task.hasten = (): void => {
    agent.knows.stopping = 'immediate'
    quit()
  }
  if (mode === 'immediate') {
    quit()
    return
  }
  stopFast(world, node)
  killAfter(STOP_DEADLINE_MS)
}

function promote(
  world: World,
  node: SimNode,
  agent: SimAgent,
  action: Of<'promote'>,
  task: Task,
  end: End,
): void {
  const { run, disk, state } = node
  if (run === null) {
    end('it does not run')
    return
  }
  const late = (): boolean => action.notAfterMs !== null && agent.now() >= action.notAfterMs
  const step = (work: () => void): void => {
    agent.later(world.random.delay(0.5, 4, 200, 0.01), () => {
      if (task.aborted) return
      if (node.run !== run) return end('it has ended')
      if (late()) return end('the lease runs out')
      work()
    })
  }
  step(() => {
    for (let gap = 2; gap < action.timelineId; gap++) if (!disk.histories.has(gap)) disk.fillers.add(gap)
    step(() => {
      state.promoteAsked = run.pid
      agent.keep()
      step(() => {
        promotePostgres(world, node)
        task.check = (): void => {
          if (node.run?.pid !== run.pid) end('it has ended')
          else if (!node.run.inRecovery && node.run.status === 'ready') end(null)
        }
        task.check()
        agent.later(START_DEADLINE_MS, () => end('it is not promoted in time'))
      })
    })
  })
}

/** A commit that must be acknowledged, and then be flushed where the rule says. */
function prove(world: World, node: SimNode, agent: SimAgent, action: Of<'prove'>, end: End): void {
  const { run } = node
  const beganAtMs = agent.now()
  const { rule } = action
  if (run === null || run.names !== synchronousStandbyNames(rule)) {
    end('the settings are not those of the rule')
    return
  }
  agent.later(PROOF_DEADLINE_MS, () => end('no commit was acknowledged in time'))
  const acknowledged = agent.guard(() => {
    if (node.run !== run || run.names !== synchronousStandbyNames(rule))
      return end('the settings have changed')
    agent.knows.proven = { rule, atMs: beganAtMs }
    end(null)
  })
  agent.later(world.random.delay(0.5, 3, 200), () => {
    if (node.run !== run || node.postgresFrozen) return
    commit(world, node, 'proof', (record) => {
      const poll = (): void => {
        if (node.run !== run) return
        const there = rule.standbys.filter((name) => {
          const walsender = run.walsenders.get(name)
          return walsender?.name === name && walsender.flushed > record.index
        })
        if (there.length >= rule.acks) acknowledged()
        else agent.later(20, poll)
      }
      agent.guard(poll)()
    })
  })
}

function settle(world: World, node: SimNode, agent: SimAgent, task: Task, end: End): void {
  const { run } = node
  if (run === null) {
    end('it does not run')
    return
  }
  if (run.status === 'ready') endWalsenders(world, node)
  const poll = (): void => {
    if (task.aborted) return
    if (node.run !== run) {
      end('it has ended')
      return
    }
    const answers = !node.postgresFrozen && !run.stuck.has('checkpointer')
    if (answers && run.checkpointerBehind === 0 && run.names === run.namesOfCheckpointer) {
      agent.knows.namesInEffect = run.names
      end(null)
    } else agent.later(20, poll)
  }
  agent.later(world.random.delay(3, 30, 500), poll)
  agent.later(PROOF_DEADLINE_MS, () => end('the checkpointer does not answer'))
}

/** Whether WAL and files can be fetched from `from` now. */
function source(world: World, node: SimNode, from: string): SimNode | null {
  const other = world.node(from)
  const there = other.machineUp && !other.postgresFrozen && world.network.connects(node.name, from)
  return there && other.run?.status === 'ready' && other.disk.present ? other : null
}

/** The oldest position counts, whatever was begun on the directory since. */
function openUp(node: SimNode, view: ClusterView, epoch: number): void {
  const known = node.state.sentinel
  node.state.sentinel = known === null ? sentinelOf(view, epoch) : { ...known, finished: false }
}

function sentinelOf(view: ClusterView, epoch: number): Sentinel {
  const primacy = view.store.kind === 'read' ? view.store.facts.primacy?.value : undefined
  return { ...heldInCommon(view.local, primacy?.history ?? null), epoch, finished: false }
}

function clone(
  world: World,
  node: SimNode,
  agent: SimAgent,
  action: Of<'clone'>,
  task: Task,
  end: End,
): void {
  const first = source(world, node, action.from)
  const run = first?.run
  if (first === null) {
    end(`${action.from} cannot be reached`)
    return
  }
  let left = 3 + world.random.int(6)
  const copy = (): void => {
    if (task.aborted) return
    const from = source(world, node, action.from)
    if (from === null || from.run !== run) {
      end('the source went away')
      return
    }
    left--
    if (left > 0) {
      agent.later(world.random.between(200, 2_000), copy)
      return
    }
    const fresh = copyOf(node, from)
    // Nothing but the checkpoint that it begins with and what came since.
    fresh.oldest = Math.max(0, fresh.checkpoint - 1)
    // It is checked against its manifest and made durable; meanwhile the source goes on, or does not.
    agent.later(world.random.delay(20, 500, 5_000), () => {
      if (!task.aborted) swap(world, node, agent, action, fresh, from, task, end)
    })
  }
  stopFirst(world, node, agent, task, () => agent.later(world.random.between(200, 1_000), copy))
}

/** A rung of the ladder stops PostgreSQL itself, where it runs. */
function stopFirst(world: World, node: SimNode, agent: SimAgent, task: Task, then: () => void): void {
  const { run } = node
  if (run === null) {
    then()
    return
  }
  stopFast(world, node)
  task.check = (): void => {
    if (node.run?.pid === run.pid) return
    task.check = null
    then()
  }
  agent.later(STOP_DEADLINE_MS, () => {
    if (!task.aborted && node.run?.pid === run.pid) killPostgres(world, node)
  })
}

/** The old directory goes aside, the new one takes its place, and only then is it known to be the primary's (src/agent/act.ts, #clone). */
function swap(
  world: World,
  node: SimNode,
  agent: SimAgent,
  action: Of<'clone'>,
  fresh: SimNode['disk'],
  from: SimNode,
  task: Task,
  end: End,
): void {
  if (node.run !== null) {
    end('PostgreSQL runs in the directory that is to be replaced')
    return
  }
  const old = node.disk
  world.checks.replaced(node, old.present ? old.wal : [], fresh.wal, from)
  node.disk = freshDisk(old)
  agent.later(world.random.between(1, 20), () => {
    if (task.aborted) return
    node.disk = fresh
    world.checks.cloned(node, from, action.epoch)
    agent.later(world.random.between(1, 10), () => {
      if (task.aborted) return
      node.state.followed = action.epoch
      node.state.sentinel = null
      agent.failures.delete('start')
      end(null)
    })
  })
}

function copyOf(node: SimNode, from: SimNode): SimNode['disk'] {
  const disk = freshDisk(node.disk)
  disk.present = true
  disk.systemIdentifier = from.disk.systemIdentifier
  disk.wal = from.disk.wal.slice(0, from.disk.flushed)
  disk.flushed = disk.wal.length
  disk.checkpoint = Math.min(from.disk.checkpoint, disk.wal.length)
  disk.minRecovery = disk.wal.length
  disk.oldest = from.disk.oldest
  disk.controlTimelineId = disk.wal[disk.checkpoint - 1]?.timelineId ?? 1
  disk.minTimelineId = disk.timelineId()
  disk.state = 'inArchiveRecovery'
  // A base backup brings no WAL and no histories; the clone fetches that of its own timeline.
  disk.histories = new Map([[disk.timelineId(), from.disk.historyOf(disk.timelineId())]])
  disk.standbySignal = true
  return disk
}

function rewind(
  world: World,
  node: SimNode,
  agent: SimAgent,
  action: Of<'rewind'>,
  view: ClusterView,
  task: Task,
  end: End,
): void {
  const first = source(world, node, action.from)
  if (first === null || first.run === null || first.run.inRecovery) {
    end(`${action.from} is no source`)
    return
  }
  const { run } = first
  openUp(node, view, action.epoch)
  stopFirst(world, node, agent, task, () => {
    world.checks.openedUp(node)
    node.disk.garbage = true
    agent.later(world.random.between(100, 3_000), () =>
      copyChanges(world, node, agent, action, run, task, end),
    )
  })
}

function copyChanges(
  world: World,
  node: SimNode,
  agent: SimAgent,
  action: Of<'rewind'>,
  run: PostgresRun,
  task: Task,
  end: End,
): void {
  if (task.aborted) return
  const from = source(world, node, action.from)
  if (from === null || from.run !== run) {
    end('the source went away')
    return
  }
  const old = node.disk
  const fresh = copyOf(node, from)
  // What is still missing comes by streaming, and until then the directory is not consistent.
  const short = Math.min(world.random.int(3), Math.max(0, fresh.wal.length - 2))
  if (fresh.wal.at(-1 - short)?.timelineId === fresh.timelineId()) fresh.wal.length -= short
  fresh.flushed = fresh.wal.length
  fresh.checkpoint = Math.min(fresh.checkpoint, fresh.flushed)
  fresh.minRecovery = fresh.flushed
  fresh.needsLsn = endOf(from.disk.wal)
  fresh.files = old.files
  // What pg_rewind copies lets recovery begin at the last common checkpoint; that WAL may be gone at the source.
  fresh.lacksWal = commonLength(old.wal, from.disk.wal) < from.disk.oldest
  fresh.histories = new Map(from.disk.histories)
  fresh.fillers = new Set(from.disk.fillers)
  world.checks.replaced(node, old.wal, from.disk.wal, from)
  node.disk = fresh
  agent.later(world.random.between(1, 10), () => {
    if (task.aborted) return
    const { sentinel } = node.state
    node.state.followed = action.epoch
    if (sentinel !== null) node.state.sentinel = { ...sentinel, epoch: action.epoch, finished: true }
    end(null)
  })
}
