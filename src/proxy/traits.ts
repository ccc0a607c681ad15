/**
 * What the proxy must know of a statement's text: whether it may leave something in the session that a transaction's end does not
 * remove, whether it may commit, and whether it cannot work in transaction mode. It looks for words and not for meaning: a word too
 * many costs a round trip, and none is overlooked that stands in the text itself (what a function does inside is not seen). Pure.
 */

export interface Traits {
  /** Session state that outlives a transaction may come of it, and no answer of the server would tell. */
  readonly leavesState: boolean
  /** It may end a transaction with a commit: when no answer comes, nobody knows what happened. */
  readonly mayCommit: boolean
  /** It may end a transaction without a commit: what is sent behind it then commits by itself. */
  readonly mayRollBack: boolean
  /** It begins with LISTEN: nobody would hear the notifications. */
  readonly listens: boolean
  /** Prepared statements may be gone when it is answered. */
  readonly forgets: boolean
  /** It is DEALLOCATE and nothing else: the name, as the server would read it. */
  readonly deallocates: string | null
}

export const PLAIN: Traits = {
  leavesState: false,
  mayCommit: false,
  mayRollBack: false,
  listens: false,
  forgets: false,
  deallocates: null,
}
/** For a text that is too long to be looked at. */
export const UNKNOWN: Traits = {
  leavesState: true,
  mayCommit: true,
  mayRollBack: true,
  listens: false,
  forgets: true,
  deallocates: null,
}

/** Most statements have none of these words and are done with after one look. */
const ANY_WORD =
  /set_config|temp|advisory|listen|commit|end\b|prepare|rollback|abort|dblink|discard|deallocate/i
const LEAVES_STATE = /set_config|\btemp(?:orary)?\b|pg_temp|advisory|dblink/i
const COMMITS = /\b(?:commit|end|prepare)\b/i
const ROLLS_BACK = /\b(?:rollback|abort)\b(?!\s+(?:(?:work|transaction)\s+)?to\b)/i
const GOES_ON_BEHIND_IT = /\b(?:rollback|abort)\b[^;]*;\s*\S/i
const LISTENS = /^(?:\s|--[^\n]*\n|\/\*(?:[^*]|\*(?!\/))*\*\/)*listen\b/i

const FORGETS = /discard|deallocate/i
const DEALLOCATES =
  /^\s*deallocate\s+(?:prepare\s+)?(?:([a-z_\x80-\uffff][\w$\x80-\uffff]*)|"((?:[^"]|"")+)")\s*;?\s*$/i

/** Of one of the two, it is not known which. */
export function either(a: Traits, b: Traits): Traits {
  if (a === PLAIN) return b
  return {
    leavesState: a.leavesState || b.leavesState,
    mayCommit: a.mayCommit || b.mayCommit,
    mayRollBack: a.mayRollBack || b.mayRollBack,
    listens: a.listens || b.listens,
    forgets: a.forgets || b.forgets,
    deallocates: null,
  }
}

export function traitsOf(text: string): Traits {
  if (!ANY_WORD.test(text)) return PLAIN
  const mayRollBack = ROLLS_BACK.test(text)
  return {
    leavesState: LEAVES_STATE.test(text),
    mayCommit: COMMITS.test(text) || (mayRollBack && GOES_ON_BEHIND_IT.test(text)),
    mayRollBack,
    listens: LISTENS.test(text),
    forgets: FORGETS.test(text),
    deallocates: deallocatedBy(text),
  }
}

/** `text` is read as Latin-1, in which the bytes of a name are what they are. */
function deallocatedBy(text: string): string | null {
  const match = DEALLOCATES.exec(text)
  if (match === null) return null
  const [, plain, quoted] = match
  if (quoted !== undefined) return utf8Of(quoted.replaceAll('""', '"'))
  if (plain === undefined || /^all$/i.test(plain)) return null
  return utf8Of(plain.replace(/[A-Z]+/g, (letters) => letters.toLowerCase()))
}

function utf8Of(latin1: string): string {
  return Buffer.from(latin1, 'latin1').toString('utf8')
}
