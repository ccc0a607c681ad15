/**
 * Settings that follow a client from server to server: those that the server reports (GUC_REPORT; manual: "Asynchronous Operations"),
 * because only of those it is known what they are. Everything else that a client sets is taken back when its transaction is over.
 */

/** What the server reports and no client can set, or what must not follow a client to another node. */
const NOT_TRACKED: ReadonlySet<string> = new Set([
  'in_hot_standby',
  'integer_datetimes',
  'is_superuser',
  'server_encoding',
  'server_version',
  'session_authorization',
])

/** Parameters of a startup packet that are tracked, by their name in lower case. */
const TRACKED_AT_START: ReadonlyMap<string, string> = new Map(
  [
    'application_name',
    'client_encoding',
    'DateStyle',
    'IntervalStyle',
    'TimeZone',
    'standard_conforming_strings',
  ].map((name) => [name.toLowerCase(), name]),
)

/** The name as the server reports it, when it follows a client. */
export function trackedAtStart(name: string): string | null {
  return TRACKED_AT_START.get(name.toLowerCase()) ?? null
}

/** Equal sets of tracked values have equal numbers, so that a hand-out compares two numbers. */
const numbers = new Map<string, number>()
const MAX_NUMBERS = 10_000
let nextNumber = 1

export class Parameters {
  readonly #values: Map<string, string>
  #number = 0

  constructor(values: Iterable<readonly [string, string]> = []) {
    this.#values = new Map(values)
  }

  get(name: string): string | undefined {
    return this.#values.get(name)
  }

  set(name: string, value: string): void {
    this.#values.set(name, value)
    this.#number = 0
  }

  entries(): IterableIterator<[string, string]> {
    return this.#values.entries()
  }

  get number(): number {
    if (this.#number === 0) this.#number = numberOf(this.#values)
    return this.#number
  }

  /** What must be set on a server that has `other`, to have these. */
  differences(other: Parameters): readonly (readonly [string, string])[] {
    return [...this.#values].filter(
      ([name, value]) => !NOT_TRACKED.has(name) && other.get(name) !== undefined && other.get(name) !== value,
    )
  }
}

function numberOf(values: ReadonlyMap<string, string>): number {
  const tracked = [...values].filter(([name]) => !NOT_TRACKED.has(name)).sort(([a], [b]) => (a < b ? -1 : 1))
  const key = tracked.map(([name, value]) => `${name}\0${value}`).join('\0')
  const known = numbers.get(key)
  if (known !== undefined) return known
  // Forgetting one costs an equal set a comparison by values, nothing else: numbers are never used twice.
  if (numbers.size >= MAX_NUMBERS) numbers.clear()
  const number = nextNumber++
  numbers.set(key, number)
  return number
}

/**
 * One statement that sets them. Not SET: a list such as search_path is reported as it is read, and would be taken for one name when it is
 * quoted, and for SQL when it is not.
 */
export function setStatement(differences: readonly (readonly [string, string])[]): string {
  const calls = differences.map(
    ([name, value]) => `pg_catalog.set_config(${literal(name)}, ${literal(value)}, false)`,
  )
  return `SELECT ${calls.join(', ')}`
}

/** Read the same whatever standard_conforming_strings says. */
function literal(text: string): string {
  const quoted = `'${text.replaceAll("'", "''")}'`
  return text.includes('\\') ? ` E${quoted.replaceAll('\\', '\\\\')}` : quoted
}
