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
    const statement: Statement = {
      name: Buffer.from(`${STATEMENT_PREFIX}${this.#counter}`, 'latin1'),
      rest: Buffer.from(rest),
      traits: traitsOf(textOf(key)),
    }
    this.#byText.set(key, statement)
    // Clients and servers that know it keep it; the next one with this text gets it under a new name.
    for (const oldest of this.#byText.keys()) {
      if (this.#byText.size <= this.#maxStatements) break
      this.#byText.delete(oldest)
    }
    return statement
  }
}

export function textOf(rest: string): string {
  const end = rest.indexOf('\0')
  return end < 0 ? rest : rest.slice(0, end)
}

/** What one server has prepared under the proxy's names, in the order of their preparation. */
export class PreparedStatements {
  readonly #statements = new Set<Statement>()

  has(statement: Statement): boolean {
    return this.#statements.has(statement)
  }

  add(statement: Statement): void {
    this.#statements.add(statement)
  }

  delete(statement: Statement): void {
    this.#statements.delete(statement)
  }

  clear(): void {
    this.#statements.clear()
  }

  get size(): number {
    return this.#statements.size
  }

  /** Takes the oldest ones out until `max` are left. */
  takeExcess(max: number): readonly Statement[] {
    const excess: Statement[] = []
    for (const statement of this.#statements) {
      if (this.#statements.size <= max) break
      this.#statements.delete(statement)
      excess.push(statement)
    }
    return excess
  }
}
