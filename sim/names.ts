/** synchronous_standby_names as PostgreSQL reads it. */
export interface ParsedNames {
  readonly acks: number
  readonly standbys: readonly string[]
}

const NOBODY: ParsedNames = { acks: 0, standbys: [] }
const cache = new Map<string, ParsedNames>([['', NOBODY]])

export function parseNames(text: string): ParsedNames {
  const known = cache.get(text)
  if (known !== undefined) return known
  const match = /^ANY (\d+) \((.*)\)$/.exec(text)
  if (match?.[1] === undefined || match[2] === undefined) throw new Error(`cannot be read: ${text}`)
  const parsed = { acks: Number(match[1]), standbys: match[2].split(', ').map((each) => each.slice(1, -1)) }
  cache.set(text, parsed)
  return parsed
}
