/** A new understudy.yaml: every key with what it means and its default, from the schema. Pure. */
import { stringify } from 'yaml'
import {
  ANY_NAME,
  configKeys,
  type JsonSchema,
  jsonSchema,
  type KeyInfo,
  matches,
} from '../../config/keys.ts'
import { wrap } from '../text.ts'

const WIDTH = 100

export type ConfigValues = Readonly<Record<string, unknown>>

/** `values` as a person would write them: durations as text. `head` are lines of the comment above everything. */
export function annotatedConfig(values: ConfigValues, head: readonly string[]): string {
  const top = head.map((line) => `# ${line}`.trimEnd())
  return `${[...top, '', ...section(jsonSchema(), values, [])].join('\n').trimEnd()}\n`
}

function section(schema: JsonSchema, values: ConfigValues, above: readonly string[]): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, property]) => {
    const path = [...above, name]
    const key = infoOf(path)
    const lines = [...comment(key), ...valueLines(key, property, values[name])]
    return above.length === 0 ? [...lines, ''] : lines.map((line) => `  ${line}`)
  })
}

function valueLines(key: KeyInfo, property: JsonSchema, value: unknown): string[] {
  const name = key.path.at(-1) ?? ''
  if (property.properties !== undefined) return [`${name}:`, ...section(property, asMap(value), key.path)]
  if (isNamed(property)) return namedSection(key, asMap(value))
  if (value !== undefined) return yamlLines({ [name]: value })
  const shown = isEmpty(key.default) ? (key.example ?? key.default) : key.default
  return shown === undefined ? [] : yamlLines({ [name]: shown }).map((line) => `# ${line}`)
}

function isEmpty(value: unknown): boolean {
  return (
    value === undefined || (typeof value === 'object' && value !== null && Object.keys(value).length === 0)
  )
}

/** `nodes`: what each key means stands once, above the first of them. */
function namedSection(key: KeyInfo, entries: ConfigValues): string[] {
  const name = key.path.at(-1) ?? ''
  const meanings = configKeys()
    .filter(
      ({ path }) =>
        path.length === key.path.length + 2 && path[key.path.length] === ANY_NAME && path[0] === key.path[0],
    )
    .flatMap((each) => {
      const notes = each.required ? ' (required)' : ''
      const [first = '', ...more] = wrap(
        `${each.path.at(-1)}${notes}: ${each.description}${defaultOf(each)}`,
        WIDTH - 6,
      )
      return [`# - ${first}`, ...more.map((line) => `#   ${line}`)]
    })
  const written = Object.entries(entries).flatMap(([each, value]) => yamlLines({ [each]: value }))
  return [`${name}:`, ...[...meanings, ...written].map((line) => `  ${line}`)]
}

function comment(key: KeyInfo): string[] {
  return wrap(`${key.description}${defaultOf(key)}`, WIDTH).map((line) => `# ${line}`)
}

function defaultOf({ default: value }: KeyInfo): string {
  return value === undefined || typeof value === 'object' ? '' : ` Default: ${String(value)}.`
}

function infoOf(path: readonly string[]): KeyInfo {
  const found = configKeys().find((key) => matches(key, path))
  if (found === undefined) throw new Error(`no key ${path.join('.')} in the schema`)
  return found
}

function isNamed(property: JsonSchema): boolean {
  const { additionalProperties: named } = property
  return typeof named === 'object' && named.properties !== undefined
}

function asMap(value: unknown): ConfigValues {
  return typeof value === 'object' && value !== null ? (value as ConfigValues) : {}
}

function yamlLines(value: ConfigValues): string[] {
  return stringify(value, { lineWidth: 0, flowCollectionPadding: true }).trimEnd().split('\n')
}
