/**
 * Whether a query only reads, and only what a standby can answer: a walk over its tree in which everything that is not known to be
 * harmless is a reason for the primary.
 */
import type { Catalog } from './catalog.ts'
import { differsByNode } from './nodes-differ.ts'
import { field, namesIn, textField } from './parser.ts'

/** Nodes of the tree that by themselves do nothing; what stands below them is looked at. Everything else is a reason. */
const HARMLESS = new Set([
  ...[
    'SelectStmt',
    'ResTarget',
    'ColumnRef',
    'A_Star',
    'A_Const',
    'A_Expr',
    'BoolExpr',
    'FuncCall',
    'TypeCast',
    'TypeName',
  ],
  ...[
    'CaseExpr',
    'CaseWhen',
    'CoalesceExpr',
    'MinMaxExpr',
    'NullTest',
    'BooleanTest',
    'SubLink',
    'A_ArrayExpr',
    'A_Indirection',
  ],
  ...[
    'A_Indices',
    'RowExpr',
    'ParamRef',
    'CollateClause',
    'SortBy',
    'WindowDef',
    'GroupingSet',
    'GroupingFunc',
  ],
  ...[
    'SQLValueFunction',
    'XmlExpr',
    'XmlSerialize',
    'NamedArgExpr',
    'List',
    'String',
    'Integer',
    'Float',
    'Boolean',
    'BitString',
  ],
  ...[
    'RangeVar',
    'RangeSubselect',
    'RangeFunction',
    'RangeTableSample',
    'RangeTableFunc',
    'RangeTableFuncCol',
    'JoinExpr',
  ],
  ...[
    'ColumnDef',
    'Alias',
    'JsonFormat',
    'JsonReturning',
    'JsonValueExpr',
    'JsonOutput',
    'JsonKeyValue',
    'JsonObjectConstructor',
  ],
  ...[
    'JsonArrayConstructor',
    'JsonArrayQueryConstructor',
    'JsonObjectAgg',
    'JsonArrayAgg',
    'JsonAggConstructor',
  ],
  ...[
    'JsonIsPredicate',
    'JsonParseExpr',
    'JsonScalarExpr',
    'JsonSerializeExpr',
    'JsonFuncExpr',
    'JsonBehavior',
    'JsonArgument',
  ],
  ...['JsonTable', 'JsonTableColumn', 'JsonTablePathSpec'],
])

/** What libpg-query calls an A_Expr whose name is no operator, and the operators that it uses. */
const RANGE_KINDS = new Set([
  'AEXPR_BETWEEN',
  'AEXPR_NOT_BETWEEN',
  'AEXPR_BETWEEN_SYM',
  'AEXPR_NOT_BETWEEN_SYM',
])
const RANGE_OPERATORS = ['>=', '<=', '>', '<']

/** The methods of PostgreSQL itself; an extension's may do anything. */
const SAMPLE_METHODS = new Set(['system', 'bernoulli'])

/** Names of the WITH queries that can be meant, innermost last. */
type Scope = ReadonlySet<string>

export interface QueryFinding {
  /** Null: it may run on a standby. */
  readonly reason: string | null
  /** Whether another text with other literals could have another answer. */
  readonly literalsMatter: boolean
}

/** `query` is a SelectStmt without its wrapper, or any other part of a tree. Throws RangeError when it is too deep. */
export function examineQuery(query: unknown, catalog: Catalog): QueryFinding {
  const walk = new Walk(catalog)
  walk.visit(query, new Set())
  return { reason: walk.reason, literalsMatter: walk.literalsMatter }
}

/** A relation by itself, as COPY names it. */
export function examineRelation(relation: unknown, catalog: Catalog): string | null {
  const walk = new Walk(catalog)
  walk.visit({ RangeVar: relation }, new Set())
  return walk.reason
}

class Walk {
  readonly #catalog: Catalog
  reason: string | null = null
  literalsMatter = false

  constructor(catalog: Catalog) {
    this.#catalog = catalog
  }

  visit(value: unknown, scope: Scope): void {
    if (this.reason !== null || typeof value !== 'object' || value === null) return
    if (Array.isArray(value)) {
      for (const entry of value) this.visit(entry, scope)
      return
    }
    const inner = this.#withQueries(field(value, 'withClause'), scope)
    const node = value as Readonly<Record<string, unknown>>
    for (const key of Object.keys(node)) {
      const child = node[key]
      if (isNodeName(key)) this.#node(key, child, inner)
      else if (key === 'typeName') this.#type(child)
      else if (key === 'intoClause') this.#found('it makes a table (INTO)')
      else if (key === 'lockingClause') this.#found('it locks rows (FOR UPDATE or FOR SHARE)')
      if (key !== 'withClause') this.visit(child, inner)
    }
  }

  #found(reason: string): void {
    this.reason ??= reason
  }

  /**
   * A WITH query that is not RECURSIVE sees only those before it: `WITH t AS (SELECT * FROM t) SELECT * FROM t` reads a table t.
   * One that writes is no SelectStmt, and found as such.
   */
  #withQueries(clause: unknown, scope: Scope): Scope {
    const queries = field(clause, 'ctes')
    if (!Array.isArray(queries)) return scope
    const inner = new Set(scope)
    const nodes = queries.map((entry) => field(entry, 'CommonTableExpr'))
    const names = nodes.map((node) => textField(node, 'ctename') ?? '')
    if (field(clause, 'recursive') === true) for (const name of names) inner.add(name)
    for (const [index, node] of nodes.entries()) {
      // A copy, because what comes later must not be seen by what was visited earlier.
      this.visit(node, new Set(inner))
      inner.add(names[index] ?? '')
    }
    return inner
  }

  #node(name: string, node: unknown, scope: Scope): void {
    if (!HARMLESS.has(name)) {
      const write = /^(Insert|Update|Delete|Merge)Stmt$/.exec(name)?.[1]
      this.#found(
        write === undefined
          ? `it has a part that is not known to be harmless (${name})`
          : `it writes (${write.toUpperCase()} inside WITH)`,
      )
      return
    }
    switch (name) {
      case 'FuncCall':
        this.#call(node)
        break
      case 'RangeVar':
        this.#relation(node, scope)
        break
      case 'A_Expr':
        this.#operator(node)
        break
      case 'SubLink':
        this.#operators(namesIn(field(node, 'operName')).slice(-1))
        break
      case 'SortBy':
        this.#operators(namesIn(field(node, 'useOp')).slice(-1))
        break
      case 'ColumnRef':
        this.#attributes(namesIn(field(node, 'fields')).slice(1))
        break
      case 'A_Indirection':
        this.#attributes(namesIn(field(node, 'indirection')))
        break
      case 'TypeName':
        this.#type(node)
        break
      case 'RangeTableSample':
        this.#sample(namesIn(field(node, 'method')))
        break
      default:
    }
  }

  #call(node: unknown): void {
    const name = namesIn(field(node, 'funcname')).at(-1) ?? ''
    const isSafe = this.#catalog.functions.get(name)
    if (isSafe === undefined) {
      this.#found(`it calls ${name}, and no function of that name was known`)
    } else if (!isSafe) {
      this.#found(
        `it calls ${name}, and a function of that name is volatile or answers differently on a standby`,
      )
    } else if (name === 'current_setting') {
      this.#setting(node)
    }
  }

  /** Some settings name the node that answers; which one is asked for must be readable in the text. */
  #setting(node: unknown): void {
    this.literalsMatter = true
    const values = field(node, 'args')
    const first: unknown = Array.isArray(values) ? values[0] : undefined
    const name = textField(field(field(first, 'A_Const'), 'sval'), 'sval')
    if (name === null) this.#found('it calls current_setting with a name that is not in the text')
    else if (differsByNode(name))
      this.#found(`it asks for the setting ${name}, which differs from node to node`)
  }

  #relation(node: unknown, scope: Scope): void {
    const name = textField(node, 'relname') ?? ''
    if (textField(node, 'schemaname') === null && scope.has(name)) return
    const flaw = this.#catalog.relations.get(name)
    if (flaw === undefined) this.#found(`it reads ${name}, and no relation of that name was known`)
    else if (flaw !== null) this.#found(`it reads ${name}, and a relation of that name is ${flaw}`)
  }

  #operator(node: unknown): void {
    if (RANGE_KINDS.has(textField(node, 'kind') ?? '')) this.#operators(RANGE_OPERATORS)
    else this.#operators(namesIn(field(node, 'name')).slice(-1))
  }

  #operators(names: readonly string[]): void {
    for (const name of names) {
      if (!this.#catalog.operators.has(name)) {
        this.#found(`it uses the operator ${name}, which is unknown or made with a volatile function`)
      }
    }
  }

  /** `row.name` is a call of the function `name` when the row has no such column. */
  #attributes(names: readonly string[]): void {
    for (const name of names) {
      if (this.#catalog.rowFunctions.has(name)) {
        this.#found(`it may call ${name} by writing it like a column, and that function is volatile`)
      }
    }
  }

  #type(node: unknown): void {
    const name = namesIn(field(node, 'names')).at(-1) ?? ''
    if (this.#catalog.unsafeTypes.has(name))
      this.#found(`it converts to ${name}, which calls a volatile function`)
  }

  #sample(method: readonly string[]): void {
    if (!SAMPLE_METHODS.has(method.at(-1) ?? '')) this.#found('it samples with a method of an extension')
  }
}

/** Nodes are wrapped as `{ Name: {...} }`; their fields begin with a small letter. */
function isNodeName(key: string): boolean {
  const code = key.charCodeAt(0)
  return code >= 65 && code <= 90
}
