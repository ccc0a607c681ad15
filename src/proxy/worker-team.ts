/**
 * The workers of a proxy, from their primary process: it begins them, begins one again that died, with a pause that grows, and passes on what
 * they say to each other. It is on the path of no byte. A worker that dies takes its own sessions and nothing else.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Log } from '../ports/log.ts'
import type { ProxyFleet, ProxyQuestion, ProxyQuestions } from '../ports/proxy-view.ts'
import type { ToPrimary, ToWorker } from './worker-messages.ts'

/** A worker's process (node:cluster's Worker is one). */
export interface WorkerProcess {
  readonly process: { readonly pid?: number | undefined; kill(signal: NodeJS.Signals): boolean }
  send(message: ToWorker): boolean
  on(event: 'message', listener: (message: ToPrimary) => void): unknown
  on(event: 'exit', listener: (code: number | null, signal: string | null) => void): unknown
}

export interface TeamOptions {
  readonly size: number
  readonly fork: (worker: number) => WorkerProcess
  readonly log: Log
  /** Nothing is under way any more under this hold, at any worker. */
  readonly onDrained: (hold: string) => void
}

export interface StartFailure {
  readonly code: string
  readonly message: string
  readonly hint: string
}

interface Member {
  readonly worker: number
  process: WorkerProcess | null
  state: 'starting' | 'begun' | 'ready' | 'gone'
  /** In a row, without a while of service between them. */
  deaths: number
  startedAtMs: number
  connections: number
  drained: string | null
  timer: NodeJS.Timeout | null
}

interface Asked {
  readonly answers: Map<number, unknown>
  readonly missing: Set<number>
  readonly done: () => void
}

const RESTART_FIRST_MS = 100
const RESTART_AT_MOST_MS = 10_000
/** Whoever has lived for so long has not failed to begin. */
const PROVEN_MS = 30_000
const ANSWER_DEADLINE_MS = 5_000
/** Beyond the time that sessions are given. */
const KILL_AFTER_MS = 3_000
const LOOK_MS = 20

export class WorkerTeam implements ProxyFleet {
  readonly #options: TeamOptions
  readonly #members: readonly Member[]
  readonly #asked = new Map<number, Asked>()
  readonly #paused = new Set<string | null>()
  #nextId = 1
  #stopping = false
  #onSettled: ((failure: StartFailure | null) => void) | null = null

  constructor(options: TeamOptions) {
    this.#options = options
    this.#members = Array.from({ length: options.size }, (_, worker) => ({
      ...{ worker, process: null, state: 'gone', deaths: 0, startedAtMs: 0 },
      ...{ connections: 0, drained: null, timer: null },
    }))
  }

  get pids(): readonly number[] {
    return this.#members.flatMap(({ process }) =>
      process?.process.pid === undefined ? [] : [process.process.pid],
    )
  }

  /** Gives why, when one of them could not begin; the others are to be stopped then. */
  start(): Promise<StartFailure | null> {
    const settled = new Promise<StartFailure | null>((resolve) => {
      this.#onSettled = (failure) => {
        this.#onSettled = null
        resolve(failure)
      }
    })
    for (const member of this.#members) this.#fork(member)
    return settled
  }

  /** Sessions end with their transactions, at the latest after `drainMs`. Can be called twice. */
  async stop(drainMs: number): Promise<void> {
    this.#stopping = true
    const untilMs = performance.now() + drainMs + KILL_AFTER_MS
    for (const member of this.#members) {
      if (member.timer !== null) clearTimeout(member.timer)
      this.#say(member, { say: 'stop', drainMs })
    }
    while (this.#members.some(({ process }) => process !== null)) {
      if (performance.now() > untilMs)
        for (const { process } of this.#members) process?.process.kill('SIGKILL')
      await sleep(LOOK_MS)
    }
  }

  ask<Q extends ProxyQuestion>(
    question: Q,
    input: ProxyQuestions[Q]['input'],
  ): Promise<readonly ProxyQuestions[Q]['answer'][]> {
    this.#remember(question, input)
    const id = this.#nextId++
    const asked = this.#members.filter(hasBegun)
    if (asked.length === 0) return Promise.resolve([])
    return new Promise((resolve) => {
      const timer = setTimeout(() => finish(), ANSWER_DEADLINE_MS)
      const finish = (): void => {
        clearTimeout(timer)
        const entry = this.#asked.get(id)
        this.#asked.delete(id)
        const answers = [...(entry?.answers ?? [])].sort(([a], [b]) => a - b).map(([, answer]) => answer)
        resolve(answers as readonly ProxyQuestions[Q]['answer'][])
      }
      this.#asked.set(id, {
        answers: new Map(),
        missing: new Set(asked.map(({ worker }) => worker)),
        done: finish,
      })
      for (const member of asked) this.#say(member, { say: 'ask', id, question, input })
    })
  }

  /** A worker that begins later is told, too. */
  #remember(question: ProxyQuestion, input: unknown): void {
    if (question !== 'pause' && question !== 'resume') return
    const { database } = input as ProxyQuestions['pause']['input']
    if (question === 'pause') this.#paused.add(database)
    else if (database === null) this.#paused.clear()
    else this.#paused.delete(database)
  }

  #fork(member: Member): void {
    const process = this.#options.fork(member.worker)
    Object.assign(member, { process, state: 'starting', startedAtMs: performance.now(), drained: null })
    process.on('message', (message) => this.#take(member, message))
    process.on('exit', (code, signal) => this.#ended(member, signal ?? `code ${code ?? ''}`))
  }

  #take(member: Member, message: ToPrimary): void {
    switch (message.say) {
      case 'hello':
        member.state = 'begun'
        this.#say(member, { say: 'begin', paused: [...this.#paused] })
        return
      case 'ready':
        member.state = 'ready'
        this.#tellConnections()
        if (this.#members.every(({ state }) => state === 'ready')) this.#onSettled?.(null)
        return
      case 'failed':
        this.#options.log.error(`worker ${member.worker} could not begin`, { reason: message.message })
        this.#onSettled?.(message)
        return
      case 'drained':
        member.drained = message.hold
        this.#lookDrained()
        return
      case 'connections':
        member.connections = message.connections
        this.#tellConnections()
        return
      case 'cancel': {
        const { processId, secretKey } = message
        const whose = this.#members[message.worker]
        if (whose !== undefined) this.#say(whose, { say: 'cancel', processId, secretKey })
        return
      }
      case 'ask':
        void this.#askFor(member, message)
        return
      case 'answer':
        this.#answered(member.worker, message.id, message.answer)
        return
      default:
    }
  }

  async #askFor(member: Member, { id, question, input }: Extract<ToPrimary, { say: 'ask' }>): Promise<void> {
    const answers = await this.ask(question, input as ProxyQuestions[ProxyQuestion]['input'])
    this.#say(member, { say: 'answers', id, answers })
  }

  /** `answer` null: it has none. */
  #answered(worker: number, id: number, answer: unknown): void {
    const asked = this.#asked.get(id)
    if (asked === undefined || !asked.missing.delete(worker)) return
    if (answer !== null) asked.answers.set(worker, answer)
    if (asked.missing.size === 0) asked.done()
  }

  /** Only whoever may serve has to be drained; one that has not begun sees the hold before it hands out anything. */
  #lookDrained(): void {
    const serving = this.#members.filter(hasBegun)
    const hold = serving[0]?.drained ?? null
    if (hold !== null && serving.every(({ drained }) => drained === hold)) this.#options.onDrained(hold)
  }

  #tellConnections(): void {
    const all = this.#members.reduce((sum, { connections }) => sum + connections, 0)
    for (const member of this.#members)
      this.#say(member, { say: 'clientsElsewhere', connections: all - member.connections })
  }

  #ended(member: Member, how: string): void {
    const livedMs = performance.now() - member.startedAtMs
    const wasReady = member.state === 'ready'
    Object.assign(member, { process: null, state: 'gone', connections: 0, drained: null })
    for (const id of [...this.#asked.keys()]) this.#answered(member.worker, id, null)
    this.#tellConnections()
    this.#lookDrained()
    if (this.#stopping) return
    if (this.#onSettled !== null && !wasReady) {
      this.#onSettled({
        ...{ code: 'internal', message: `a worker of the proxy ended before it served (${how})` },
        hint: 'Its log says why.',
      })
      return
    }
    member.deaths = livedMs >= PROVEN_MS ? 1 : member.deaths + 1
    const pauseMs = Math.min(RESTART_AT_MOST_MS, RESTART_FIRST_MS * 2 ** (member.deaths - 1))
    this.#options.log.error(`worker ${member.worker} ended (${how}); it begins again in ${pauseMs} ms`)
    member.timer = setTimeout(() => this.#fork(member), pauseMs)
  }

  #say({ process, state }: Member, message: ToWorker): void {
    if (process === null || (state === 'starting' && message.say !== 'stop')) return
    try {
      process.send(message)
    } catch {
      // Its channel is closed: that it has ended is heard in a moment.
    }
  }
}

function hasBegun({ state }: Member): boolean {
  return state === 'begun' || state === 'ready'
}
