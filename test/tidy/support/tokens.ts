/**
 * Splits source text into comments, strings and code: enough to tell a word in a comment from one in an identifier, and no more. A
 * regular expression is told from a division by what stands before it, which holds for formatted code.
 */

export interface Piece {
  readonly kind: 'comment' | 'string' | 'code'
  readonly text: string
  /** From 1, of its first character. */
  readonly line: number
}

export function piecesOf(source: string): readonly Piece[] {
  const pieces: Piece[] = []
  let line = 1
  let at = 0
  while (at < source.length) {
    const { kind, end } = next(source, at)
    const text = source.slice(at, end)
    pieces.push({ kind, text, line })
    line += text.split('\n').length - 1
    at = end
  }
  return pieces
}

const OPENING = /\/\/|\/\*|['"`/]/g

function next(source: string, at: number): { readonly kind: Piece['kind']; readonly end: number } {
  if (source.startsWith('//', at)) return { kind: 'comment', end: indexOrEnd(source, '\n', at) }
  if (source.startsWith('/*', at)) return { kind: 'comment', end: indexOrEnd(source, '*/', at + 2) + 2 }
  const quote = source.charAt(at)
  if (quote === "'" || quote === '"' || quote === '`') return { kind: 'string', end: endOfString(source, at) }
  if (quote === '/' && beginsRegex(source, at)) return { kind: 'string', end: endOfRegex(source, at) }
  OPENING.lastIndex = at + 1
  return { kind: 'code', end: OPENING.exec(source)?.index ?? source.length }
}

function indexOrEnd(source: string, text: string, from: number): number {
  const found = source.indexOf(text, from)
  return found === -1 ? source.length : found
}

/** A template counts as one string, with what is embedded in it. */
function endOfString(source: string, from: number): number {
  const quote = source.charAt(from)
  let depth = 0
  for (let at = from + 1; at < source.length; at++) {
    const character = source.charAt(at)
    if (character === '\\') at++
    else if (quote === '`' && source.startsWith('${', at)) depth++
    else if (depth > 0 && character === '}') depth--
    else if (depth === 0 && character === quote) return at + 1
  }
  return source.length
}

function beginsRegex(source: string, at: number): boolean {
  const before = source.slice(Math.max(0, at - 20), at).trimEnd()
  return /[(,=:[!&|?{};+\n>]$|\breturn$|^$/.test(before)
}

function endOfRegex(source: string, from: number): number {
  let inClass = false
  for (let at = from + 1; at < source.length; at++) {
    const character = source.charAt(at)
    if (character === '\\') at++
    else if (character === '[') inClass = true
    else if (character === ']') inClass = false
    else if (character === '/' && !inClass) return at + 1
    else if (character === '\n') return at
  }
  return source.length
}

export interface Identifier {
  readonly name: string
  readonly line: number
}

export function identifiersOf(source: string): readonly Identifier[] {
  return piecesOf(source)
    .filter(({ kind }) => kind === 'code')
    .flatMap((piece) => wordsAt(piece, /[A-Za-z_$][\w$]*/g))
}

export function commentsOf(source: string): readonly Piece[] {
  return piecesOf(source).filter(({ kind }) => kind === 'comment')
}

export function wordsAt(piece: Piece, pattern: RegExp): readonly Identifier[] {
  return [...piece.text.matchAll(pattern)].map((match) => ({
    name: match[0],
    line: piece.line + piece.text.slice(0, match.index).split('\n').length - 1,
  }))
}

/** "maxReplicationSlots" -> max, replication, slots. */
export function partsOfName(name: string): readonly string[] {
  return name
    .replace(/([a-z\d])([A-Z])/g, '$1 $2')
    .replace(/([A-Z]+)([A-Z][a-z])/g, '$1 $2')
    .split(/[\s_$]+/)
    .filter((part) => part !== '')
    .map((part) => part.toLowerCase())
}
