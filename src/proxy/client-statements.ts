/** What a client calls its prepared statements, the unnamed one included. */
import { type Statement, type StatementRegistry, textOf, type UnnamedStatement } from './statements.ts'
import { PLAIN } from './traits.ts'

export class ClientStatements {
  readonly #registry: StatementRegistry
  readonly #maxBytes: number
  readonly #named = new Map<string, Statement>()
  #bytes = 0
  unnamed: UnnamedStatement | null = null
  /** Names given since a request was sent behind which none of the others may be left; null: none is under way. */
  #since: Set<string> | null = null

  /** `maxBytes` is for the texts of all that have a name. */
  constructor(registry: StatementRegistry, maxBytes = Number.POSITIVE_INFINITY) {
    this.#registry = registry
    this.#maxBytes = maxBytes
  }

  get size(): number {
    return this.#named.size
  }

  get maxBytes(): number {
    return this.#maxBytes
  }

  /** One more of this length may have a name. */
  hasRoomFor(bytes: number): boolean {
    return this.#bytes + bytes <= this.#maxBytes
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

  /** Of a statement that the proxy answers itself. */
  keepOwn(name: string, rest: Buffer): void {
    if (name === '') this.unnamed = { rest: Buffer.from(rest), traits: PLAIN }
    else this.add(name, rest)
  }

  keep(name: string, statement: Statement): void {
    this.#drop(name)
    this.#named.set(name, statement)
    this.#bytes += statement.rest.length
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
    return this.#drop(name)
  }

  /** The one that was called '' is not there. */
  forgetUnnamed(statement: UnnamedStatement): void {
    if (this.unnamed === statement) this.unnamed = null
  }

  /** Unless the name means another one by now. */
  forget(name: string, statement: Statement): void {
    if (this.#named.get(name) === statement) this.#drop(name)
  }

  /** As DISCARD ALL and DEALLOCATE ALL do, which leave the unnamed one alone, and what was prepared behind them. */
  forgetNamed(): void {
    const since = this.#since
    for (const name of [...this.#named.keys()]) if (since === null || !since.has(name)) this.#drop(name)
  }

  #drop(name: string): Statement | undefined {
    const statement = this.#named.get(name)
    if (statement === undefined) return undefined
    this.#named.delete(name)
    this.#bytes -= statement.rest.length
    return statement
  }

  textOf(name: string): string | null {
    const statement = this.#named.get(name)
    return statement === undefined ? null : textOf(statement.rest.toString('latin1'))
  }
}
