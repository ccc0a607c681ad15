/** What a client calls its prepared statements, the unnamed one included. */
import { type Statement, type StatementRegistry, textOf, type UnnamedStatement } from './statements.ts'

export class ClientStatements {
  readonly #registry: StatementRegistry
  readonly #named = new Map<string, Statement>()
  /** null: there is none, or it was too long to be kept. */
  unnamed: UnnamedStatement | null = null

  constructor(registry: StatementRegistry) {
    this.#registry = registry
  }

  get(name: string): Statement | undefined {
    return this.#named.get(name)
  }

  /** `rest` is the Parse's body behind the name; aliases a chunk. */
  add(name: string, rest: Buffer): Statement {
    const statement = this.#registry.intern(rest)
    this.#named.set(name, statement)
    return statement
  }

  /** `statement` null: whatever the name means. */
  forget(name: string, statement: Statement | null): void {
    if (statement === null || this.#named.get(name) === statement) this.#named.delete(name)
  }

  forgetAll(): void {
    this.#named.clear()
    this.unnamed = null
  }

  textOf(name: string): string | null {
    const statement = this.#named.get(name)
    return statement === undefined ? null : textOf(statement.rest.toString('latin1'))
  }
}
