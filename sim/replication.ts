/** Walsenders and walreceivers: connecting, sending what is flushed, flushing, acknowledging, breaking. */
import type { TimelineHistory } from '../src/core/timeline.ts'
import type { Connection, Disk, PostgresRun, SimNode, Walreceiver } from './node.ts'
import { forgetUnread, inside, isDrained, later, releaseBy, replaySoon } from './postgres.ts'
import { rescan, switchpoint, timelineOfPoint } from './timelines.ts'
import { endOf, isPrefix } from './wal.ts'
import type { World } from './world.ts'

const RETRY_MS = 100

/** The startup process asks for a walreceiver when it has run out of WAL; with the settings that IT has applied. */
export function connectSoon(world: World, node: SimNode, ms: number): void {
  const { run } = node
  if (run === null || run.connectScheduled) return
  run.connectScheduled = true
  later(world, node, ms, () => requestStreaming(world, node, run), 'startup')
}

function requestStreaming(world: World, node: SimNode, run: PostgresRun): void {
  run.connectScheduled = false
  if (!run.inRecovery || run.promoting || run.walreceiver !== null || run.conninfo === null) return
  if (run.status === 'stopping') return
  if (!isDrained(node)) {
    replaySoon(world, node)
    return
  }
  const walreceiver: Walreceiver = { ...run.conninfo, connection: null, lastMessageAtMs: world.loop.now }
  run.walreceiver = walreceiver
  const connect = (): void => authenticate(world, node, run, walreceiver)
  later(world, node, world.random.delay(1, 12, 1_500, 0.03), connect, 'walreceiver')
}

function giveUp(
  world: World,
  node: SimNode,
  run: PostgresRun,
  walreceiver: Walreceiver,
  retryMs: number,
): void {
  if (run.walreceiver !== walreceiver) return
  run.walreceiver = null
  connectSoon(world, node, retryMs)
}

/** The passfile is read once, here; what follows may take its time. */
function authenticate(world: World, node: SimNode, run: PostgresRun, walreceiver: Walreceiver): void {
  if (run.walreceiver !== walreceiver) return
  const retryMs = RETRY_MS + world.random.int(100)
  if (!node.disk.passfiles.has(walreceiver.epoch)) {
    giveUp(world, node, run, walreceiver, retryMs)
    return
  }
  const upstream = world.node(walreceiver.upstream)
  const reaches =
    world.network.connects(node.name, upstream.name) && upstream.machineUp && !upstream.postgresFrozen
  if (!reaches) {
    later(world, node, 2_000, () => giveUp(world, node, run, walreceiver, retryMs))
    return
  }
  const upRun = upstream.run
  const refused =
    upstream.postmasterFrozen || upRun === null || upRun.status !== 'ready' || upRun.walsenders.has(node.name)
  later(world, node, 2 * world.network.delay(), () => {
    if (run.walreceiver !== walreceiver) return
    if (refused || upstream.run !== upRun) return giveUp(world, node, run, walreceiver, retryMs)
    if (!startReplication(world, node, run, upstream, upRun, walreceiver))
      giveUp(world, node, run, walreceiver, 1_000)
  })
}

function historyOfRun(node: SimNode, run: PostgresRun): TimelineHistory {
  return node.disk.historyOf(run.timelineId)
}

/** WalRcvFetchTimeLineHistoryFiles: every one that is missing, before anything else is asked for; one that the server lacks ends it. */
function fetchHistories(disk: Disk, from: Disk, first: number, last: number): boolean {
  for (let timelineId = Math.max(2, first); timelineId <= last; timelineId++) {
    if (disk.histories.has(timelineId) || disk.fillers.has(timelineId)) continue
    const known = from.histories.get(timelineId)
    if (known !== undefined) disk.histories.set(timelineId, known)
    else if (from.fillers.has(timelineId)) disk.fillers.add(timelineId)
    else return false
  }
  return true
}

function startReplication(
  world: World,
  node: SimNode,
  run: PostgresRun,
  upstream: SimNode,
  upRun: PostgresRun,
  walreceiver: Walreceiver,
): boolean {
  if (upRun.walsenders.has(node.name) || upRun.status !== 'ready') return false
  const history = historyOfRun(upstream, upRun)
  const { disk } = node
  const end = endOf(disk.wal, run.replayed)
  const asked = timelineOfPoint(disk.historyOf(run.timelineId), end)
  if (!fetchHistories(disk, upstream.disk, asked, upRun.timelineId)) {
    world.trace(node.name, 'no-history', `between ${asked} and ${upRun.timelineId} at ${upstream.name}`)
    return false
  }
  const fork = asked === upRun.timelineId ? Number.POSITIVE_INFINITY : switchpoint(history, asked)
  if (fork === null || fork < end) {
    world.trace(node.name, 'refused', `timeline ${asked} at ${end}, going for ${run.timelineId}`)
    world.checks.refusedStream(node, upstream, walreceiver.epoch)
    return false
  }
  const common = Math.min(run.replayed, upstream.disk.wal.length)
  if (!isPrefix(disk.wal, common, upstream.disk.wal)) {
    world.checks.foreignStream(node, upstream)
    return false
  }
  // "requested starting point is ahead of the WAL flush position of this server"
  if (run.replayed > upstream.disk.flushed) return false
  if (run.replayed < upstream.disk.oldest) {
    world.count('requested WAL has already been removed')
    world.trace(node.name, 'wal-gone', `${upstream.name} has none before ${upstream.disk.oldest}`)
    return false
  }
  const target = rescan(disk, run.timelineId, end)
  if (target !== upRun.timelineId) {
    // "new timeline is not a child of database system timeline": it asks again and again, and gets nothing.
    world.trace(
      node.name,
      'no-child',
      `goes for timeline ${target}, ${upstream.name} is on ${upRun.timelineId}`,
    )
    return false
  }
  run.timelineId = target
  forgetUnread(disk, target)
  run.streamed = true
  open(world, node, run, upstream, upRun, walreceiver)
  return true
}

function open(
  world: World,
  node: SimNode,
  run: PostgresRun,
  upstream: SimNode,
  upRun: PostgresRun,
  walreceiver: Walreceiver,
): void {
  const connection: Connection = {
    id: world.nextId(),
    from: upstream,
    to: node,
    fromRun: upRun,
    toRun: run,
    epoch: walreceiver.epoch,
    fromOpen: true,
    toOpen: true,
    sent: node.disk.wal.length,
    pumping: false,
    lostAtMs: null,
  }
  walreceiver.connection = connection
  walreceiver.lastMessageAtMs = world.loop.now
  upRun.walsenders.set(node.name, {
    pid: connection.id,
    name: walreceiver.name,
    connection,
    flushed: 0,
    names: upRun.names,
  })
  world.connections.add(connection)
  world.trace(node.name, 'streams', `from ${upstream.name} (epoch ${walreceiver.epoch})`)
  world.checks.streaming(node, connection)
  acknowledge(world, connection)
  pump(world, connection)
  node.agent.postgresChanged()
}

export function pumpAll(world: World, node: SimNode): void {
  for (const walsender of node.run?.walsenders.values() ?? []) pump(world, walsender.connection)
}

/** Only what is flushed here is sent: a standby never has what its upstream could lose. */
function pump(world: World, connection: Connection): void {
  const { from, fromRun } = connection
  if (connection.pumping || !connection.fromOpen || !connection.toOpen || connection.lostAtMs !== null) return
  if (from.disk.flushed <= connection.sent) return
  connection.pumping = true
  const run = from.run
  if (run !== fromRun) return
  const send = (): void => {
    const upTo = from.disk.flushed
    world.loop.after(world.network.delay(), () => arrive(world, connection, upTo))
  }
  later(world, from, world.random.delay(0.1, 1, 300, 0.005), send, `walsender ${connection.to.name}`)
}

function arrive(world: World, connection: Connection, upTo: number): void {
  connection.pumping = false
  const { from, to, toRun } = connection
  if (!connection.toOpen || to.run !== toRun) return
  if (!world.network.passes(from.name, to.name)) return
  connection.pumping = true
  const take = (): void => {
    connection.pumping = false
    if (!connection.toOpen) return
    receive(world, connection, upTo)
    pump(world, connection)
  }
  inside(to, toRun, take, 'walreceiver')
}

function receive(world: World, connection: Connection, upTo: number): void {
  const { from, to, toRun } = connection
  const { disk } = to
  let count = Math.min(upTo, from.disk.wal.length)
  if (disk.wal.length >= count) return
  disk.partial = 0
  // Now and then a message ends in the middle of a record.
  const cutShort = world.random.chance(0.03)
  if (cutShort) count--
  const last = from.disk.wal[count]
  for (let i = disk.wal.length; i < count; i++) {
    const record = from.disk.wal[i]
    if (record !== undefined) disk.wal.push(record)
  }
  if (cutShort && last !== undefined) disk.partial = world.random.int(last.end - last.start)
  followTimeline(to, from, toRun)
  connection.sent = Math.max(connection.sent, count)
  if (toRun.walreceiver !== null) toRun.walreceiver.lastMessageAtMs = world.loop.now
  world.checks.received(to, connection)
  const flush = (): void => {
    if (to.disk !== disk) return
    disk.flushed = Math.max(disk.flushed, Math.min(count, disk.wal.length))
    acknowledge(world, connection)
    replaySoon(world, to)
    pumpAll(world, to)
  }
  later(world, to, world.random.delay(0.2, 2, 150, 0.01), flush, 'walreceiver')
}

/** The upstream was promoted meanwhile: its history comes before its WAL. */
function followTimeline(to: SimNode, from: SimNode, toRun: PostgresRun): void {
  const timelineId = to.disk.timelineId()
  if (timelineId <= toRun.timelineId) return
  fetchHistories(to.disk, from.disk, toRun.timelineId, timelineId)
  toRun.timelineId = timelineId
}

/** A message on its way arrives as long as the walsender lives, whatever became of the walreceiver. */
function acknowledge(world: World, connection: Connection): void {
  const { from, fromRun, to } = connection
  if (!connection.toOpen) return
  const flushed = to.disk.flushed
  const lateMs = world.random.chance(0.01) ? world.random.between(50, 3_000) : 0
  world.loop.after(world.network.delay() + lateMs, () => {
    if (!world.network.passes(to.name, from.name)) return
    inside(from, fromRun, () => acknowledged(connection, flushed), `walsender ${to.name}`)
  })
}

function acknowledged(connection: Connection, count: number): void {
  const { fromRun, to } = connection
  if (!connection.fromOpen) return
  const walsender = fromRun.walsenders.get(to.name)
  if (walsender?.connection !== connection) return
  walsender.flushed = Math.max(walsender.flushed, count)
  releaseBy(fromRun, walsender)
}

/** What a dying walreceiver has received it still flushes. */
export function stopReceiving(world: World, node: SimNode, why: string): void {
  const { run } = node
  if (run === null || run.walreceiver === null) return
  // It cannot end while it is stopped: the startup process waits for it, and so does the fence.
  if (run.stuck.has('walreceiver')) {
    inside(node, run, () => stopReceiving(world, node, why), 'walreceiver')
    return
  }
  const { connection } = run.walreceiver
  run.walreceiver = null
  node.disk.flushed = node.disk.wal.length
  if (connection !== null) closeReceiving(world, connection, why)
  replaySoon(world, node)
  node.agent.postgresChanged()
}

function closeReceiving(world: World, connection: Connection, why: string): void {
  if (!connection.toOpen) return
  connection.toOpen = false
  world.trace(connection.to.name, 'stream-end', `from ${connection.from.name}: ${why}`)
  if (connection.lostAtMs === null && connection.fromOpen)
    world.loop.after(world.network.delay(), () => closeSending(world, connection))
  forget(world, connection)
}

function closeSending(world: World, connection: Connection): void {
  if (!connection.fromOpen) return
  const { from, fromRun, to } = connection
  const process = `walsender ${to.name}` as const
  if (from.run === fromRun && (from.postgresFrozen || fromRun.stuck.has(process))) {
    inside(from, fromRun, () => closeSending(world, connection), process)
    return
  }
  connection.fromOpen = false
  const { walsenders } = connection.fromRun
  if (walsenders.get(connection.to.name)?.connection === connection) walsenders.delete(connection.to.name)
  if (connection.toOpen && connection.lostAtMs === null)
    world.loop.after(world.network.delay(), () => breakReceiving(world, connection))
  forget(world, connection)
}

function breakReceiving(world: World, connection: Connection): void {
  const { to, toRun } = connection
  if (!connection.toOpen || to.run !== toRun) return
  if (to.postgresFrozen || toRun.stuck.has('walreceiver')) {
    inside(to, toRun, () => breakReceiving(world, connection), 'walreceiver')
    return
  }
  if (toRun.walreceiver?.connection === connection) {
    stopReceiving(world, to, 'closed by the upstream')
    connectSoon(world, to, RETRY_MS)
  } else closeReceiving(world, connection, 'closed by the upstream')
}

function forget(world: World, connection: Connection): void {
  if (!connection.fromOpen && !connection.toOpen) world.connections.delete(connection)
}

/** By signal: the standbys come back in a moment, with the settings in effect. */
export function endWalsenders(world: World, node: SimNode): void {
  for (const walsender of [...(node.run?.walsenders.values() ?? [])])
    closeSending(world, walsender.connection)
}

/** All connections of a postmaster that ends. */
export function closeAll(world: World, node: SimNode, told: boolean): void {
  const { run } = node
  if (run === null) return
  for (const connection of [...world.connections]) {
    if (connection.fromRun === run && connection.fromOpen) {
      connection.fromOpen = false
      if (told && connection.lostAtMs === null)
        world.loop.after(world.network.delay(), () => breakReceiving(world, connection))
    }
    if (connection.toRun === run && connection.toOpen) {
      connection.toOpen = false
      if (told && connection.lostAtMs === null && connection.fromOpen)
        world.loop.after(world.network.delay(), () => closeSending(world, connection))
    }
    forget(world, connection)
  }
  run.walsenders.clear()
  run.walreceiver = null
  refreshContacts(world)
}

/** After every change of the network or of who is frozen: which connections still carry anything. */
export function refreshContacts(world: World): void {
  for (const connection of world.connections) {
    const { from, to } = connection
    const alive = from.run === connection.fromRun && to.run === connection.toRun
    const passes =
      alive && world.network.connects(from.name, to.name) && !from.postgresFrozen && !to.postgresFrozen
    if (passes && connection.lostAtMs !== null) resume(world, connection)
    else if (!passes && connection.lostAtMs === null) lose(world, connection)
  }
}

function resume(world: World, connection: Connection): void {
  connection.lostAtMs = null
  connection.pumping = false
  if (!connection.fromOpen && connection.toOpen) {
    breakReceiving(world, connection)
    return
  }
  if (!connection.toOpen && connection.fromOpen) {
    closeSending(world, connection)
    return
  }
  acknowledge(world, connection)
  connection.sent = Math.min(connection.sent, connection.to.disk.wal.length)
  pump(world, connection)
}

/** Each end gives up by its own timeout. */
function lose(world: World, connection: Connection): void {
  const since = world.loop.now
  connection.lostAtMs = since
  const { timeoutMs } = world
  world.loop.after(timeoutMs * world.random.between(1, 1.5), () => {
    if (connection.lostAtMs === since && connection.fromOpen) closeSending(world, connection)
  })
  world.loop.after(timeoutMs * world.random.between(1, 1.5), () => {
    if (connection.lostAtMs === since) breakReceiving(world, connection)
  })
}

/** All but the last few records; who needs older ones is refused from now on, and who streams them is cut off. */
export function removeOldWal(world: World, node: SimNode): void {
  const { disk, run } = node
  disk.oldest = Math.max(disk.oldest, disk.flushed - 3)
  for (const walsender of [...(run?.walsenders.values() ?? [])])
    if (walsender.connection.sent < disk.oldest) closeSending(world, walsender.connection)
}
