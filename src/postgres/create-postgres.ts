/** The Postgres port for one real server on this machine: joins the parts of this directory. */

import { mkdir, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { RecoveryFacts } from '../core/facts.ts'
import type { Lsn } from '../core/lsn.ts'
import type { Rule } from '../core/primacy.ts'
import type {
  DirectoryState,
  Outcome,
  PositionRequest,
  Postgres,
  PostmasterState,
  PromoteRequest,
  RefusedParameter,
  ReplicationConfiguration,
  RewindFrom,
  RewindTarget,
  ServerFacts,
  StablePosition,
} from '../ports/postgres.ts'
import { type AdapterLog, silentLog } from './adapter-log.ts'
import { moveAside, removeReplaced } from './aside.ts'
import type { Binaries } from './binaries.ts'
import type { TlsPaths } from './configuration-input.ts'
import { diskSize, writeConfiguration } from './configure.ts'
import { inspectDirectory } from './directory.ts'
import type { HbaMember, OwnAccess } from './hba.ts'
import { initialize, type SecretPaths } from './initialize.ts'
import { type NodeLayout, nodeLayout } from './layout.ts'
import { removeLeftovers } from './leftovers.ts'
import { OBSERVE_SQL, type ObserveMemory, readLook } from './observe.ts'
import { DONE, failed, fileFailure, ok } from './outcome.ts'
import { newestHistory, type PositionMemory, runningPosition, stoppedPosition } from './position.ts'
import { Postmaster } from './postmaster.ts'
import { preflight } from './preflight.ts'
import { childrenOf, isAlive, listPostgresIn, readProcess, signalProcess } from './processes.ts'
import { promote } from './promote.ts'
import { openProofSession, type ProofSession, proveCommit } from './prove-commit.ts'
import { inspectRecovery } from './recovery-titles.ts'
import { rewind } from './rewind.ts'
import { checkpointSource } from './rewind-source.ts'
import { readSecret, writePassfile } from './secrets.ts'
import { NOT_IN_PREREQUISITE_STATE, Session, type SessionOptions, sqlStateOf } from './session.ts'
import type { UserParameters } from './setting-text.ts'
import { advanceSlot, createSlot, dropSlot } from './slots.ts'
import { settleTimelines } from './timelines.ts'
import { tryDisk } from './try-disk.ts'
import { waitUntil } from './wait.ts'

/** A slot function touches one small file; only a frozen server needs longer. */
const SLOT_DEADLINE_MS = 5_000
/** Clients wait for it: one small question each time, for a tenth of a second or so. */
const PROMOTED_INTERVAL_MS = 3

export interface PostgresOptions {
  /** Holds data/, conf/ and log/; absolute, 0700, owned by the user of this process. */
  readonly nodeDir: string
  /** The node's name: cluster_name, and application_name of its walreceiver. */
  readonly node: string
  readonly binaries: Binaries
  readonly port: number
  /** Addresses or host names; '*' is every address. */
  readonly listenAddresses: readonly string[]
  /** A short one: the socket's path ends at 107 bytes. It must exist. */
  readonly socketDirectory: string
  /** Asked at every configure(): members come and go while an agent lives. */
  readonly members: () => readonly HbaMember[]
  readonly secrets: SecretPaths
  readonly tls: TlsPaths
  readonly rtoMs: number
  /** The application's role and database, made by initialize(). */
  readonly applicationRole: string
  readonly database: string
  readonly superuser?: string
  readonly parameters?: UserParameters
  /** Lines of pg_hba.conf that come after ours. */
  readonly extraHba?: readonly string[]
  /** Left out: clients are let in as everywhere. */
  readonly ownAccess?: OwnAccess | undefined
  /** Lines of pg_ident.conf. */
  readonly ident?: readonly string[]
  readonly log?: AdapterLog
  /** Bytes of the file system that holds the data; for tests, and where a quota is smaller than the disk. */
  readonly probeDiskBytes?: (path: string) => Promise<number>
}

export function createPostgres(options: PostgresOptions): Postgres {
  return new LocalPostgres(options)
}

class LocalPostgres implements Postgres {
  readonly #options: PostgresOptions
  readonly #layout: NodeLayout
  readonly #log: AdapterLog
  readonly #postmaster: Postmaster
  readonly #listeners: ((what: string) => void)[] = []
  #session: Session | null = null
  #proofSession: Promise<Outcome<ProofSession>> | null = null
  /** One connection attempt at a time, shared by whoever needs it. */
  #connecting: Promise<Outcome<Session>> | null = null
  #memory: ObserveMemory | null = null
  #closed = false
  #diskSize: number | null = null
  readonly #position: PositionMemory = { drainedAt: null }

  constructor(options: PostgresOptions) {
    this.#options = options
    this.#layout = nodeLayout(options.nodeDir)
    this.#log = options.log ?? silentLog
    this.#postmaster = new Postmaster({
      layout: this.#layout,
      node: options.node,
      binaries: options.binaries,
      port: options.port,
      socketDirectory: options.socketDirectory,
      log: this.#log,
      onEnd: (what) => this.#notify(what),
    })
  }

  inspectDirectory(): Promise<DirectoryState> {
    return inspectDirectory(this.#layout.dataDir, this.#options.binaries.major)
  }

  inspectPostmaster(): Promise<PostmasterState> {
    return this.#postmaster.inspect()
  }

  tryDisk(): Promise<void> {
    return tryDisk(this.#layout.dataDir)
  }

  inspectRecovery(postmasterPid: number): Promise<RecoveryFacts | null> {
    return inspectRecovery(postmasterPid)
  }

  async observe(deadlineMs: number): Promise<Outcome<ServerFacts>> {
    const deadlineAt = performance.now() + deadlineMs
    const left = (): number => Math.max(1, deadlineAt - performance.now())
    const session = await this.#connected(deadlineMs)
    if (session.kind === 'failed') return session
    const observe = { name: 'observe', text: OBSERVE_SQL, values: [this.#memory?.confLoadTime ?? null] }
    let rows = await session.value.query(observe, left())
    // Promoted in the middle of the look: what a standby can be asked, a primary refuses. The next look sees a primary.
    if (sqlStateOf(rows) === NOT_IN_PREREQUISITE_STATE) rows = await session.value.query(observe, left())
    if (rows.kind === 'failed') return rows
    const look = readLook(rows.value[0]?.['facts'], this.#memory)
    if (look.kind === 'failed') return look
    this.#memory = look.value.memory
    return ok(look.value.facts)
  }

  async initialize(
    signal: AbortSignal,
    beforeNamed: (systemIdentifier: string) => Promise<void>,
  ): Promise<Outcome> {
    const directory = await this.inspectDirectory()
    if (directory.kind === 'unusable') return failed(directory.code, directory.reason)
    if (directory.kind === 'cluster') {
      return failed('foreign-data', `${this.#layout.dataDir} holds a cluster already`)
    }
    const { binaries, secrets, applicationRole, database } = this.#options
    const superuser = this.#options.superuser ?? 'postgres'
    const roles = { superuser, applicationRole, database }
    const options = { layout: this.#layout, binaries, secrets, log: this.#log, ...roles }
    return initialize(options, signal, beforeNamed)
  }

  removeLeftovers(): Promise<readonly string[]> {
    return removeLeftovers(this.#layout)
  }

  async configure(
    configuration: ReplicationConfiguration,
  ): Promise<Outcome<{ readonly changed: boolean; readonly refused: readonly RefusedParameter[] }>> {
    const { node, port, listenAddresses, socketDirectory, tls, rtoMs } = this.#options
    const diskBytes = await this.#diskBytes()
    if (diskBytes.kind === 'failed') return diskBytes
    return writeConfiguration(
      {
        ...{ node, port, listenAddresses, socketDirectory, tls, rtoMs },
        major: this.#options.binaries.major,
        layout: this.#layout,
        members: this.#options.members(),
        parameters: this.#options.parameters ?? {},
        extraHba: this.#options.extraHba ?? [],
        ownAccess: this.#options.ownAccess,
        ident: this.#options.ident ?? [],
        diskBytes: diskBytes.value,
      },
      configuration,
    )
  }

  /** Asked once: a disk that grows under a running agent is noticed at its next start. */
  async #diskBytes(): Promise<Outcome<number>> {
    const { dataDir } = this.#layout
    try {
      this.#diskSize ??= await (this.#options.probeDiskBytes ?? diskSize)(dataDir)
      return ok(this.#diskSize)
    } catch (error) {
      return fileFailure(error, dataDir)
    }
  }

  async start(
    deadlineMs: number,
    mayBegin: () => boolean = () => true,
  ): Promise<Outcome<{ readonly pid: number }>> {
    const running = await this.#postmaster.inspect()
    if (running.kind === 'stopped') {
      const directory = await this.inspectDirectory()
      if (directory.kind === 'unusable') return failed(directory.code, directory.reason)
      if (directory.kind === 'absent')
        return failed('postgres-failed', `there is no cluster in ${this.#layout.dataDir}`)
      const { tls, port, listenAddresses, socketDirectory } = this.#options
      const ready = await preflight({
        dataDir: this.#layout.dataDir,
        ...{ tls, port, listenAddresses, socketDirectory },
      })
      if (ready.kind === 'failed') return ready
      if (directory.standbySignal) {
        const settled = await settleTimelines(this.#layout.dataDir, directory.control)
        if (settled.kind === 'failed') return settled
      }
    }
    return this.#postmaster.start(deadlineMs, mayBegin)
  }

  /** Nothing is waited for before the first signal (I10). */
  async stop(mode: 'fast' | 'immediate', deadlineMs: number, hasten?: AbortSignal): Promise<Outcome> {
    // Our own connections must not be reported as broken: it was asked for.
    this.#dropSession()
    const stopped = this.#postmaster.stop(mode, deadlineMs, hasten)
    await this.#dropProofSession()
    return stopped
  }

  reload(): Promise<Outcome> {
    return this.#postmaster.reload()
  }

  async checkpoint(deadlineMs: number): Promise<Outcome> {
    const session = await Session.connect(this.#sessionOptions(), deadlineMs)
    if (session.kind === 'failed') return session
    const made = await session.value.query({ text: 'CHECKPOINT' }, deadlineMs)
    session.value.destroy()
    return made.kind === 'failed' ? made : DONE
  }

  createSlot(name: string): Promise<Outcome> {
    return this.#withSession((session) => createSlot(session, name, SLOT_DEADLINE_MS))
  }

  dropSlot(name: string): Promise<Outcome> {
    return this.#withSession((session) => dropSlot(session, name, SLOT_DEADLINE_MS))
  }

  advanceSlot(name: string, to: Lsn): Promise<Outcome> {
    return this.#withSession((session) => advanceSlot(session, name, to, SLOT_DEADLINE_MS))
  }

  async proveCommit(
    deadlineMs: number,
    rule: Pick<Rule, 'acks' | 'standbys'>,
  ): Promise<Outcome<{ readonly commitLsn: Lsn }>> {
    const deadlineAt = performance.now() + deadlineMs
    const opened =
      (await this.#takeProofSession()) ?? (await openProofSession(this.#sessionOptions(), deadlineMs))
    if (opened.kind === 'failed') return opened
    return proveCommit(opened.value, Math.max(1, deadlineAt - performance.now()), rule, async (pid) => {
      await this.#signalChildren([pid], () => true)
    })
  }

  /** The one that was opened while the promotion went on, if it still stands: to open one takes longer than the proof. */
  async #takeProofSession(): Promise<Outcome<ProofSession> | null> {
    const opening = this.#proofSession
    this.#proofSession = null
    const opened = await opening
    return opened?.kind === 'ok' && opened.value.session.isOpen ? opened : null
  }

  async #dropProofSession(): Promise<void> {
    const opened = await this.#takeProofSession()
    if (opened?.kind === 'ok') opened.value.session.destroy()
  }

  async endWalsenders(pids: readonly number[]): Promise<Outcome> {
    return this.#signalChildren(pids, (title) => title.includes(': walsender '))
  }

  async stablePosition({
    directory,
    postmaster,
    deadlineMs,
  }: PositionRequest): Promise<Outcome<StablePosition | null>> {
    if (directory.kind !== 'cluster') return ok(null)
    const { dataDir } = this.#layout
    if (postmaster.kind === 'stopped') return ok(await stoppedPosition(dataDir, directory.control))
    if (postmaster.kind !== 'running' || postmaster.status === 'starting') return ok(null)
    // The process list first: a walreceiver that ends right after it was seen cannot have written behind what is read then.
    const processes = await childrenOf(postmaster.pid)
    if (processes.some((each) => each.title.includes(': walreceiver'))) return ok(null)
    const session = await this.#connected(deadlineMs)
    if (session.kind === 'failed') return session
    return runningPosition(
      session.value,
      dataDir,
      directory.control.walSegmentSize,
      this.#position,
      deadlineMs,
    )
  }

  newestHistory(): Promise<number> {
    return newestHistory(this.#layout.dataDir)
  }

  async promote(request: PromoteRequest): Promise<Outcome<{ readonly nextXid: string }>> {
    const { fromTimelineId, timelineId, postmasterPid, deadlineMs, signal } = request
    await this.#dropProofSession()
    const promoted = await promote({
      dataDir: this.#layout.dataDir,
      from: fromTimelineId,
      to: timelineId,
      signal: async () => {
        const postmaster = await this.inspectPostmaster()
        const same = postmaster.kind === 'running' && postmaster.pid === postmasterPid
        const may = same && !signal.aborted && request.mayBegin()
        const sent = may && signalProcess(postmasterPid, 'SIGUSR1')
        if (sent) this.#proofSession = openProofSession(this.#sessionOptions(), SLOT_DEADLINE_MS)
        return sent
      },
      outcome: (patienceMs) => this.#becomesWritable(postmasterPid, patienceMs, signal),
      deadlineMs,
    })
    if (promoted.kind === 'failed') return promoted
    return this.#withSession((session) => readNextXid(session, SLOT_DEADLINE_MS))
  }

  async settle(deadlineMs: number): Promise<Outcome<{ readonly synchronousStandbyNames: string }>> {
    const looked = await this.observe(Math.min(deadlineMs, SLOT_DEADLINE_MS))
    if (looked.kind === 'failed') return looked
    const ended = await this.endWalsenders(looked.value.walsenders.map((each) => each.pid))
    if (ended.kind === 'failed') return ended
    return this.#withSession(async (session) => {
      const before = await session.query({ text: 'CHECKPOINT' }, deadlineMs)
      if (before.kind === 'failed') return before
      const shown = await session.query({ text: 'SHOW synchronous_standby_names' }, SLOT_DEADLINE_MS)
      if (shown.kind === 'failed') return shown
      return ok({ synchronousStandbyNames: String(shown.value[0]?.['synchronous_standby_names']) })
    })
  }

  async #becomesWritable(
    postmasterPid: number,
    patienceMs: number,
    signal: AbortSignal,
  ): Promise<'promoted' | 'ended' | 'late'> {
    let outcome: 'promoted' | 'ended' | 'late' = 'late'
    const settled = async (): Promise<boolean> => {
      if (signal.aborted) return true
      if (await this.#isWritable()) outcome = 'promoted'
      else if (!(await isAlive(postmasterPid))) outcome = 'ended'
      return outcome !== 'late'
    }
    await waitUntil(patienceMs, settled, PROMOTED_INTERVAL_MS)
    return outcome
  }

  async #isWritable(): Promise<boolean> {
    const answer = await this.#withSession((session) =>
      session.query(
        { name: 'writable', text: 'SELECT NOT pg_is_in_recovery() AS writable' },
        SLOT_DEADLINE_MS,
      ),
    )
    return answer.kind === 'ok' && answer.value[0]?.['writable'] === true
  }

  async rewind(source: RewindFrom, target: RewindTarget, signal: AbortSignal): Promise<Outcome> {
    const { binaries, secrets, tls } = this.#options
    const { pgRewind, postgres, env } = binaries
    if (pgRewind === null) return failed('rewind-failed', 'these binaries have no pg_rewind')
    const password = await readSecret(secrets.superuser)
    if (password.kind === 'failed') return password
    const user = this.#options.superuser ?? 'postgres'
    const passfile = join(this.#layout.nodeDir, 'secrets', 'rewind.passfile')
    await mkdir(dirname(passfile), { recursive: true, mode: 0o700 })
    const written = await writePassfile(passfile, [
      { ...source, database: '*', user, password: password.value },
    ])
    if (written.kind === 'failed') return written
    try {
      const from = { ...source, user, passfile, caFile: tls.ca }
      const ready = await checkpointSource(from, password.value)
      if (ready.kind === 'failed') return ready
      return await rewind(this.#layout, { pgRewind, postgres, env }, from, target, signal)
    } finally {
      await rm(passfile, { force: true })
    }
  }

  onChange(listener: (what: string) => void): void {
    this.#listeners.push(listener)
  }

  async moveAside(reason: string): Promise<Outcome<{ readonly path: string }>> {
    const busy = (await listPostgresIn(this.#layout.dataDir))[0]
    if (busy !== undefined) {
      return failed(
        'postgres-failed',
        `process ${busy.pid} (${busy.title}) still runs in ${this.#layout.dataDir}`,
      )
    }
    return moveAside(this.#layout, reason, new Date())
  }

  removeReplaced(): Promise<Outcome<readonly string[]>> {
    return removeReplaced(this.#layout)
  }

  close(): Promise<void> {
    this.#closed = true
    this.#dropSession()
    void this.#dropProofSession()
    this.#postmaster.close()
    return Promise.resolve()
  }

  /** Only a child of our own postmaster is signalled: a number from an old look may belong to anybody by now. */
  async #signalChildren(pids: readonly number[], fits: (title: string) => boolean): Promise<Outcome> {
    const postmaster = await this.#postmaster.inspect()
    if (postmaster.kind !== 'running') return failed('connect-failed', 'PostgreSQL does not run')
    for (const pid of pids) {
      const found = await readProcess(pid)
      if (found?.parent === postmaster.pid && fits(found.title)) signalProcess(pid, 'SIGTERM')
    }
    return DONE
  }

  #sessionOptions(): SessionOptions {
    const { socketDirectory, port, secrets, node } = this.#options
    return { socketDirectory, port, passwordFile: secrets.agent, applicationName: `understudy agent ${node}` }
  }

  async #withSession<T>(use: (session: Session) => Promise<Outcome<T>>): Promise<Outcome<T>> {
    const session = await this.#connected(SLOT_DEADLINE_MS)
    return session.kind === 'ok' ? use(session.value) : session
  }

  #connected(deadlineMs: number): Promise<Outcome<Session>> {
    if (this.#closed) return Promise.resolve(failed('connect-failed', 'this adapter was closed'))
    if (this.#session?.isOpen === true) return Promise.resolve(ok(this.#session))
    this.#connecting ??= this.#connect(deadlineMs).finally(() => {
      this.#connecting = null
    })
    return this.#connecting
  }

  async #connect(deadlineMs: number): Promise<Outcome<Session>> {
    const onBreak = (reason: string): void => this.#notify(`the connection to PostgreSQL broke: ${reason}`)
    const connected = await Session.connect({ ...this.#sessionOptions(), onBreak }, deadlineMs)
    if (connected.kind === 'failed') return connected
    if (this.#closed) {
      connected.value.destroy()
      return failed('connect-failed', 'this adapter was closed')
    }
    this.#session = connected.value
    this.#memory = null
    return connected
  }

  #dropSession(): void {
    this.#session?.destroy()
    this.#session = null
  }

  #notify(what: string): void {
    if (this.#closed) return
    for (const listener of this.#listeners) listener(what)
  }
}

/**
 * The first transaction number that nobody has used yet. Numbers of transactions that were lost with an old primary are used again, so
 * only smaller ones may be asked for with pg_xact_status (docs/proxy: COMMIT in doubt).
 */
async function readNextXid(
  session: Session,
  deadlineMs: number,
): Promise<Outcome<{ readonly nextXid: string }>> {
  const rows = await session.query(
    { text: 'SELECT pg_snapshot_xmax(pg_current_snapshot())::text AS xid' },
    deadlineMs,
  )
  return rows.kind === 'ok' ? ok({ nextXid: String(rows.value[0]?.['xid']) }) : rows
}
