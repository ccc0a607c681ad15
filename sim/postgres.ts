/** The life of one modelled PostgreSQL: start, recovery, reload, promotion, stop, crash. Streaming is in replication.ts. */
import { parseNames } from './names.ts'
import { type Disk, type Files, PostgresRun, type SimNode, type Walsender } from './node.ts'
import { closeAll, connectSoon, pumpAll, stopReceiving } from './replication.ts'
import { newestTimeline, readable, rescan, timelineOfPoint } from './timelines.ts'
import { append, endOf, type WalRecord } from './wal.ts'
import type { World } from './world.ts'

/** One process of a server, as faults stop it alone. */
export type Process = 'checkpointer' | 'startup' | 'walreceiver' | `walsender ${string}`

/**
 * Runs later inside this server: not when it has ended, and only after it woke up when it, or the process that does it, is frozen.
 */
export function later(
  world: World,
  node: SimNode,
  ms: number,
  work: (run: PostgresRun) => void,
  process?: Process,
): void {
  const { run } = node
  if (run === null) return
  world.loop.after(ms, () => inside(node, run, work, process))
}

/** At once, when neither the server nor that process is frozen, and otherwise as soon as it goes on. */
export function inside(
  node: SimNode,
  run: PostgresRun,
  work: (run: PostgresRun) => void,
  process?: Process,
): void {
  if (node.run !== run) return
  const again = (): void => inside(node, run, work, process)
  if (node.postgresFrozen) node.deferred.push(again)
  else if (process !== undefined && run.stuck.has(process)) run.stuck.get(process)?.push(again)
  else work(run)
}

/** Spawns the postmaster with the files as they are; `restarted`: the one that restarts everything by itself. */
export function startPostgres(world: World, node: SimNode, restarted: PostgresRun | null = null): void {
  const { disk } = node
  if (node.run !== null || !disk.present || disk.files === null || node.diskFull) return
  if (disk.garbage) world.checks.shell(`${node.name} starts on a directory that is half rewound`)
  disk.endedRun = null
  const id = world.nextId()
  const run = new PostgresRun(id, world.loop.now, disk, restarted)
  node.run = run
  disk.flushed = disk.wal.length
  const clean = disk.state === 'shutDown' || disk.state === 'shutDownInRecovery'
  run.replayed = Math.min(disk.checkpoint, disk.wal.length)
  world.trace(node.name, 'pg-start', disk.standbySignal ? 'as standby' : 'writable')
  if (disk.standbySignal) {
    run.timelineId = newestTimeline(disk, Math.max(disk.controlTimelineId, disk.minTimelineId))
    disk.state = 'inArchiveRecovery'
    later(world, node, world.random.delay(20, 150, clean ? 600 : 3_000, 0.1), () =>
      recoverAsStandby(world, node, run),
    )
    return
  }
  run.inRecovery = false
  later(world, node, world.random.delay(20, 150, clean ? 600 : 3_000, 0.1), () =>
    becomeWritable(world, node, run),
  )
}

function recoverAsStandby(world: World, node: SimNode, run: PostgresRun): void {
  const { disk } = node
  // An empty history has no ancestors: nothing on disk belongs to it, and recovery never becomes consistent.
  if (disk.fillers.has(run.timelineId)) {
    if (run.pid === run.id) world.checks.shell(`${node.name} was started beside an empty history file`)
    return
  }
  if (disk.lacksWal) {
    world.trace(node.name, 'pg-refuses', 'the WAL that recovery would begin with is missing')
    endPostgres(world, node, true)
    return
  }
  // "requested timeline is not a child of this server's history": PostgreSQL does not start.
  const checkpointLsn = disk.wal[disk.checkpoint - 1]?.start ?? 0
  const history = disk.historyOf(run.timelineId)
  if (timelineOfPoint(history, checkpointLsn) !== disk.wal[disk.checkpoint - 1]?.timelineId) {
    world.count('PostgreSQL refuses to start: the timeline is no child')
    world.trace(node.name, 'pg-refuses', `timeline ${run.timelineId} does not descend from what it has`)
    endPostgres(world, node, true)
    return
  }
  const found = readable(disk, run.timelineId)
  const enough = Math.min(Math.max(disk.minRecovery, run.replayed), found)
  run.replayed = enough + world.random.int(found - enough + 1)
  readyWhenConsistent(world, node, run)
  replaySoon(world, node)
}

function readyWhenConsistent(world: World, node: SimNode, run: PostgresRun): void {
  const { disk } = node
  if (run.status !== 'starting' || run.replayed < disk.minRecovery) return
  if (disk.needsLsn > endOf(disk.wal, run.replayed)) return
  run.status = 'ready'
  disk.needsLsn = 0
  world.trace(node.name, 'pg-ready', 'standby accepts connections')
  node.agent.postgresChanged()
}

export function isDrained(node: SimNode): boolean {
  const { run, disk } = node
  return run !== null && run.replayed === readable(disk, run.timelineId)
}

export function replaySoon(world: World, node: SimNode): void {
  const { run } = node
  if (run === null || run.replayScheduled || !run.inRecovery) return
  run.replayScheduled = true
  later(
    world,
    node,
    world.random.delay(0.5, 20, 4_000, 0.01),
    () => {
      run.replayScheduled = false
      replay(world, node, run)
    },
    'startup',
  )
}

function replay(world: World, node: SimNode, run: PostgresRun): void {
  if (!run.inRecovery) return
  const { disk } = node
  run.replayed = Math.max(run.replayed, Math.min(disk.flushed, readable(disk, run.timelineId)))
  // UpdateMinRecoveryPoint: with the next page that is written, which may be long after.
  if (world.random.chance(0.2)) {
    disk.minRecovery = Math.max(disk.minRecovery, run.replayed)
    disk.minTimelineId = Math.max(disk.minTimelineId, disk.wal[run.replayed - 1]?.timelineId ?? 0)
  }
  if (world.random.chance(0.02)) restartpoint(node, run)
  readyWhenConsistent(world, node, run)
  if (!isDrained(node)) {
    replaySoon(world, node)
    return
  }
  if (run.promoting) {
    finishPromotion(world, node, run)
    return
  }
  lookForTimelines(node, run)
  connectSoon(world, node, 0)
}

/** Out of WAL: recovery looks whether there is a newer timeline to go for. */
export function lookForTimelines(node: SimNode, run: PostgresRun): void {
  if (run.walreceiver === null) run.timelineId = rescan(node.disk, run.timelineId, node.disk.end())
  if (!isDrained(node)) node.disk.flushed = Math.max(node.disk.flushed, readable(node.disk, run.timelineId))
}

function restartpoint(node: SimNode, run: PostgresRun): void {
  node.disk.checkpoint = run.replayed
  node.disk.controlTimelineId = node.disk.wal[run.replayed - 1]?.timelineId ?? node.disk.controlTimelineId
}

function becomeWritable(world: World, node: SimNode, run: PostgresRun): void {
  const { disk } = node
  disk.partial = 0
  run.replayed = disk.wal.length
  run.timelineId = Math.max(disk.controlTimelineId, disk.minTimelineId)
  disk.state = 'inProduction'
  const record = append(disk.wal, run.timelineId, 120, 'checkpoint')
  disk.flushed = disk.wal.length
  disk.checkpoint = record.index + 1
  disk.controlTimelineId = run.timelineId
  run.status = 'ready'
  world.trace(node.name, 'pg-writable', `on timeline ${run.timelineId} at ${disk.end()}`)
  world.checks.writable(node, run)
  node.agent.postgresChanged()
}

/** Each process reads the files when it comes to it: the postmaster first, the others with their own lag. */
export function reloadPostgres(world: World, node: SimNode): void {
  const { random } = world
  const asked = node.run
  if (asked === null) return
  asked.reloads++
  later(world, node, random.delay(0.2, 2, 30), (run) => {
    run.reloads--
    readFiles(world, node, run)
  })
}

function readFiles(world: World, node: SimNode, run: PostgresRun): void {
  const { random } = world
  const files = (): Files | null => node.disk.files
  const names = (): string => files()?.names ?? ''
  run.names = names()
  run.conninfoOfPostmaster = files()?.conninfo ?? null
  run.checkpointerBehind++
  const applySettings = (): void => {
    run.checkpointerBehind--
    run.namesOfCheckpointer = names()
    if (run.namesOfCheckpointer === '') releaseAll(run)
  }
  later(world, node, random.delay(0.3, 8, 4_000, 0.04), applySettings, 'checkpointer')
  later(world, node, random.delay(0.3, 8, 3_000, 0.04), () => startupReads(world, node, run), 'startup')
  for (const walsender of run.walsenders.values()) {
    const apply = (): void => {
      walsender.names = names()
    }
    later(world, node, random.delay(0.3, 8, 3_000, 0.03), apply, `walsender ${walsender.name}`)
  }
}

function startupReads(world: World, node: SimNode, run: PostgresRun): void {
  if (!run.inRecovery) return
  const wanted = node.disk.files?.conninfo ?? null
  const before = run.conninfo
  if (
    wanted?.upstream === before?.upstream &&
    wanted?.epoch === before?.epoch &&
    wanted?.name === before?.name
  )
    return
  run.conninfo = wanted
  stopReceiving(world, node, 'settings')
  connectSoon(world, node, 0)
}

function releaseAll(run: PostgresRun): void {
  const { waiting } = run
  run.waiting = []
  for (const each of waiting) each.done()
}

/** Appends and flushes a record; `done` when PostgreSQL acknowledges it, perhaps never. */
export function commit(
  world: World,
  node: SimNode,
  what: 'commit' | 'proof',
  done: (record: WalRecord) => void,
): WalRecord | null {
  const { run, disk } = node
  if (run === null || run.inRecovery || run.status !== 'ready') return null
  const record = append(disk.wal, run.timelineId, 60 + world.random.int(400), what)
  later(world, node, world.random.delay(0.3, 2, 200, 0.01), () => {
    if (run.status === 'stopping') return
    disk.flushed = Math.max(disk.flushed, record.index + 1)
    pumpAll(world, node)
    if (run.namesOfCheckpointer === '' || record.index < run.released) done(record)
    else run.waiting.push({ record, done: () => done(record) })
  })
  return record
}

/** SyncRepReleaseWaiters: the walsender that hears of a flush judges by the settings that it has applied itself. */
export function releaseBy(run: PostgresRun, judge: Walsender): void {
  const { acks, standbys } = parseNames(judge.names)
  if (!standbys.includes(judge.name)) return
  const listed = [...run.walsenders.values()].filter((each) =>
    parseNames(each.names).standbys.includes(each.name),
  )
  const flushes = listed.map((each) => each.flushed).sort((a, b) => b - a)
  run.released = Math.max(run.released, flushes[acks - 1] ?? 0)
  const free = run.waiting.filter((each) => each.record.index < run.released)
  if (free.length === 0) return
  run.waiting = run.waiting.filter((each) => each.record.index >= run.released)
  for (const each of free) each.done()
}

/** The signal file is there: when everything on disk is replayed, recovery ends on a timeline of its own. */
export function promotePostgres(world: World, node: SimNode): void {
  const { run } = node
  if (run === null || !run.inRecovery || run.promoting) return
  const begin = (): void => {
    // A postmaster that stops passes no promotion on.
    if (run.status === 'stopping') return
    run.promoting = true
    stopReceiving(world, node, 'promotion')
    if (isDrained(node)) finishPromotion(world, node, run)
    else replaySoon(world, node)
  }
  later(world, node, world.random.delay(0.5, 5, 500), begin, 'startup')
}

/** What comes is written over what recovery has not found. */
export function forgetUnread(disk: Disk, target: number): void {
  disk.partial = 0
  disk.wal.length = readable(disk, target)
  disk.flushed = Math.min(disk.flushed, disk.wal.length)
}

function finishPromotion(world: World, node: SimNode, run: PostgresRun): void {
  if (run.finishing) return
  run.finishing = true
  const { disk } = node
  const parent = run.timelineId
  const timelineId = newestTimeline(disk, parent) + 1
  later(world, node, world.random.delay(2, 20, 300), () => {
    forgetUnread(disk, parent)
    const before = disk.historyOf(parent)
    const switched = { timelineId: parent, switchpointLsn: BigInt(disk.end()) as never, reason: 'promoted' }
    disk.histories.set(timelineId, { timelineId, ancestors: [...before.ancestors, switched] })
    world.trace(node.name, 'pg-history', `begins timeline ${timelineId} at ${disk.end()}`)
    world.checks.timelineBegun(node, timelineId)
    later(world, node, world.random.delay(2, 40, 400), () => {
      disk.standbySignal = false
      disk.minTimelineId = timelineId
      run.timelineId = timelineId
      append(disk.wal, timelineId, 80, 'promotion')
      disk.flushed = disk.wal.length
      disk.state = 'inProduction'
      run.inRecovery = false
      run.promoting = false
      world.trace(node.name, 'pg-promoted', `writable on timeline ${timelineId}`)
      world.checks.writable(node, run)
      pumpAll(world, node)
      node.agent.postgresChanged()
      later(world, node, world.random.delay(5, 500, 5_000, 0.1), () => {
        disk.controlTimelineId = timelineId
        disk.checkpoint = disk.flushed
      })
    })
  })
}

/** SIGINT: a primary ends its WAL with a shutdown record and waits until the connected standbys have it. */
export function stopFast(world: World, node: SimNode): void {
  later(world, node, world.random.delay(1, 30, 800, 0.05), (run) => {
    // A signal to a postmaster that hangs waits until it goes on.
    if (node.postmasterFrozen) {
      later(world, node, 50, () => stopFast(world, node))
      return
    }
    run.mustStop = true
    if (run.status === 'stopping') return
    const writable = !run.inRecovery && run.status === 'ready'
    run.status = 'stopping'
    run.waiting = []
    if (!writable) {
      const ended = run.inRecovery && !run.promoting
      later(world, node, world.random.delay(2, 60, 500), () => {
        if (ended) node.disk.state = 'shutDownInRecovery'
        if (ended) node.disk.endedRun = run.id
        endPostgres(world, node, true)
      })
      return
    }
    later(world, node, world.random.delay(5, 120, 1_500, 0.05), () => {
      append(node.disk.wal, run.timelineId, 114, 'shutdown')
      node.disk.flushed = node.disk.wal.length
      pumpAll(world, node)
      awaitWalsenders(world, node, run)
    })
  })
}

function awaitWalsenders(world: World, node: SimNode, run: PostgresRun): void {
  const { disk } = node
  const waits = [...run.walsenders.values()].some((each) => each.flushed < disk.wal.length)
  if (waits) {
    later(world, node, 20, () => awaitWalsenders(world, node, run))
    return
  }
  disk.state = 'shutDown'
  disk.endedRun = run.id
  disk.checkpoint = disk.wal.length
  disk.controlTimelineId = run.timelineId
  endPostgres(world, node, true)
}

/** The postmaster and all its children are gone. `told`: the machine lives, so the peers' connections break at once. */
export function endPostgres(world: World, node: SimNode, told: boolean): void {
  const { run } = node
  if (run === null) return
  closeAll(world, node, told)
  node.run = null
  node.postgresFrozen = false
  node.postmasterFrozen = false
  node.deferred = []
  world.trace(node.name, 'pg-end', told ? '' : 'with the machine')
  node.agent.postgresChanged()
}

/** kill -9 of everything: what was written stays with the operating system. */
export function killPostgres(world: World, node: SimNode): void {
  if (node.run === null) return
  if (node.run.inRecovery === false && node.run.status !== 'starting') node.disk.state = 'inProduction'
  endPostgres(world, node, true)
}

/** A backend dies: the postmaster of a primary restarts everything by itself, with the files as they are; any other ends (restart_after_crash). */
export function crashRestart(world: World, node: SimNode): void {
  const { run } = node
  if (run === null || node.postgresFrozen || node.postmasterFrozen) return
  killPostgres(world, node)
  if (node.disk.files?.role !== 'primary') return
  startPostgres(world, node, run)
  // Signals that it had not seen to yet it sees to now.
  for (let i = 0; i < run.reloads; i++) reloadPostgres(world, node)
  if (run.mustStop) stopFast(world, node)
}

/** Power is lost: unflushed WAL is gone, and the last record may be torn. */
export function losePower(world: World, node: SimNode): void {
  const { disk } = node
  if (node.run !== null && !node.run.inRecovery) disk.state = 'inProduction'
  endPostgres(world, node, false)
  const kept = disk.flushed + world.random.int(disk.wal.length - disk.flushed + 1)
  const torn = disk.wal[kept]
  disk.wal.length = kept
  disk.minRecovery = Math.min(disk.minRecovery, kept)
  disk.partial = torn === undefined ? disk.partial : world.random.int(torn.end - torn.start)
  disk.flushed = kept
}
