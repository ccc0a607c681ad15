/** Time from outside: monotonic for every decision, wall clock only for what a person reads. */
export interface Clock {
  /** Monotonic milliseconds; never jumps with the system's clock. */
  nowMs(): number
  /** ISO 8601 in UTC, for events and logs. */
  timestamp(): string
}
