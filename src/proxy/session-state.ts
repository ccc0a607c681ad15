/**
 * What a client may have left in a server's session (manual: "DISCARD"), told from the tags of completed commands and from the texts of
 * statements. It decides what must be cleaned before the next client comes, and what cannot move to another server. Pure.
 */

export type TagEffect =
  | 'sets'
  | 'resets'
  | 'listens'
  | 'prepares'
  | 'holdsCursor'
  | 'forgetsStatements'
  | 'forgetsEverything'
  | 'changesSchema'

const EFFECTS: Readonly<Record<string, TagEffect>> = {
  SET: 'sets',
  RESET: 'resets',
  LISTEN: 'listens',
  PREPARE: 'prepares',
  'DECLARE CURSOR': 'holdsCursor',
  'DEALLOCATE ALL': 'forgetsStatements',
  'DISCARD ALL': 'forgetsEverything',
}

/** CREATE, ALTER and DROP of anything. */
const CHANGES_SCHEMA = /^(?:CREATE|ALTER|DROP) /
const FIRST_LETTERS = new Set([...Object.keys(EFFECTS), 'CREATE', 'ALTER'].map((tag) => tag.charCodeAt(0)))
const LETTER_C = 'C'.charCodeAt(0)
const LETTER_R = 'R'.charCodeAt(0)
const LETTER_S = 'S'.charCodeAt(0)
const LETTER_T = 'T'.charCodeAt(0)

/** `chunk[from, to)` begins with the tag of CommandComplete; null for most. */
export function effectOfTag(chunk: Buffer, from: number, to: number): TagEffect | null {
  const first = chunk[from] ?? 0
  if (!FIRST_LETTERS.has(first)) return null
  // SELECT is by far the most frequent tag of all, and begins like SET.
  if (first === LETTER_S && chunk[from + 2] !== LETTER_T) return null
  // And COMMIT like CREATE.
  if (first === LETTER_C && chunk[from + 1] !== LETTER_R) return null
  const end = chunk.indexOf(0, from)
  if (end < 0 || end >= to) return null
  const tag = chunk.toString('latin1', from, end)
  return EFFECTS[tag] ?? (CHANGES_SCHEMA.test(tag) ? 'changesSchema' : null)
}

export class SessionState {
  /** Settings that are not followed from server to server. */
  settings = false
  #others = new Set<string>()

  apply(effect: TagEffect): void {
    if (effect === 'sets') this.settings = true
    else if (effect === 'listens') this.#others.add('LISTEN')
    else if (effect === 'prepares') this.#others.add('prepared statements')
    else if (effect === 'holdsCursor') this.#others.add('a cursor')
    else if (effect === 'forgetsEverything') this.clear()
  }

  /** From the text of a statement, or from the extended protocol. */
  note(what: string): void {
    this.#others.add(what)
  }

  get isClean(): boolean {
    return !this.settings && this.#others.size === 0
  }

  /** What cannot be made again elsewhere, in words; null when there is nothing. */
  get held(): string | null {
    const all = [...(this.settings ? ['settings'] : []), ...this.#others]
    return all.length === 0 ? null : all.join(', ')
  }

  /** The statement that brings a session back to how it began; null when it is so already. */
  get cleaning(): string | null {
    if (this.#others.size > 0) return 'DISCARD ALL'
    // RESET ALL leaves the role as it is.
    return this.settings ? 'SET SESSION AUTHORIZATION DEFAULT; RESET ALL' : null
  }

  clear(): void {
    this.settings = false
    this.#others.clear()
  }
}
