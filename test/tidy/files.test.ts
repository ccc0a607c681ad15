/** What every file of the project keeps to, whatever it is about. */
import { describe, expect, test } from 'vitest'
import { commentsOf, wordsAt } from './support/tokens.ts'
import { codeFiles, expectNone, projectFiles } from './support/tree.ts'

const SOFT_LINES = 250
const HARD_LINES = 500
const HARD_TEST_LINES = 800
const FUNCTION_LINES = 70
/** The formatter breaks code at 110; comments are prose and may be wider. */
const LINE_WIDTH = 150

const code = codeFiles()
const isTest = (name: string): boolean => name.startsWith('test/')

function linesOf(text: string): readonly string[] {
  return text.trimEnd().split('\n')
}

describe('a source file', () => {
  test(`has at most ${HARD_LINES} lines, a test ${HARD_TEST_LINES}`, () => {
    const found = code
      .map(({ name, text }) => ({ name, lines: linesOf(text).length }))
      .filter(({ name, lines }) => lines > (isTest(name) ? HARD_TEST_LINES : HARD_LINES))
      .map(({ name, lines }) => `${name} has ${lines} lines`)
    expectNone(found, 'Ask which second thing it does, and give that a file of its own.')
  })

  test(`of src is rarely longer than ${SOFT_LINES} lines`, () => {
    const source = code.filter(({ name }) => name.startsWith('src/'))
    const long = source.filter(({ text }) => linesOf(text).length > SOFT_LINES)
    const found = long.map(({ name, text }) => `${name} has ${linesOf(text).length} lines`)
    // One in ten may: the second thing that a file does should be split off before it becomes the habit.
    expectNone(long.length <= source.length / 10 ? [] : found, 'Too many long files: split the longest ones.')
  })

  test(`has no function of src with more than ${FUNCTION_LINES} lines`, () => {
    const found = code
      .filter(({ name }) => name.startsWith('src/'))
      .flatMap(({ name, text }) =>
        functionsOf(text)
          .filter(({ lines }) => lines > FUNCTION_LINES)
          .map(({ line, lines }) => `${name}:${line} a function of ${lines} lines`),
      )
    expectNone(found, 'Give its steps names of their own.')
  })

  test(`has no line wider than ${LINE_WIDTH} columns`, () => {
    const found = code.flatMap(({ name, text }) =>
      linesOf(text)
        .map((line, index) => ({ line, where: `${name}:${index + 1}` }))
        .filter(({ line }) => line.length > LINE_WIDTH && !isUnbreakable(line))
        .map(({ line, where }) => `${where} is ${line.length} wide`),
    )
    expectNone(found, 'Break the line; the formatter leaves comments alone.')
  })

  test('begins with what it is for', () => {
    const found = codeFiles('src', 'bench', 'sim', 'torture', 'test/lab', 'scripts')
      .filter(({ text }) => !/^(#!.*\n)?\/\*\*/.test(text))
      .map(({ name }) => name)
    expectNone(found, 'Begin the file with /** its purpose, in a sentence */.')
  })

  test('has nothing left to do in comments', () => {
    const marks = /\b(TODO|FIXME|XXX|HACK)\b/g
    const found = code.flatMap(({ name, text }) =>
      commentsOf(text).flatMap((comment) => wordsAt(comment, marks).map(({ line }) => `${name}:${line}`)),
    )
    expectNone(found, 'Do it, or open an issue and say in the comment what is so today.')
  })
})

describe('every file', () => {
  test('names no directory of one machine', () => {
    const machine = /(^|[\s'"`(=:])\/(?:(?:work|farm|root|Users)(?![\w-])|home\/[a-z]|tmp\/bash_)/
    const found = projectFiles()
      .filter(({ name }) => !isBinary(name))
      .flatMap(({ name, text }) =>
        text
          .split('\n')
          .flatMap((line, index) => (machine.test(line) ? [`${name}:${index + 1} ${line.trim()}`] : [])),
      )
    expectNone(found, 'Make the path from the root of the project, or from os.tmpdir().')
  })

  test('ends with a line break and has no spaces at the ends of lines', () => {
    const found = projectFiles()
      .filter(
        ({ name, text }) => !isBinary(name) && text !== '' && (!text.endsWith('\n') || /[ \t]$/m.test(text)),
      )
      .map(({ name }) => name)
    expectNone(found, 'Let the editor trim it (.editorconfig).')
  })

  test('of the lock names no registry', () => {
    const [lock] = projectFiles('package-lock.json')
    expect(lock).toBeDefined()
    expect(lock?.text).not.toContain('"resolved"')
  })
})

function isBinary(name: string): boolean {
  return /\.(png|gz|tar|bin|ico|woff2)$/.test(name)
}

/** Text in quotes or a regular expression stays in one piece, so that it can be searched for; and so does a link. */
function isUnbreakable(line: string): boolean {
  return /https?:\/\/|['"`]|\/.{60,}\/[a-z]*/.test(line) && !/^\s*(\/\/|\/\*|\*)/.test(line)
}

interface FunctionSize {
  /** Of its first line, from 1. */
  readonly line: number
  /** Its own: lines of the functions inside it count for those. */
  readonly lines: number
}

/**
 * Functions with a body in braces, found by their indentation, which the formatter makes dependable: the closing brace stands in the
 * column of the line that opened it.
 */
function functionsOf(text: string): readonly FunctionSize[] {
  const lines = linesOf(text)
  const spans = lines.flatMap((line, index) => {
    if (!opensFunction(line)) return []
    const closing = `${/^\s*/.exec(line)?.[0] ?? ''}}`
    const length = lines.slice(index + 1).findIndex((each) => each.startsWith(closing))
    return length === -1 ? [] : [{ first: index, last: index + 1 + length }]
  })
  return spans.map((span) => {
    const inside = spans.filter(({ first, last }) => first > span.first && last < span.last)
    const direct = inside.filter(
      (inner) => !inside.some((other) => other.first < inner.first && other.last > inner.last),
    )
    const others = direct.reduce((sum, { first, last }) => sum + (last - first - 1), 0)
    return { line: span.first + 1, lines: span.last - span.first - 1 - others }
  })
}

function opensFunction(line: string): boolean {
  if (/=> \{$/.test(line)) return true
  return /\)(: .+)? \{$/.test(line) && !/^\s*(\} )?(if|for|while|switch|else|catch|with)\b/.test(line)
}
