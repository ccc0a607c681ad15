/** One run on one lab: round after round until the time is up or something is wrong; what was said, and what is kept of a run that failed. */
import { appendFileSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { isBroken } from '../test/lab/clients/checker.ts'
import { finalStates } from '../test/lab/clients/final.ts'
import { Workload, type WorkloadOptions } from '../test/lab/clients/workload.ts'
import { FAULTS, surroundingsOf } from '../test/lab/faults/catalogue.ts'
import type { Lab } from '../test/lab/lab.ts'
import { Figures } from './figures.ts'
import type { TortureOptions } from './options.ts'
import { DeadEnd, type RoundResult, runRound } from './round.ts'
import { type PlannedRound, printRound, readRounds, Schedule } from './schedule.ts'

/** More says nothing new. */
const SHOWN_VIOLATIONS = 12

/** One address for all; who is held waits longer than the proxy does, so that it is the proxy that says so. */
const THROUGH_PROXY: Pick<WorkloadOptions, 'nodes' | 'writers' | 'patienceMs'> = {
  nodes: ['proxy'],
  writers: 16,
  patienceMs: 15_000,
}

export class Torture {
  readonly #lab: Lab
  readonly #options: TortureOptions
  readonly #figures = new Figures()
  readonly #said: string[] = []
  #broken: string | null = null
  readonly #planned: PlannedRound[] = []
  readonly #interrupted: AbortSignal

  constructor(lab: Lab, options: TortureOptions, interrupted: AbortSignal) {
    this.#interrupted = interrupted
    this.#lab = lab
    this.#options = options
  }

  /** True when nothing is wrong. */
  async run(): Promise<boolean> {
    const lab = this.#lab
    const { breaks } = this.#options
    this.#introduce()
    await lab.healthy()
    const workload = new Workload({
      ...(lab.proxy === null ? this.#pastTheProxy() : THROUGH_PROXY),
      connectionOf: (node) => (lab.proxy === null ? lab.connectionOf(node, false) : lab.proxyConnection()),
      superuserOf: (node) => lab.superuserOf(node),
      ...(breaks === null ? {} : { synchronousCommit: breaks }),
    })
    try {
      await this.#rounds(workload)
    } finally {
      await workload.close()
    }
    for (const line of this.#figures.lines()) this.#say(line)
    const proxyEnd = lab.proxy?.outcome ?? null
    if (proxyEnd !== null) this.#broken ??= `the proxy has ended by itself: ${proxyEnd}`
    for (const { node, how } of lab.unexpectedEnds) this.#say(`the agent of ${node} ended by itself: ${how}`)
    if (lab.unexpectedEnds.length > 0) this.#broken ??= 'an agent has ended by itself'
    if (this.#broken !== null || this.#options.logs !== null) this.#keep()
    this.#say(
      this.#broken === null ? 'nothing is lost, nothing is twice, all nodes agree' : `WRONG: ${this.#broken}`,
    )
    return this.#broken === null
  }

  #pastTheProxy(): Pick<WorkloadOptions, 'nodes'> {
    return { nodes: this.#lab.nodes.map(({ name }) => name) }
  }

  #introduce(): void {
    const { lab: asked, seed, minutes } = this.#options
    const { network, store, nodes, rtoMs, durability } = this.#lab
    this.#say(
      `seed ${seed}, ${minutes} minutes: PostgreSQL ${asked.pg}, ${nodes.length} nodes, ${durability}, rto ${rtoMs} ms, store ${store.kind}, network of ${network.kind}${this.#lab.proxy === null ? '' : ', clients through the proxy'}`,
    )
    const surroundings = surroundingsOf(this.#lab)
    for (const { name, missing } of FAULTS) {
      const why = missing(surroundings)
      if (why !== null) this.#say(`left out: ${name}, because ${why}`)
    }
  }

  async #rounds(workload: Workload): Promise<void> {
    const { minutes, rounds, seed, faults, replay } = this.#options
    const schedule = new Schedule(seed, surroundingsOf(this.#lab), faults)
    const written = replay === null ? null : readRounds(replay)
    const until = performance.now() + 60_000 * minutes
    for (let round = 1; round <= rounds && performance.now() < until && !this.#interrupted.aborted; round++) {
      const planned = written === null ? schedule.next(round) : written[round - 1]
      if (planned === undefined) break
      this.#planned.push(planned)
      if (!(await this.#round(workload, planned))) return
    }
    await this.#everything(workload)
  }

  /** False: it makes no sense to go on. */
  async #round(workload: Workload, planned: PlannedRound): Promise<boolean> {
    this.#say(`round ${planned.round}, ${new Date().toISOString().slice(11, 23)}`)
    try {
      const tell = (line: string): void => this.#say(line)
      const result = await runRound(this.#lab, workload, planned, {
        deadEndMs: this.#options.deadEndMs,
        tell,
      })
      this.#figures.add(planned, result)
      this.#tellRound(result)
      this.#lab.removeAside()
      const broken = result.checked.violations.filter(isBroken)
      const breaches = result.contract?.breaches ?? []
      if (broken.length + breaches.length === 0) return true
      this.#broken = `${broken.length} violations and ${breaches.length} errors that the contract does not name in round ${planned.round}`
      this.#keepHistory(workload)
      return false
    } catch (error) {
      if (!(error instanceof DeadEnd)) throw error
      this.#say(error.message)
      this.#broken = `dead end in round ${planned.round}: the cluster does not become whole again by itself`
      return false
    }
  }

  #tellRound({ checked, healthyAfterMs, epochs, outages, contract }: RoundResult): void {
    const { counts, violations, exposed } = checked
    const longest = outages[0]?.ms ?? 0
    const words = [
      `${counts.acknowledged} acknowledged, ${counts.unknown} unknown`,
      `${epochs} epochs`,
      `outage ${(longest / 1_000).toFixed(2)} s`,
      `whole after ${(healthyAfterMs / 1_000).toFixed(1)} s`,
      ...(exposed.length === 0
        ? []
        : [`${exposed.length} acknowledged writes lost within the exposure of async mode`]),
    ]
    this.#say(`         = ${words.join(', ')}`)
    for (const breach of (contract?.breaches ?? []).slice(0, SHOWN_VIOLATIONS))
      this.#say(`  not in the contract: ${breach}`)
    for (const { kind, sentence } of violations.slice(0, SHOWN_VIOLATIONS))
      this.#say(`  ${kind}: ${sentence}`)
    if (violations.length > SHOWN_VIOLATIONS) this.#say(`  and ${violations.length - SHOWN_VIOLATIONS} more`)
  }

  /** Also what earlier rounds wrote is the same everywhere. */
  async #everything(workload: Workload): Promise<void> {
    const finals = await finalStates(this.#lab, workload)
    const checksums = new Set(finals.map(({ checksum }) => checksum))
    if (checksums.size > 1) this.#broken ??= 'the nodes differ in what earlier rounds wrote'
  }

  #say(line: string): void {
    this.#said.push(line)
    console.log(line)
  }

  #directory: string | null = null

  #kept(): string {
    const { logs, seed } = this.#options
    this.#directory ??= logs ?? mkdtempSync(path.join(tmpdir(), `understudy-torture-${seed}-`))
    return this.#directory
  }

  #keepHistory({ operations, readings }: Workload): void {
    mkdirSync(this.#kept(), { recursive: true })
    const file = path.join(this.#kept(), 'history.jsonl')
    for (const each of operations) appendFileSync(file, `${JSON.stringify(each)}\n`)
    const seen = path.join(this.#kept(), 'readings.jsonl')
    for (const each of readings) appendFileSync(seen, `${JSON.stringify(each)}\n`)
  }

  /** Whatever helps to understand it, and to try it again. */
  #keep(): void {
    const directory = this.#kept()
    mkdirSync(directory, { recursive: true })
    this.#lab.keepLogs(directory)
    writeFileSync(path.join(directory, 'output.txt'), `${this.#said.join('\n')}\n`)
    const schedule = path.join(directory, 'schedule.jsonl')
    writeFileSync(schedule, this.#planned.map((each) => `${printRound(each)}\n`).join(''))
    this.#say(`kept: ${directory}`)
    if (this.#broken === null) return
    this.#say(`again: npm run torture -- ${process.argv.slice(2).join(' ')} --seed ${this.#options.seed}`)
    this.#say(`the same schedule: … --replay ${schedule}`)
  }
}
