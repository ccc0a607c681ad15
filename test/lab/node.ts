/**
 * One node of a lab: its agent, its PostgreSQL and everything that these have started, as processes that can be signalled one by one or
 * together. The agent is looked after as a service manager would: one that ends although nobody ended it is started again, and that is
 * remembered.
 */
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ClusterProcess, processesOf, signal } from '../support/cluster-processes.ts'
import { removeClockRemains, stepClock, withSteppedClock } from './clock.ts'
import { fillDisk, freeDisk, freezeDisk, thawDisk } from './disk.ts'
import type { LabFiles } from './files.ts'
import type { Network } from './network.ts'
import { type Program, startProgram } from './program.ts'

/**
 * agent and postmaster: that process alone. postgres: the postmaster and its children. node: everything, a clone under way as well.
 */
export type Part = 'agent' | 'postmaster' | 'postgres' | 'node'

export interface AgentEnd {
  readonly node: string
  readonly how: string
  readonly atMs: number
}

export interface LabNodeOptions {
  readonly name: string
  readonly files: LabFiles
  readonly network: Network
  /** Node and its flags, and what it runs: as the user that runs PostgreSQL can reach them. */
  readonly node: string
  readonly program: string
  /** null: its clock cannot be stepped. */
  readonly faketime: string | null
  readonly canFill: boolean
  readonly onUnexpectedEnd: (end: AgentEnd) => void
}

/** Long enough not to spin on one that cannot start. */
const RESTART_AFTER_MS = 500
const END_PATIENCE_MS = 60_000

export class LabNode {
  readonly name: string
  readonly directory: string
  readonly canFill: boolean
  readonly canStepClock: boolean
  readonly #options: LabNodeOptions
  #agent: Program | null = null
  #wanted = false

  constructor(options: LabNodeOptions) {
    this.#options = options
    this.name = options.name
    this.directory = options.files.nodeDirectory(options.name)
    this.canFill = options.canFill
    this.canStepClock = options.faketime !== null
    if (this.canStepClock) stepClock(this.#clockFile, 0)
  }

  get #clockFile(): string {
    return path.join(this.#options.files.directory, 'clocks', this.name)
  }

  // --- the agent

  get agentRuns(): boolean {
    return this.#agent !== null && this.#agent.outcome() === null
  }

  /** Does nothing when it runs. From now on it is started again when it ends by itself. */
  startAgent(): void {
    this.#wanted = true
    if (this.agentRuns) return
    const { files, network, node, program, faketime } = this.#options
    const command = [
      ...(faketime === null ? [] : withSteppedClock(faketime, this.#clockFile)),
      ...[node, '--max-semi-space-size=2', program],
      ...['agent', '--config', files.configFile(this.name), '--node', this.name],
    ]
    const agent = startProgram({
      command: network.at(this.name, command),
      directory: files.directory,
      logFile: path.join(files.directory, 'logs', `${this.name}.log`),
      env: { HOME: this.directory },
    })
    this.#agent = agent
    void agent.ended.then((how) => this.#agentEnded(agent, how))
  }

  async #agentEnded(agent: Program, how: string): Promise<void> {
    removeClockRemains(agent.pid)
    if (this.#agent !== agent || !this.#wanted) return
    this.#options.onUnexpectedEnd({ node: this.name, how, atMs: performance.now() })
    await sleep(RESTART_AFTER_MS)
    if (this.#agent === agent && this.#wanted) this.startAgent()
  }

  /** In order, as a service manager does: SIGTERM, and PostgreSQL is stopped first. */
  async stopAgent(): Promise<void> {
    this.#wanted = false
    const agent = this.#agent
    if (agent === null || agent.outcome() !== null) return
    signal(agent.pid, 'SIGTERM')
    const patience = sleep(END_PATIENCE_MS, null, { ref: false })
    const how = await Promise.race([agent.ended, patience])
    if (how === null)
      throw new Error(`the agent of ${this.name} has not ended ${END_PATIENCE_MS} ms after SIGTERM`)
  }

  // --- processes

  /** Everything of the node, whoever started it. */
  processes(): readonly ClusterProcess[] {
    return processesOf([this.#options.files.directory]).filter(({ node }) => node === this.name)
  }

  pidsOf(part: Part, all = this.processes()): readonly number[] {
    const postmasters = all.filter(({ kind }) => kind === 'postmaster').map(({ pid }) => pid)
    switch (part) {
      case 'agent':
        return all.filter(({ kind }) => kind === 'agent').map(({ pid }) => pid)
      case 'postmaster':
        return postmasters
      case 'postgres':
        return [...postmasters, ...all.filter(({ kind }) => kind === 'backend').map(({ pid }) => pid)]
      case 'node':
        return all.map(({ pid }) => pid)
    }
  }

  /** Children of the postmaster by what their title says they are, like 'checkpointer', 'walreceiver', 'walsender', 'startup'. */
  pidsOfBackends(title: string): readonly number[] {
    return this.processes()
      .filter(({ kind, command }) => kind === 'backend' && command.includes(`: ${title}`))
      .map(({ pid }) => pid)
  }

  get postgresRuns(): boolean {
    return this.pidsOf('postmaster').length > 0
  }

  /** SIGKILL, and waits until they are gone. A killed agent is started again only by `startAgent`. */
  async kill(part: Part): Promise<void> {
    if (part === 'agent' || part === 'node') this.#wanted = false
    const deadline = performance.now() + 5_000
    for (let first = true; ; first = false) {
      const pids = this.pidsOf(part)
      // Killing the postmaster alone must not kill the one that its agent starts next.
      if (pids.length === 0 || (!first && part !== 'node')) break
      if (performance.now() > deadline) throw new Error(`${pids.join(', ')} of ${this.name} do not end`)
      for (const pid of pids) signal(pid, 'SIGKILL')
      if (part !== 'node') break
      await sleep(5)
    }
    if (part === 'agent' || part === 'node') await this.#agent?.ended
  }

  /**
   * Looks now who that is, and kills them when it is called: finding processes takes longer than most steps of an election. Whoever was
   * started in between is found then.
   */
  aim(part: Part): () => Promise<void> {
    const pids = this.pidsOf(part)
    return async () => {
      if (part === 'agent' || part === 'node') this.#wanted = false
      for (const pid of pids) signal(pid, 'SIGKILL')
      if (part === 'node') await this.kill('node')
      else if (part === 'agent') await this.#agent?.ended
    }
  }

  /** SIGSTOP: to its peers the part is silent, and its connections stay open. */
  freeze(part: Part): void {
    for (const pid of this.pidsOf(part)) signal(pid, 'SIGSTOP')
    // Who was just being forked when the list was made.
    for (const pid of this.pidsOf(part)) signal(pid, 'SIGSTOP')
  }

  /** SIGCONT to everything of the node. */
  thaw(): void {
    for (const pid of this.pidsOf('node')) signal(pid, 'SIGCONT')
  }

  // --- disk and clock

  async fillDisk(leaveBytes = 0): Promise<void> {
    if (!this.canFill) throw new Error(`${this.name} has no disk of its own that could be filled`)
    await fillDisk(this.directory, leaveBytes)
  }

  freeDisk(): void {
    freeDisk(this.directory)
  }

  /** Whatever writes to it waits, and cannot be ended. In a lab whose disks can do that; others say so. */
  async freezeDisk(): Promise<void> {
    await freezeDisk(this.directory)
  }

  async thawDisk(): Promise<void> {
    await thawDisk(this.directory)
  }

  /** The agent's wall clock, within a second; never PostgreSQL's, never the machine's. 0: right again. */
  stepClock(seconds: number): void {
    if (!this.canStepClock) throw new Error('faketime is not installed (apt install faketime)')
    stepClock(this.#clockFile, seconds)
  }
}
