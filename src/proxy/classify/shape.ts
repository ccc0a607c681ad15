/**
 * A text without the values of its literals: `SELECT 1 FROM t WHERE a = 'x'` and the same with 2 and 'y' have one shape, and one
 * verdict. Programs that write values into their statements would otherwise have every statement parsed.
 */

const QUOTE = 0x27
const DOUBLE_QUOTE = 0x22
const DOLLAR = 0x24
const DASH = 0x2d
const SLASH = 0x2f
const STAR = 0x2a
const BACKSLASH = 0x5c

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39
}

/** A character that can be inside an identifier; everything that is not ASCII is. */
function isWord(code: number): boolean {
  return (
    isDigit(code) ||
    (code >= 0x61 && code <= 0x7a) ||
    (code >= 0x41 && code <= 0x5a) ||
    code === 0x5f ||
    code === DOLLAR ||
    code > 0x7f
  )
}

/**
 * Null when a part of the text is of a kind that is not told apart here (comments, dollar quotes, E'' and other prefixed strings,
 * backslashes): then only the text itself can be remembered. Runs of digits become 0 and strings become ''.
 */
export function shapeOf(text: string): string | null {
  let shape = ''
  let copiedTo = 0
  let previous = 0x20
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at)
    if (isDigit(code) && !isWord(previous)) {
      let end = at + 1
      while (end < text.length && isDigit(text.charCodeAt(end))) end += 1
      shape += `${text.slice(copiedTo, at)}0`
      copiedTo = end
      at = end - 1
    } else if (code === QUOTE) {
      // After a word it is E'', B'', X'', N'' or U&''.
      if (isWord(previous) || previous === 0x26) return null
      const end = endOfQuoted(text, at, QUOTE)
      if (end === -1) return null
      shape += `${text.slice(copiedTo, at)}''`
      copiedTo = end + 1
      at = end
    } else if (code === DOUBLE_QUOTE) {
      const end = endOfQuoted(text, at, DOUBLE_QUOTE)
      if (end === -1) return null
      at = end
    } else if (isOutOfScope(text, at, code, previous)) {
      return null
    }
    previous = text.charCodeAt(at)
  }
  return copiedTo === 0 ? text : shape + text.slice(copiedTo)
}

/** Comments, dollar quotes (`$1` is a parameter), backslashes. */
function isOutOfScope(text: string, at: number, code: number, previous: number): boolean {
  if (code === BACKSLASH) return true
  if (code === DASH) return text.charCodeAt(at + 1) === DASH
  if (code === SLASH) return text.charCodeAt(at + 1) === STAR
  if (code === DOLLAR) return !isWord(previous) && !isDigit(text.charCodeAt(at + 1))
  return false
}

/** Where the quoted part that begins at `from` ends; -1: nowhere, or there is a backslash in it. A doubled quote is part of it. */
function endOfQuoted(text: string, from: number, quote: number): number {
  for (let at = from + 1; at < text.length; at += 1) {
    const code = text.charCodeAt(at)
    if (code === BACKSLASH) return -1
    if (code === quote) {
      if (text.charCodeAt(at + 1) !== quote) return at
      at += 1
    }
  }
  return -1
}
