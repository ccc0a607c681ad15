/** The console's language: what a text asks for. Words and their order are PgBouncer's where it has them. Pure. */

export const SHOWN = [
  'POOLS',
  'CLIENTS',
  'SERVERS',
  'STATS',
  'DATABASES',
  'STANDBYS',
  'LISTS',
  'WORKERS',
  'CONFIG',
  'VERSION',
  'HELP',
] as const

export type Shown = (typeof SHOWN)[number]

export type Command =
  | { readonly kind: 'show'; readonly what: Shown }
  | { readonly kind: 'route'; readonly sql: string }
  /** `database` null: every one. */
  | { readonly kind: 'pause' | 'resume' | 'reconnect'; readonly database: string | null }
  | { readonly kind: 'kill'; readonly database: string }
  | { readonly kind: 'killClient'; readonly client: number }
  | { readonly kind: 'reload' }
  /** What drivers send by themselves, and nobody misses here. */
  | { readonly kind: 'nothing'; readonly tag: string }

export type Parsed =
  | { readonly kind: 'commands'; readonly commands: readonly Command[] }
  | { readonly kind: 'error'; readonly near: string }

/** What it does, for `SHOW HELP`. */
export const HELP: readonly (readonly [string, string])[] = [
  ['SHOW POOLS', 'clients and server connections per database and role'],
  ['SHOW CLIENTS', 'every client'],
  ['SHOW SERVERS', 'every server connection'],
  ['SHOW STATS', 'what has passed per database, in all and on average; times in microseconds'],
  ['SHOW DATABASES', 'every database that is used'],
  ['SHOW STANDBYS', 'every standby as each worker knows it, and why nobody reads there'],
  ['SHOW LISTS', 'how many there are of each'],
  ['SHOW WORKERS', 'the processes, with the route that each knows'],
  ['SHOW CONFIG', 'the settings, and whether a change counts without a restart'],
  ['SHOW VERSION', 'the version'],
  ["SHOW ROUTE FOR 'SQL'", 'where a statement goes on each port, and why'],
  ['PAUSE [DATABASE]', 'lets nothing begin, and waits until every server connection is released'],
  ['RESUME [DATABASE]', 'goes on'],
  ['RECONNECT [DATABASE]', 'replaces every server connection as soon as it is released'],
  ['KILL DATABASE', 'ends the sessions of a database'],
  ['KILL_CLIENT ID', 'ends the session of a client of SHOW CLIENTS'],
  ['RELOAD', 'takes over what has changed in understudy.yaml and in the certificates'],
]

interface Token {
  readonly kind: 'word' | 'text' | 'name' | 'end' | 'broken'
  readonly value: string
}

const TOKEN =
  /(?:\s|--[^\n]*(?:\n|$)|\/\*[\s\S]*?\*\/)*(?:'((?:[^']|'')*)'|"((?:[^"]|"")*)"|(;)|([^\s;'"]+)|$)/y

export function parseCommands(text: string): Parsed {
  const commands: Command[] = []
  let statement: Token[] = []
  for (const token of [...tokensOf(text), { kind: 'end', value: ';' } as const]) {
    if (token.kind !== 'end') {
      statement.push(token)
      continue
    }
    if (statement.length === 0) continue
    const command = commandOf(statement)
    if (command === null) return { kind: 'error', near: statement[0]?.value ?? '' }
    commands.push(command)
    statement = []
  }
  return { kind: 'commands', commands }
}

function tokensOf(text: string): readonly Token[] {
  const tokens: Token[] = []
  TOKEN.lastIndex = 0
  while (TOKEN.lastIndex < text.length) {
    const from = TOKEN.lastIndex
    const match = TOKEN.exec(text)
    if (match === null) {
      // A quote that nobody closes.
      tokens.push({ kind: 'broken', value: text.slice(from).trim() })
      break
    }
    const [, quoted, name, end, word] = match
    if (quoted !== undefined) tokens.push({ kind: 'text', value: quoted.replaceAll("''", "'") })
    else if (name !== undefined) tokens.push({ kind: 'name', value: name.replaceAll('""', '"') })
    else if (end !== undefined) tokens.push({ kind: 'end', value: end })
    else if (word !== undefined) tokens.push({ kind: 'word', value: word })
    else break
  }
  return tokens
}

const NOTHING_TAGS: ReadonlySet<string> = new Set(['SET', 'RESET', 'BEGIN', 'COMMIT', 'ROLLBACK', 'DISCARD'])

/** null: it is none. */
function commandOf(tokens: readonly Token[]): Command | null {
  const [first, second, third, fourth] = tokens
  const verb = keyword(first)
  const count = tokens.length
  if (NOTHING_TAGS.has(verb)) return { kind: 'nothing', tag: verb }
  switch (verb) {
    case 'SHOW': {
      if (keyword(second) === 'ROUTE' && keyword(third) === 'FOR' && fourth?.kind === 'text' && count === 4)
        return { kind: 'route', sql: fourth.value }
      const what = SHOWN.find((each) => each === keyword(second))
      return what === undefined || count !== 2 ? null : { kind: 'show', what }
    }
    case 'PAUSE':
    case 'RESUME':
    case 'RECONNECT': {
      if (count > 2 || second?.kind === 'text') return null
      const kind = ({ PAUSE: 'pause', RESUME: 'resume', RECONNECT: 'reconnect' } as const)[verb]
      return { kind, database: second?.value ?? null }
    }
    case 'KILL':
      return count !== 2 || second === undefined || second.kind === 'text'
        ? null
        : { kind: 'kill', database: second.value }
    case 'KILL_CLIENT': {
      const client = Number(second?.value)
      return count === 2 && Number.isSafeInteger(client) ? { kind: 'killClient', client } : null
    }
    case 'RELOAD':
      return count === 1 ? { kind: 'reload' } : null
    default:
      return null
  }
}

function keyword(token: Token | undefined): string {
  return token?.kind === 'word' ? token.value.toUpperCase() : ''
}
