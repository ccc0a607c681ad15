/** Reads the text of an understudy.yaml and finds everything that is wrong with it, each with its line and with what was most likely meant. Pure. */
import { type Document, LineCounter, parseDocument } from 'yaml'
import type { z } from 'zod'
import { crossChecks } from './checks.ts'
import { configKeys, type KeyInfo, keysBelow, matches, printPath } from './keys.ts'
import { nearest } from './nearest.ts'
import { type ClusterConfig, configSchema } from './schema.ts'

export interface ConfigFinding {
  readonly severity: 'error' | 'warning'
  /** From 1. */
  readonly line: number
  /** "nodes.alpha.port"; '' for the whole file. */
  readonly key: string
  readonly message: string
}

export interface ReadConfig {
  /** null when there is an error. */
  readonly config: ClusterConfig | null
  /** In the order of the lines. */
  readonly findings: readonly ConfigFinding[]
  /** Where a key stands, or what is next above it that stands in the file. */
  lineOf(path: readonly string[]): number
}

export function readConfigText(text: string): ReadConfig {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true })
  const lineOf = (path: readonly string[]): number => lineOfPath(document, lines, path)
  if (document.errors.length > 0) {
    const findings = document.errors.map((error): ConfigFinding => {
      const sentence = (error.message.split('\n')[0] ?? '').replace(/ at line \d+, column \d+:?$/, '')
      return { severity: 'error', line: lines.linePos(error.pos[0]).line, key: '', message: sentence }
    })
    return { config: null, findings, lineOf }
  }
  const value = plainValue(document)
  if (value instanceof Error)
    return {
      config: null,
      findings: [{ severity: 'error', line: 1, key: '', message: value.message }],
      lineOf,
    }
  const parsed = configSchema.safeParse(value)
  if (!parsed.success) {
    const findings = parsed.error.issues.flatMap((issue) => findingsOf(issue, value, lineOf))
    return { config: null, findings: sorted(findings), lineOf }
  }
  const findings = crossChecks(parsed.data).map(
    ({ severity, path, message }): ConfigFinding => ({
      severity,
      line: lineOf(path),
      key: printPath(path),
      message,
    }),
  )
  const broken = findings.some(({ severity }) => severity === 'error')
  return { config: broken ? null : parsed.data, findings: sorted(findings), lineOf }
}

/** An alias without its anchor, or with far too many uses, is found only here. */
function plainValue(document: Document): unknown {
  try {
    return withoutEmpty(document.toJS() ?? {}, [])
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
}

/** A section whose keys are all commented out is empty in YAML's eyes, and for a person it is a section with every default. */
function withoutEmpty(value: unknown, path: readonly string[]): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  const entries = Object.entries(value).flatMap(([name, each]): [string, unknown][] => {
    const at = [...path, name]
    if (each !== null) return [[name, withoutEmpty(each, at)]]
    const type = configKeys().find((key) => matches(key, at))?.type
    if (type === 'section') return [[name, {}]]
    return type === 'map' || type === 'list' ? [] : [[name, each]]
  })
  return Object.fromEntries(entries)
}

function sorted(findings: readonly ConfigFinding[]): readonly ConfigFinding[] {
  return [...findings].sort((a, b) => a.line - b.line)
}

function lineOfPath(document: Document, lines: LineCounter, path: readonly string[]): number {
  for (let depth = path.length; depth > 0; depth--) {
    const range = rangeOf(document, path.slice(0, depth))
    if (range !== null) return lines.linePos(range[0]).line
  }
  return 1
}

/** Of the key rather than of its value: a section's value begins a line later. */
function rangeOf(document: Document, path: readonly string[]): readonly [number, number, number] | null {
  const parent = document.getIn(path.slice(0, -1), true) as
    | { readonly items?: readonly unknown[] }
    | undefined
  for (const item of parent?.items ?? []) {
    const key = (
      item as { readonly key?: { readonly value?: unknown; readonly range?: [number, number, number] } }
    ).key
    if (key?.range !== undefined && String(key.value) === path.at(-1)) return key.range
  }
  const node = document.getIn(path, true) as { readonly range?: [number, number, number] } | undefined
  return node?.range ?? null
}

type Issue = z.core.$ZodIssue

function findingsOf(
  issue: Issue,
  whole: unknown,
  lineOf: (path: readonly string[]) => number,
): ConfigFinding[] {
  const path = issue.path.map(String)
  const found = (at: readonly string[], message: string): ConfigFinding => ({
    severity: 'error',
    line: lineOf(at),
    key: printPath(at),
    message,
  })
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => found([...path, key], unknownKey(key, path)))
  const isMissing = issue.code === 'invalid_type' && valueAt(whole, path) === undefined
  if (isMissing) return [found(path, `it is missing${meaningOf(path)}`)]
  return [found(path, sentence(issue, valueAt(whole, path)))]
}

function meaningOf(path: readonly string[]): string {
  const key = configKeys().find((each) => matches(each, path))
  return key === undefined ? '' : ` (${firstSentence(key)})`
}

function firstSentence({ description }: KeyInfo): string {
  const sentence = (/^.*?[.](?= |$)/.exec(description)?.[0] ?? description).replace(/\.$/, '')
  return sentence.charAt(0).toLowerCase() + sentence.slice(1)
}

function valueAt(whole: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (value, key) => (value as Record<string, unknown> | undefined | null)?.[key],
    whole,
  )
}

/** A key that is known elsewhere is most often one that was indented wrongly. */
function unknownKey(key: string, at: readonly string[]): string {
  const here = keysBelow(at).map(({ path }) => path.at(-1) ?? '')
  const meant = nearest(key, here)
  if (meant !== null) return `unknown key, did you mean "${meant}"?`
  const elsewhere = configKeys().find(({ path }) => path.at(-1) === key)
  if (elsewhere !== undefined) return `unknown key here, did you mean "${printPath(elsewhere.path)}"?`
  const near = nearest(
    key,
    configKeys().map(({ path }) => path.at(-1) ?? ''),
  )
  const other = configKeys().find(({ path }) => path.at(-1) === near)
  return other === undefined ? 'unknown key' : `unknown key, did you mean "${printPath(other.path)}"?`
}

function sentence(issue: Issue, value: unknown): string {
  // Words of the schema's own are better than any that can be said in general.
  if (!/^(Invalid|Too|Unrecognized) /.test(issue.message)) return issue.message
  switch (issue.code) {
    case 'invalid_type':
      return `it must be ${KINDS[issue.expected] ?? issue.expected}, not ${kindOf(value)}`
    case 'invalid_value':
      return `it must be ${issue.values.map(String).join(' or ')}${suggested(value, issue.values.map(String))}`
    case 'invalid_key':
      return issue.issues[0]?.message ?? 'it is no name'
    case 'too_small':
      return issue.origin === 'array'
        ? 'it is empty'
        : issue.origin === 'string'
          ? 'it is empty'
          : `it must be at least ${issue.minimum}`
    case 'too_big':
      return `it must be at most ${issue.maximum}`
    case 'invalid_union':
      return `it must be text, a number, or true or false, not ${kindOf(value)}`
    default:
      return issue.message
  }
}

function suggested(value: unknown, choices: readonly string[]): string {
  const meant = typeof value === 'string' ? nearest(value, choices) : null
  return meant === null
    ? `, not ${JSON.stringify(value)}`
    : `, not ${JSON.stringify(value)}: did you mean ${meant}?`
}

const KINDS: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a section with keys of its own',
  record: 'a section with names of your own',
}

function kindOf(value: unknown): string {
  if (value === null) return 'empty'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'a section'
  if (typeof value === 'string') return 'text'
  return `${JSON.stringify(value)}`
}
