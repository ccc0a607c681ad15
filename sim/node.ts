/** One machine of the simulation: its disk, its state directory, its PostgreSQL and its agent. */
import type { Sentinel } from '../src/core/cluster-view.ts'
import type { ControlState } from '../src/core/facts.ts'
import type { Knowledge } from '../src/core/primacy.ts'
import type { TimelineHistory } from '../src/core/timeline.ts'
import type { SimAgent } from './agent.ts'
import type { Clock } from './clock.ts'
import { endOf, timelineOf, type WalRecord } from './wal.ts'

export interface Files {
  readonly role: 'primary' | 'standby'
  /** `epoch` names the passfile; without that file nobody can connect. */
  readonly conninfo: { readonly upstream: string; readonly epoch: number; readonly name: string } | null
  readonly names: string
}

/** What survives a restart of PostgreSQL; after a crash of the machine only what was flushed. */
export class Disk {
  present = false
  systemIdentifier = ''
  wal: WalRecord[] = []
  flushed = 0
  /** Records before it have been recycled. */
  oldest = 0
  /** Recovery could not begin, because WAL is missing that it needs first. */
  lacksWal = false
  /** Bytes of a record after the last complete one. */
  partial = 0
  state: ControlState = 'shutDown'
  /** Of the last checkpoint, and what recovery must have reached once it had shown more: pg_control lags behind what is on the disk. */
  controlTimelineId = 1
  minTimelineId = 0
  checkpoint = 0
  minRecovery = 0
  /** WAL that a rewind needs from its source before the directory is consistent; an LSN. */
  needsLsn = 0
  histories = new Map<number, TimelineHistory>()
  fillers = new Set<number>()
  standbySignal = false
  files: Files | null = null
  passfiles = new Set<number>()
  /** The postmaster that ended last, when that was in order. */
  endedRun: number | null = null
  /** Half rewound: must never be started. */
  garbage = false

  /** The end of complete records. */
  end(): number {
    return endOf(this.wal)
  }

  timelineId(): number {
    return timelineOf(this.wal)
  }

  historyOf(timelineId: number): TimelineHistory {
    return this.histories.get(timelineId) ?? { timelineId, ancestors: [] }
  }
}

export interface StateDirectory {
  promised: number
  followed: number
  sentinel: Sentinel | null
  initialized: string | null
  /** The postmaster that was asked to promote. */
  promoteAsked: number | null
  /** The newest document that was written down. */
  known: Knowledge | null
  /** That must have been. */
  owed: Knowledge | null
  /** The own lease of I10. */
  lease: { readonly id: number; readonly untilMs: number; readonly boot: number } | null
}

export function emptyState(): StateDirectory {
  return {
    promised: 0,
    followed: 0,
    sentinel: null,
    initialized: null,
    promoteAsked: null,
    known: null,
    owed: null,
    lease: null,
  }
}

/** One TCP connection between a walsender and a walreceiver; each end may outlive the other. */
export interface Connection {
  readonly id: number
  readonly from: SimNode
  readonly to: SimNode
  readonly fromRun: PostgresRun
  readonly toRun: PostgresRun
  /** Of the passfile that it was made with. */
  readonly epoch: number
  fromOpen: boolean
  toOpen: boolean
  sent: number
  pumping: boolean
  /** Since when nothing passes. */
  lostAtMs: number | null
}

export interface Walreceiver {
  readonly upstream: string
  readonly epoch: number
  /** application_name */
  readonly name: string
  connection: Connection | null
  lastMessageAtMs: number
}

export interface Walsender {
  readonly pid: number
  readonly name: string
  readonly connection: Connection
  /** Number of records that the standby has flushed. */
  flushed: number
  /** The synchronous_standby_names that this process has applied. */
  names: string
}

export interface WaitingCommit {
  readonly record: WalRecord
  readonly done: () => void
}

/** From one start of the postmaster to its end. */
export class PostgresRun {
  readonly id: number
  /** Of the postmaster: one that restarts by itself after a backend's crash keeps it. */
  readonly pid: number
  readonly startedAtMs: number
  status: 'starting' | 'ready' | 'stopping' = 'starting'
  inRecovery: boolean
  /** What SHOW says. */
  names: string
  /** What the checkpointer has applied: whether commits wait at all. */
  namesOfCheckpointer: string
  checkpointerBehind = 0
  /** What the startup process has applied. */
  conninfo: Files['conninfo']
  /** What the postmaster has read, and every process that it starts begins with. */
  conninfoOfPostmaster: Files['conninfo']
  /** Signals to read the files again that the postmaster has not seen to yet. */
  reloads = 0
  /** Single processes that are stopped, and what they would have done since. */
  readonly stuck = new Map<string, (() => void)[]>()
  walreceiver: Walreceiver | null = null
  readonly walsenders = new Map<string, Walsender>()
  waiting: WaitingCommit[] = []
  /** Commits before this place wait no more. */
  released = 0
  replayed = 0
  replayScheduled = false
  connectScheduled = false
  streamed = false
  /** The timeline that recovery goes for, or the one that is written. */
  timelineId: number
  promoting = false
  /** SIGINT has come: a postmaster that restarts its processes forgets nothing. */
  mustStop = false
  /** Recovery is ending; it ends once. */
  finishing = false

  /** `before`: the same postmaster, which restarts its processes with what it has read. */
  constructor(id: number, startedAtMs: number, disk: Disk, before: PostgresRun | null) {
    this.id = id
    this.pid = before?.pid ?? id
    this.startedAtMs = startedAtMs
    this.inRecovery = true
    this.names = before === null ? (disk.files?.names ?? '') : before.names
    this.namesOfCheckpointer = this.names
    this.conninfoOfPostmaster = before === null ? (disk.files?.conninfo ?? null) : before.conninfoOfPostmaster
    this.conninfo = this.conninfoOfPostmaster
    this.timelineId = disk.timelineId()
  }
}

export interface SimNode {
  readonly name: string
  readonly index: number
  readonly agent: SimAgent
  readonly clock: Clock
  disk: Disk
  state: StateDirectory
  machineUp: boolean
  run: PostgresRun | null
  postgresFrozen: boolean
  /** Only the postmaster hangs: no new connections, but streams and commits go on. */
  postmasterFrozen: boolean
  /** Every start fails, and a running PostgreSQL has crashed. */
  diskFull: boolean
  /** What PostgreSQL would have done while it was frozen. */
  deferred: (() => void)[]
  /** The highest epoch in which this node voted: what the checks hold it to. */
  votedIn: number
  /** It had data that it may have acknowledged, and lost it: it has no vote before it is cloned (I12). */
  lostData: boolean
}
