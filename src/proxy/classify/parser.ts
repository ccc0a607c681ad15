/** PostgreSQL's own grammar (libpg-query, WebAssembly), kept away from texts that would hold up everybody else. */
import { loadModule, parseSync } from 'libpg-query'

/** Longer texts are not looked at. Parsing one of this length takes 1 to 15 ms. */
export const MAX_TEXT_LENGTH = 16_384

/**
 * How deep an expression may be at most. The time that the parser takes grows with the square of the depth, and near 10,000 its stack
 * ends, which leaves a WebAssembly module in a state that nobody knows.
 */
const MAX_DEPTH = 1000

/** Whatever can make an expression one level deeper; separators of long flat lists are not among them. */
const DEEPER =
  /[^\w\s,.'"$;)\]]|\b(?:not|union|except|intersect|select|case|join|is|isnull|notnull|collate|at|like|ilike|similar|in|between|over)\b/gi

export type Parsed =
  /** Statements as libpg-query's JSON has them: `{ SelectStmt: {...} }`. */
  | { readonly kind: 'statements'; readonly statements: readonly object[] }
  | { readonly kind: 'refused'; readonly reason: string }

let isLoaded = false

/** Can be called again. Until it has ended nothing can be parsed. */
export async function loadParser(): Promise<void> {
  await loadModule()
  isLoaded = true
}

/** Never throws. */
export function parse(text: string): Parsed {
  if (!isLoaded) return refused('the parser is not loaded yet')
  if (text.length > MAX_TEXT_LENGTH) return refused(`it is longer than ${MAX_TEXT_LENGTH} characters`)
  if (isTooDeep(text)) return refused('its expressions may be too deep')
  if (text.includes('\0')) return refused('it has a zero byte')
  if (text === '') return { kind: 'statements', statements: [] }
  try {
    const parsed: unknown = parseSync(text)
    return { kind: 'statements', statements: statementsOf(parsed) }
  } catch {
    return refused('it cannot be parsed')
  }
}

function refused(reason: string): Parsed {
  return { kind: 'refused', reason }
}

function isTooDeep(text: string): boolean {
  if (text.length < MAX_DEPTH) return false
  let marks = 0
  DEEPER.lastIndex = 0
  while (DEEPER.exec(text) !== null) {
    marks += 1
    if (marks > MAX_DEPTH) {
      return true
    }
  }
  return false
}

function statementsOf(parsed: unknown): readonly object[] {
  const list = field(parsed, 'stmts')
  if (list === undefined) return []
  if (!Array.isArray(list)) throw new Error('no statements')
  return list.map((entry) => {
    const statement = field(entry, 'stmt')
    if (typeof statement !== 'object' || statement === null) throw new Error('no statement')
    return statement
  })
}

/** A field of a node of the tree; undefined when it is not there, or when this is no node. */
export function field(node: unknown, name: string): unknown {
  if (typeof node !== 'object' || node === null) return undefined
  return (node as Readonly<Record<string, unknown>>)[name]
}

export function textField(node: unknown, name: string): string | null {
  const value = field(node, name)
  return typeof value === 'string' ? value : null
}

/** `[{String: {sval: 'a'}}, …]` as strings; what is no string is left out. */
export function namesIn(list: unknown): readonly string[] {
  if (!Array.isArray(list)) return []
  return list.flatMap((entry) => textField(field(entry, 'String'), 'sval') ?? [])
}
