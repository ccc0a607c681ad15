/**
 * Watches one primary from outside. While the held-open connections stand it is known to be well, and nothing is sent. When one of
 * them ends, or the walreceiver hears nothing, new connections ask both ports again and again until both answer.
 */
import type { PrimaryProbes, Probe } from '../core/cluster-view.ts'
import type { Timers } from '../core/timers.ts'
import type { Clock } from '../ports/clock.ts'
import type { ProbePort, ProbeResult, Prober, ProbeTarget } from '../ports/prober.ts'

interface Watched {
  readonly target: ProbeTarget
  readonly probes: Record<ProbePort, Probe>
  readonly held: Map<ProbePort, () => void>
  readonly open: Set<ProbePort>
  /** In a row, of connections that ended before they stood: a certificate or a password that is refused will be refused again. */
  failedHolds: number
  asking: boolean
  timer: NodeJS.Timeout | undefined
}

const LONGEST_REST_MS = 30_000
/** Between the first two questions of a series. */
const FIRST_REST_MS = 15

const PORTS: readonly ProbePort[] = ['agent', 'postgres']

export class PrimaryWatch {
  readonly #prober: Prober
  readonly #clock: Clock
  readonly #timers: Timers
  readonly #onChange: () => void
  #watched: Watched | null = null

  constructor(prober: Prober, clock: Clock, timers: Timers, onChange: () => void) {
    this.#prober = prober
    this.#clock = clock
    this.#timers = timers
    this.#onChange = onChange
  }

  /** Whom to watch from now on; null: nobody. The same target again changes nothing. */
  watch(target: ProbeTarget | null): void {
    if (this.#watched?.target.name === target?.name && this.#watched?.target.host === target?.host) return
    this.#letGo()
    if (target === null) return
    const now = this.#clock.nowMs()
    const unknown: Probe = { kind: 'silent', atMs: now }
    this.#watched = {
      target,
      probes: { agent: unknown, postgres: unknown },
      held: new Map(),
      open: new Set(),
      failedHolds: 0,
      asking: false,
      timer: undefined,
    }
    for (const port of PORTS) this.#hold(this.#watched, port)
  }

  /** The walreceiver hears nothing: do not rely on connections that only a dying process ends. */
  doubt(): void {
    if (this.#watched !== null) this.#ask(this.#watched)
  }

  get seen(): PrimaryProbes | null {
    const watched = this.#watched
    if (watched === null) return null
    const now = this.#clock.nowMs()
    const of = (port: ProbePort): Probe =>
      watched.open.has(port) && !watched.asking ? { kind: 'answers', atMs: now } : watched.probes[port]
    return { primary: watched.target.name, agent: of('agent'), postgres: of('postgres') }
  }

  close(): void {
    this.#letGo()
  }

  #letGo(): void {
    const watched = this.#watched
    this.#watched = null
    clearTimeout(watched?.timer)
    for (const release of watched?.held.values() ?? []) release()
  }

  #hold(watched: Watched, port: ProbePort): void {
    watched.held.get(port)?.()
    const release = this.#prober.hold(
      watched.target,
      port,
      () => {
        watched.open.add(port)
        watched.failedHolds = 0
        this.#learn(watched, port, 'answers', this.#clock.nowMs())
      },
      () => {
        if (!watched.open.delete(port)) watched.failedHolds++
        watched.held.delete(port)
        this.#ask(watched)
      },
    )
    watched.held.set(port, release)
  }

  /** One series of questions at a time; it ends when both ports answer, or when somebody else is watched. */
  #ask(watched: Watched): void {
    if (watched.asking || this.#watched !== watched) return
    watched.asking = true
    void this.#askUntilWell(watched).finally(() => {
      watched.asking = false
    })
  }

  async #askUntilWell(watched: Watched): Promise<void> {
    for (let asked = 0; this.#watched === watched; asked++) {
      const startedAtMs = this.#clock.nowMs()
      const results = await Promise.all(
        PORTS.map((port) => this.#prober.probe(watched.target, port, this.#timers.probeMs)),
      )
      for (const [index, port] of PORTS.entries())
        this.#learn(watched, port, results[index] ?? 'silent', startedAtMs)
      this.#onChange()
      // A port that is just dying may answer anything: it is asked again soon, then more and more seldom.
      const restMs =
        Math.min(this.#timers.probeMs, FIRST_REST_MS * 2 ** asked) - (this.#clock.nowMs() - startedAtMs)
      if (results.every((result) => result === 'answers')) {
        this.#holdSoon(watched)
        return
      }
      await new Promise((resolve) => setTimeout(resolve, Math.max(5, restMs)))
    }
  }

  /** Later each time that it was refused; meanwhile nothing is asked unless the walreceiver gives a reason to. */
  #holdSoon(watched: Watched): void {
    if (watched.timer !== undefined) return
    const { failedHolds } = watched
    const waitMs =
      failedHolds === 0 ? 0 : Math.min(LONGEST_REST_MS, this.#timers.probeMs * 2 ** Math.min(failedHolds, 10))
    watched.timer = setTimeout(() => {
      watched.timer = undefined
      if (this.#watched !== watched) return
      for (const port of PORTS) if (!watched.held.has(port)) this.#hold(watched, port)
    }, waitMs)
  }

  /** Silence counts from the first question that was not answered: before it nobody had asked. */
  #learn(watched: Watched, port: ProbePort, kind: ProbeResult, askedAtMs: number): void {
    const before = watched.probes[port]
    if (kind === 'silent' && before.kind === 'silent') return
    watched.probes[port] = { kind, atMs: kind === 'silent' ? askedAtMs : this.#clock.nowMs() }
  }
}
