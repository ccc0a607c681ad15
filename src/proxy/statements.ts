/**
 * Prepared statements over changing servers: a client's name means a text with parameter types, and each server knows that text under
 * one name of the proxy's own, whoever prepared it. So a statement is prepared once per server and not once per client.
 */
import { type Traits, traitsOf } from './traits.ts'

export interface Statement {
  /** Its name on every server. */
  readonly name: Buffer
  /** A Parse's body behind the name: the text, its closing zero, and the parameter types. */
  readonly rest: Buffer
  readonly traits: Traits
  /** Of a request that needs it. */
  readonly uses: { readonly kind: 'uses'; readonly statement: Statement }
}

/** What the client called '' last; compared by identity. */
export interface UnnamedStatement {
  /** null: too long to be kept, or there is no need. */
  readonly rest: Buffer | null
  readonly traits: Traits
}

/** No client can prepare or name a statement that begins so. */
export const STATEMENT_PREFIX = '_understudy_'
/** Exists nowhere: closing it changes nothing and is answered like closing any other. */
export const NO_STATEMENT = `${STATEMENT_PREFIX}none`

/** One for all clients of a process. */
export class StatementRegistry {
  readonly #maxStatements: number
  /** By `rest` as Latin-1. Oldest use first. */
  readonly #byText = new Map<string, Statement>()
  #counter = 0

  constructor(maxStatements: number) {
    this.#maxStatements = maxStatements
  }

  /** `rest` aliases a chunk and is copied when it is new. */
  intern(rest: Buffer): Statement {
    const key = rest.toString('latin1')
    const known = this.#byText.get(key)
    if (known !== undefined) {
      this.#byText.delete(key)
      this.#byText.set(key, known)
      return known
    }
    this.#counter++
    const statement = newStatement(
      Buffer.from(`${STATEMENT_PREFIX}${this.#counter}`, 'latin1'),
      Buffer.from(rest),
      traitsOf(textOf(key)),
    )
    this.#byText.set(key, statement)
    // Clients and servers that know it keep it; the next one with this text gets it under a new name.
    for (const oldest of this.#byText.keys()) {
      if (this.#byText.size <= this.#maxStatements) break
      this.#byText.delete(oldest)
    }
    return statement
  }

  /** Its plan is of no use any more: the next one with this text is another one, under a new name. */
  drop(statement: Statement): void {
    const key = statement.rest.toString('latin1')
    if (this.#byText.get(key) === statement) this.#byText.delete(key)
  }
}

function newStatement(name: Buffer, rest: Buffer, traits: Traits): Statement {
  const statement: Statement = {
    name,
    rest,
    traits,
    get uses() {
      return uses
    },
  }
  const uses = { kind: 'uses', statement } as const
  return statement
}

export function textOf(rest: string): string {
  const end = rest.indexOf('\0')
  return end < 0 ? rest : rest.slice(0, end)
}

/**
 * What one server has prepared under the proxy's names, in the order of their preparation. Of some it is not known whether they are
 * there: a DISCARD ALL is under way, or failed, or a Parse that is not answered stands before a Sync, behind which it may have been skipped.
 * Closing one that is not there is no error, so that those are closed before they are prepared.
 */
export class PreparedStatements {
  readonly #statements = new Set<Statement>()
  readonly #doubtful = new Set<Statement>()
  /** Their Parse is not answered: up to the next Sync whatever uses them is skipped when that was. */
  readonly #unanswered = new Set<Statement>()
  /** Requests under way that may make the server forget everything. */
  #forgetting = 0

  has(statement: Statement): boolean {
    return this.#statements.has(statement)
  }

  isDoubtful(statement: Statement): boolean {
    return this.#doubtful.has(statement)
  }

  add(statement: Statement): void {
    this.#doubtful.delete(statement)
    this.#statements.add(statement)
    this.#unanswered.add(statement)
  }

  prepared(statement: Statement): void {
    if (this.#unanswered.delete(statement) || this.#forgetting > 0) return
    if (this.#doubtful.delete(statement)) this.#statements.add(statement)
  }

  /** A Sync was sent. */
  synced(): void {
    if (this.#unanswered.size === 0) return
    for (const statement of this.#unanswered) {
      this.#statements.delete(statement)
      this.#doubtful.add(statement)
    }
    this.#unanswered.clear()
  }

  /** It was not prepared; what had its name before may be there still. */
  failed(statement: Statement): void {
    this.#statements.delete(statement)
    this.#unanswered.delete(statement)
    this.#doubtful.add(statement)
  }

  /** A request was sent behind which there may be none of them. */
  mayBeForgotten(): void {
    this.#forgetting++
    for (const statement of this.#statements) this.#doubtful.add(statement)
    this.#statements.clear()
    this.#unanswered.clear()
  }

  /** The server says that it has forgotten them: those that it was sent before. */
  forgotten(): void {
    if (this.#forgetting <= 1) this.#doubtful.clear()
    if (this.#forgetting === 0) this.#statements.clear()
  }

  /** Everything that was sent is answered. */
  settled(): void {
    this.#forgetting = 0
    this.#unanswered.clear()
  }

  get size(): number {
    return this.#statements.size + this.#doubtful.size
  }

  /** Takes the oldest ones out until `max` are left. */
  takeExcess(max: number): readonly Statement[] {
    const excess: Statement[] = []
    for (const some of [this.#doubtful, this.#statements]) {
      for (const statement of some) {
        if (this.size <= max) break
        some.delete(statement)
        excess.push(statement)
      }
    }
    return excess
  }
}
