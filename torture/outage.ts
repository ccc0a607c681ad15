/** How long nothing could be written: the gaps between the acknowledgements of all writers. Pure. */

/** Shorter ones are pauses of the writers and of the machine. */
const GAP_MS = 100

export interface Outage {
  readonly fromMs: number
  readonly ms: number
}

/** Longest first. `acknowledgedAtMs` grows. */
export function outagesOf(acknowledgedAtMs: readonly number[]): readonly Outage[] {
  const gaps = acknowledgedAtMs.slice(1).map((atMs, index): Outage => {
    const fromMs = acknowledgedAtMs[index] ?? atMs
    return { fromMs, ms: atMs - fromMs }
  })
  return gaps.filter(({ ms }) => ms >= GAP_MS).sort((a, b) => b.ms - a.ms)
}

/** null of nothing. */
export function median(numbers: readonly number[]): number | null {
  const sorted = [...numbers].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? null
}
