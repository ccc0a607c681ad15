/** What the classifier must know of a database: names, and whether a statement that uses one may run on a standby. */

/** Why a relation must be read on the primary; null: it may be read anywhere. */
export type RelationFlaw =
  | 'a temporary table'
  | 'an unlogged table'
  | 'a foreign table'
  | 'a sequence'
  | 'a view, a parent or under a policy over something that only the primary can answer'

/**
 * By bare names, because a search path can mean any schema: a name is safe only when everything of that name is. A name that is missing
 * here did not exist when the snapshot was taken, and is not safe.
 */
export interface Catalog {
  /** true: every function of this name may run on a standby. */
  readonly functions: ReadonlyMap<string, boolean>
  /** Unsafe functions that `row.name` calls as well: their only argument is a row. */
  readonly rowFunctions: ReadonlySet<string>
  readonly relations: ReadonlyMap<string, RelationFlaw | null>
  /** Operators that may run on a standby. */
  readonly operators: ReadonlySet<string>
  /** Types to which a cast runs an unsafe function: domains with such a check, and casts with such a function. */
  readonly unsafeTypes: ReadonlySet<string>
}

export interface CatalogSource {
  /** Null while nothing is known: then everything goes to the primary. Another object whenever anything has changed. */
  current(): Catalog | null
}

/** One row of `CATALOG_SQL`: what the names are, and the names. */
export type CatalogRow = readonly [kind: string, names: string]

/** Stands between names. A name that has it in itself is left out of the safe ones by the statement. */
export const NAME_SEPARATOR = '\u0001'

const FLAWS: Readonly<Record<string, RelationFlaw>> = {
  t: 'a temporary table',
  u: 'an unlogged table',
  f: 'a foreign table',
  S: 'a sequence',
  v: 'a view, a parent or under a policy over something that only the primary can answer',
}

export class CatalogBuilder implements Catalog {
  readonly functions = new Map<string, boolean>()
  readonly rowFunctions = new Set<string>()
  readonly relations = new Map<string, RelationFlaw | null>()
  readonly operators = new Set<string>()
  readonly unsafeTypes = new Set<string>()

  /** Throws on a kind that it does not know: a snapshot that is not understood must not count. */
  add([kind, joined]: CatalogRow): void {
    const names = joined.split(NAME_SEPARATOR)
    switch (kind) {
      case 'function safe':
        for (const name of names) this.functions.set(name, true)
        return
      case 'function unsafe':
        for (const name of names) this.functions.set(name, false)
        return
      case 'row function':
        for (const name of names) this.rowFunctions.add(name)
        return
      case 'operator':
        for (const name of names) this.operators.add(name)
        return
      case 'type unsafe':
        for (const name of names) this.unsafeTypes.add(name)
        return
      default:
        this.#addRelations(kind, names)
    }
  }

  #addRelations(kind: string, names: readonly string[]): void {
    const letter = /^relation (.)$/.exec(kind)?.[1]
    const flaw = letter === undefined ? undefined : FLAWS[letter]
    if (flaw === undefined && letter !== '-') throw new Error(`the catalog has an unknown kind "${kind}"`)
    for (const name of names) this.relations.set(name, flaw ?? null)
  }
}
