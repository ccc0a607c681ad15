/** synchronous_standby_names as PostgreSQL reads it (manual: 20.6.2, "synchronous_standby_names"). Pure. */

export interface SyncNames {
  readonly method: 'first' | 'any'
  /** How many must acknowledge. */
  readonly count: number
  /** '*' is any name. */
  readonly names: readonly string[]
}

/** null: empty, or not readable; PostgreSQL itself would not have taken the latter. */
export function parseSyncNames(text: string): SyncNames | null {
  const whole = text.trim()
  const listed = /^(?:(FIRST|ANY)\s+)?(\d+)\s*\(([\s\S]*)\)$/i.exec(whole)
  const names = namesOf(listed?.[3] ?? whole)
  if (names.length === 0) return null
  if (listed === null) return { method: 'first', count: 1, names }
  return {
    method: listed[1]?.toUpperCase() === 'ANY' ? 'any' : 'first',
    count: Number(listed[2]),
    names,
  }
}

/** A name that is no identifier stands in double quotes, in which a quote is doubled; others are compared without case. */
function namesOf(list: string): readonly string[] {
  const words = list.match(/"(?:[^"]|"")*"|[^\s,"]+/g) ?? []
  return words.map((word) =>
    word.startsWith('"') ? word.slice(1, -1).replaceAll('""', '"') : word.toLowerCase(),
  )
}

/** Those of the connected names that count, each once. */
export function matching({ names }: SyncNames, connected: readonly string[]): readonly string[] {
  const wanted = new Set(names.map((name) => name.toLowerCase()))
  return [...new Set(connected.map((name) => name.toLowerCase()))].filter(
    (name) => wanted.has('*') || wanted.has(name),
  )
}
