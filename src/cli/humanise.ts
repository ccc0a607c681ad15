/** Numbers as people read them: bytes, rates and durations in at most three significant digits. Pure. */

const BYTE_UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] as const

/** 0 -> "0 B", 1536 -> "1.5 kB", 2.1e9 -> "2.0 GB". Powers of 1024 with PostgreSQL's unit names (manual, section 19.1). */
export function humanBytes(bytes: number): string {
  if (!Number.isFinite(bytes)) return '?'
  let value = Math.abs(bytes)
  let unit = 0
  // 1023.5 would print as "1024 kB": it belongs to the next unit already.
  while (value >= 1023.5 && unit < BYTE_UNITS.length - 1) {
    value /= 1024
    unit++
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : 1
  return `${bytes < 0 ? '-' : ''}${value.toFixed(digits)} ${BYTE_UNITS[unit] ?? 'B'}`
}

export function humanRate(bytesPerSecond: number): string {
  return `${humanBytes(bytesPerSecond)}/s`
}

/** 0.4 -> "0.4 ms", 12 -> "12 ms", 3210 -> "3.2 s", 95_000 -> "1 min 35 s", 7_260_000 -> "2 h 1 min". */
export function humanDuration(ms: number): string {
  if (!Number.isFinite(ms)) return '?'
  if (ms < 0) return `-${humanDuration(-ms)}`
  if (ms < 9.95) return `${ms === 0 ? '0' : ms.toFixed(1)} ms`
  if (ms < 999.5) return `${Math.round(ms)} ms`
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`
  return coarseDuration(Math.round(ms / 1000))
}

/** Time left is a guess: whole seconds only, so that the figure does not pretend more (and does not flicker). */
export function humanTimeLeft(ms: number): string {
  if (!Number.isFinite(ms) || ms < 0) return '?'
  return coarseDuration(Math.max(1, Math.ceil(ms / 1000)))
}

function coarseDuration(seconds: number): string {
  if (seconds < 60) return `${seconds} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return pair(minutes, 'min', seconds % 60, 's')
  const hours = Math.floor(minutes / 60)
  if (hours < 48) return pair(hours, 'h', minutes % 60, 'min')
  return pair(Math.floor(hours / 24), 'd', hours % 24, 'h')
}

function pair(big: number, bigUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${big} ${bigUnit}` : `${big} ${bigUnit} ${small} ${smallUnit}`
}

/** ["a","b","c"] -> "a, b and c". */
export function enumerate(words: readonly string[], last = 'and'): string {
  const head = words.slice(0, -1).join(', ')
  const tail = words.at(-1) ?? ''
  return head === '' ? tail : `${head} ${last} ${tail}`
}

export function plural(count: number, word: string, many = `${word}s`): string {
  return `${count} ${count === 1 ? word : many}`
}
