/** What one parsed statement means for where it may run. */
import type { Catalog } from './catalog.ts'
import { examineQuery, examineRelation } from './expressions.ts'
import { differsByNode } from './nodes-differ.ts'
import { field, textField } from './parser.ts'
import type { OwnSetting } from './verdict.ts'

/** A `Verdict` before its hint; `literalsMatter`: the same text with other literals could mean something else. */
export type Meaning = { readonly literalsMatter: boolean } & (
  | { readonly kind: 'read' }
  | { readonly kind: 'primary'; readonly reason: string }
  | { readonly kind: 'begin'; readonly readOnly: boolean }
  | {
      readonly kind: 'setOwn'
      readonly name: OwnSetting
      readonly value: string | null
      readonly local: boolean
    }
  | { readonly kind: 'showOwn'; readonly name: OwnSetting }
)

const OWN_SETTINGS: readonly OwnSetting[] = [
  'understudy.target',
  'understudy.level',
  'understudy.token',
  'understudy.max_lag',
]

/** Bit of DeclareCursorStmt.options (PostgreSQL's parsenodes.h, CURSOR_OPT_HOLD). */
const CURSOR_HOLD = 0x20

const REASONS: Readonly<Record<string, string>> = {
  FetchStmt: 'a cursor is read where it was declared',
  ClosePortalStmt: 'a cursor is closed where it was declared',
  PrepareStmt: 'what PREPARE makes is known to one session of one server only',
  ExecuteStmt: 'what PREPARE made is known to one session of one server only',
  DeallocateStmt: 'what PREPARE made is known to one session of one server only',
}

/** Null `catalog`: nothing is known of the database, and no query can be called a read. */
export function meaningOf(statement: object, catalog: Catalog | null): Meaning {
  const [name, node] = Object.entries(statement)[0] ?? []
  switch (name) {
    case 'SelectStmt':
      return query(node, catalog)
    case 'ExplainStmt':
      return explain(field(node, 'query'), catalog)
    case 'CopyStmt':
      return copy(node, catalog)
    case 'DeclareCursorStmt':
      return declare(node, catalog)
    case 'VariableShowStmt':
      return show(textField(node, 'name') ?? '')
    case 'VariableSetStmt':
      return set(node)
    case 'TransactionStmt':
      return transaction(node)
    default:
      return primary(REASONS[name ?? ''] ?? `${title(name ?? 'it')} is no read`)
  }
}

function primary(reason: string, literalsMatter = false): Meaning {
  return { kind: 'primary', reason, literalsMatter }
}

function query(node: unknown, catalog: Catalog | null): Meaning {
  if (catalog === null) return primary('the functions and relations of this database are not known yet')
  const { reason, literalsMatter } = examineQuery(node, catalog)
  return reason === null ? { kind: 'read', literalsMatter } : primary(reason, literalsMatter)
}

/** EXPLAIN ANALYZE runs what it explains; without it the answer is about the node too, and a standby's is as good. */
function explain(explained: unknown, catalog: Catalog | null): Meaning {
  const select = field(explained, 'SelectStmt')
  return select === undefined ? primary('it explains something else than a read') : query(select, catalog)
}

function copy(node: unknown, catalog: Catalog | null): Meaning {
  if (field(node, 'is_from') === true) return primary('COPY FROM writes')
  if (field(node, 'is_program') === true || textField(node, 'filename') !== null) {
    return primary("COPY TO a file or a program happens on the server's machine")
  }
  const relation = field(node, 'relation')
  if (relation === undefined) {
    const select = field(field(node, 'query'), 'SelectStmt')
    return select === undefined ? primary('it copies the rows of a write') : query(select, catalog)
  }
  if (catalog === null) return primary('the functions and relations of this database are not known yet')
  const reason = examineRelation(relation, catalog)
  return reason === null ? { kind: 'read', literalsMatter: false } : primary(reason)
}

/** Outside a transaction PostgreSQL refuses it anywhere; a held cursor outlives the transaction, and its node must be known then. */
function declare(node: unknown, catalog: Catalog | null): Meaning {
  const options = field(node, 'options')
  if (typeof options !== 'number' || (options & CURSOR_HOLD) !== 0)
    return primary('a cursor WITH HOLD stays on its node')
  const select = field(field(node, 'query'), 'SelectStmt')
  return select === undefined
    ? primary('its cursor is over something else than a read')
    : query(select, catalog)
}

function ownSetting(name: string): OwnSetting | undefined {
  return OWN_SETTINGS.find((own) => own === name.toLowerCase())
}

function show(name: string): Meaning {
  const own = ownSetting(name)
  if (own !== undefined) return { kind: 'showOwn', name: own, literalsMatter: true }
  if (differsByNode(name)) return primary(`the setting ${name} differs from node to node`)
  return { kind: 'read', literalsMatter: false }
}

function set(node: unknown): Meaning {
  const name = ownSetting(textField(node, 'name') ?? '')
  if (name === undefined) return primary('SET and RESET change the session', true)
  const local = field(node, 'is_local') === true
  const kind = textField(node, 'kind')
  if (kind === 'VAR_RESET' || kind === 'VAR_SET_DEFAULT') {
    return { kind: 'setOwn', name, value: null, local, literalsMatter: true }
  }
  const value = kind === 'VAR_SET_VALUE' ? constant(field(node, 'args')) : null
  if (value === null) return primary(`the value of ${name} is not one string or number`, true)
  return { kind: 'setOwn', name, value, local, literalsMatter: true }
}

/** The one value of SET, as text; null when it is something else. Zero and the empty string have no field of their own. */
function constant(values: unknown): string | null {
  if (!Array.isArray(values) || values.length !== 1) return null
  const node = field(values[0], 'A_Const')
  const text = field(node, 'sval')
  if (text !== undefined) return textField(text, 'sval') ?? ''
  const float = field(node, 'fval')
  if (float !== undefined) return textField(float, 'fval')
  const integer = field(node, 'ival')
  if (integer === undefined) return null
  const value = field(integer, 'ival')
  return typeof value === 'number' ? String(value) : '0'
}

const TRANSACTION_WORDS: Readonly<Record<string, string>> = {
  TRANS_STMT_COMMIT: 'COMMIT ends its transaction where that is',
  TRANS_STMT_ROLLBACK: 'ROLLBACK ends its transaction where that is',
  TRANS_STMT_SAVEPOINT: 'a savepoint is made where its transaction is',
  TRANS_STMT_RELEASE: 'a savepoint is released where its transaction is',
  TRANS_STMT_ROLLBACK_TO: 'ROLLBACK TO happens where its transaction is',
}

function transaction(node: unknown): Meaning {
  const kind = textField(node, 'kind') ?? ''
  if (kind !== 'TRANS_STMT_BEGIN' && kind !== 'TRANS_STMT_START') {
    return primary(TRANSACTION_WORDS[kind] ?? 'two-phase commit is for the primary')
  }
  const options = field(node, 'options')
  // Of several that say the same thing the last one counts, as on the server.
  let saysReadOnly = false
  let isSerializable = false
  for (const option of Array.isArray(options) ? options : []) {
    const element = field(option, 'DefElem')
    const value = field(field(element, 'arg'), 'A_Const')
    const name = textField(element, 'defname')
    if (name === 'transaction_read_only') saysReadOnly = field(field(value, 'ival'), 'ival') === 1
    if (name === 'transaction_isolation')
      isSerializable = textField(field(value, 'sval'), 'sval') === 'serializable'
  }
  return { kind: 'begin', readOnly: saysReadOnly && !isSerializable, literalsMatter: false }
}

/** `CreateStmt` as a person reads it: the words of its name. */
function title(name: string): string {
  const words = name.replace(/Stmt$/, '').replace(/([a-z])([A-Z])/g, '$1 $2')
  return words.toUpperCase()
}
