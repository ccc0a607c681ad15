/** What a client calls its prepared statements, the unnamed one included. */
import { type Statement, type StatementRegistry, textOf, type UnnamedStatement } from './statements.ts'
import { PLAIN } from './traits.ts'

export class ClientStatements {
  readonly #registry: StatementRegistry
  readonly #named = new Map<string, Statement>()
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

  /** Of a statement that the proxy answers itself. */
  keepOwn(name: string, rest: Buffer): void {
    if (name === '') this.unnamed = { rest: Buffer.from(rest), traits: PLAIN }
    else this.add(name, rest)
  }

  keep(name: string, statement: Statement): void {
    this.#named.set(name, statement)
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

  /** As DISCARD ALL and DEALLOCATE ALL do, which leave the unnamed one alone. */
  forgetNamed(): void {
    this.#named.clear()
  }

  textOf(name: string): string | null {
    const statement = this.#named.get(name)
    return statement === undefined ? null : textOf(statement.rest.toString('latin1'))
  }
}
