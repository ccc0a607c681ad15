/** What a client calls its prepared statements, the unnamed one included. */
import { type Statement, type StatementRegistry, textOf, type UnnamedStatement } from './statements.ts'

export class ClientStatements {
  readonly #registry: StatementRegistry
  readonly #named = new Map<string, Statement>()
  unnamed: UnnamedStatement | null = null
  /** Names given since a request was sent behind which none of the others may be left; null: none is under way. */
  #since: Set<string> | null = null

  constructor(registry: StatementRegistry) {
    this.#registry = registry
  }

  get(name: string): Statement | undefined {
    return this.#named.get(name)
  }

  /** `rest` is the Parse's body behind the name; aliases a chunk. */
  add(name: string, rest: Buffer): Statement {
    const statement = this.#registry.intern(rest)
    this.keep(name, statement)
    return statement
  }

  keep(name: string, statement: Statement): void {
    this.#named.set(name, statement)
    this.#since?.add(name)
  }

  /** The name can be given: it means nothing, or what it means is being thrown away. */
  isFree(name: string): boolean {
    return !this.#named.has(name) || (this.#since !== null && !this.#since.has(name))
  }

  /** A request was sent behind which none may be left. */
  mayBeForgotten(): void {
    this.#since = new Set()
  }

  /** Everything that was sent is answered. */
  settled(): void {
    this.#since = null
  }

  /** The plan of it is of no use any more. */
  drop(statement: Statement): void {
    this.#registry.drop(statement)
  }

  /** Gives what the name meant. */
  close(name: string): Statement | undefined {
    if (name === '') this.unnamed = null
    const statement = this.#named.get(name)
    this.#named.delete(name)
    return statement
  }

  /** Unless the name means another one by now. */
  forget(name: string, statement: Statement): void {
    if (this.#named.get(name) === statement) this.#named.delete(name)
  }

  /** As DISCARD ALL and DEALLOCATE ALL do, which leave the unnamed one alone, and what was prepared behind them. */
  forgetNamed(): void {
    const since = this.#since
    if (since === null) this.#named.clear()
    else for (const name of this.#named.keys()) if (!since.has(name)) this.#named.delete(name)
  }

  textOf(name: string): string | null {
    const statement = this.#named.get(name)
    return statement === undefined ? null : textOf(statement.rest.toString('latin1'))
  }
}
