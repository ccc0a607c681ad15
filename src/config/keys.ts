/** The schema as a list of keys with their documentation, in the order in which a person meets them. Pure. */
import { EXAMPLE, TAKES_EFFECT, type TakesEffect } from './fields.ts'
import { configSchema } from './schema.ts'

export interface KeyInfo {
  /** "nodes.NAME.port": NAME stands for a name that a person chooses. */
  readonly path: readonly string[]
  readonly description: string
  /** "text", "number", "text or number", "list", "map", "section"; choices are listed. */
  readonly type: string
  readonly choices: readonly unknown[] | null
  readonly required: boolean
  /** As it would be written; undefined: there is none. */
  readonly default: unknown
  readonly example: unknown
  readonly takesEffect: TakesEffect | null
}

/** The part of JSON Schema (2020-12) that zod makes of ours. */
export interface JsonSchema {
  readonly type?: string
  readonly description?: string
  readonly properties?: Readonly<Record<string, JsonSchema>>
  readonly additionalProperties?: JsonSchema | boolean
  readonly required?: readonly string[]
  readonly default?: unknown
  readonly enum?: readonly unknown[]
  readonly anyOf?: readonly JsonSchema[]
  readonly [TAKES_EFFECT]?: TakesEffect
  readonly [EXAMPLE]?: unknown
}

/** Stands in a path for a name that a person chooses. */
export const ANY_NAME = 'NAME'

/** For editors: what a person may write, before defaults and conversions. */
export function jsonSchema(): JsonSchema {
  const schema = configSchema.toJSONSchema({ io: 'input' }) as JsonSchema
  return {
    title: 'understudy.yaml',
    description: 'The configuration of a pg-understudy cluster.',
    ...schema,
  } as JsonSchema
}

let list: readonly KeyInfo[] | null = null

export function configKeys(): readonly KeyInfo[] {
  list ??= keysOf(jsonSchema(), [])
  return list
}

function keysOf(schema: JsonSchema, above: readonly string[]): KeyInfo[] {
  const required = new Set(schema.required ?? [])
  return Object.entries(schema.properties ?? {}).flatMap(([name, property]) => {
    const path = [...above, name]
    return [infoOf(property, path, required.has(name)), ...nestedKeys(property, path)]
  })
}

function nestedKeys(property: JsonSchema, path: readonly string[]): KeyInfo[] {
  const { additionalProperties: named } = property
  const entries = typeof named === 'object' && named.properties !== undefined ? named : null
  return entries === null ? keysOf(property, path) : keysOf(entries, [...path, ANY_NAME])
}

function infoOf(property: JsonSchema, path: readonly string[], required: boolean): KeyInfo {
  return {
    path,
    description: property.description ?? '',
    type: typeOf(property),
    choices: property.enum ?? null,
    required,
    default: property.default,
    example: property[EXAMPLE],
    takesEffect: property[TAKES_EFFECT] ?? null,
  }
}

const WORDS: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'number',
  integer: 'number',
  boolean: 'yes or no',
  array: 'list',
  object: 'map',
}

function typeOf(property: JsonSchema): string {
  if (property.properties !== undefined) return 'section'
  const types = property.anyOf?.map((each) => each.type ?? '') ?? [property.type ?? '']
  return [...new Set(types.map((type) => WORDS[type] ?? type))].join(' or ')
}

/** Whether a path of a file, with the names in it, is this key. */
export function matches(key: KeyInfo, path: readonly string[]): boolean {
  return (
    key.path.length === path.length &&
    key.path.every((part, index) => part === ANY_NAME || part === path[index])
  )
}

/** What may stand directly below a path of a file. */
export function keysBelow(path: readonly string[]): readonly KeyInfo[] {
  return configKeys().filter((key) => matches({ ...key, path: key.path.slice(0, -1) }, path))
}

export function printPath(path: readonly string[]): string {
  return path.join('.')
}
