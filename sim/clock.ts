/**
 * CLOCK_MONOTONIC of one machine: it began at its own moment, runs a little fast or slow, may leap forwards (a machine that was suspended, a
 * hypervisor that makes good), and may have stood still while everything else went on. It never goes back.
 */
export class Clock {
  /** New with each start of the machine: instants of different boots are not comparable. */
  boot = 1
  #beganAt: number
  readonly #rate: number
  #leaptMs = 0
  /** Of the loop; null while it runs. */
  #stoppedAt: number | null = null

  constructor(beganAt: number, rate: number) {
    this.#beganAt = beganAt
    this.#rate = rate
  }

  now(loopNow: number): number {
    return this.#leaptMs + ((this.#stoppedAt ?? loopNow) - this.#beganAt) * this.#rate
  }

  leap(ms: number): void {
    this.#leaptMs += Math.max(0, ms)
  }

  /** The machine is suspended. */
  stop(loopNow: number): void {
    this.#stoppedAt ??= loopNow
  }

  /** For as long as it really was: whoever wakes it up before its time makes no clock go back. */
  goOn(loopNow: number): void {
    if (this.#stoppedAt !== null) this.#leaptMs -= (loopNow - this.#stoppedAt) * this.#rate
    this.#stoppedAt = null
  }

  reboot(loopNow: number): void {
    this.boot++
    this.#beganAt = loopNow
    this.#leaptMs = 0
    this.#stoppedAt = null
  }
}
