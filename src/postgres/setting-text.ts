/** Names and values of settings as the text of a configuration file (manual: 20.1.1; guc-file.l). PURE. */

export type ParameterValue = string | number | boolean
export type UserParameters = Readonly<Record<string, ParameterValue>>

/** As guc-file.l takes it: an identifier, or an extension's "prefix.name". Compared without case. */
const NAME = /^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)*$/

export function isSettingName(name: string): boolean {
  return NAME.test(name)
}

/** What stands between the quotes, unquoted. */
export function valueText(value: ParameterValue): string {
  if (typeof value === 'boolean') return value ? 'on' : 'off'
  return String(value)
}

/** Control characters have no place in a setting; a line break would begin another one. */
export function isSettingValue(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return !/[\x00-\x1f\x7f]/.test(text)
}

/** In single quotes, with quotes doubled and backslashes too, since they escape within them. */
export function quoteSetting(value: ParameterValue): string {
  return `'${valueText(value).replaceAll('\\', '\\\\').replaceAll("'", "''")}'`
}

export function settingLine(name: string, value: ParameterValue): string {
  return `${name} = ${quoteSetting(value)}`
}

/** A value inside a connection string (manual: 34.1.1.1): always quoted, `\` and `'` escaped by `\`. */
export function quoteConninfo(value: string): string {
  return `'${value.replace(/[\\']/g, '\\$&')}'`
}

export type ConfigurationLine =
  | { readonly kind: 'blank' }
  | { readonly kind: 'setting'; readonly name: string; readonly value: string }
  /** PostgreSQL would refuse to start with it. */
  | { readonly kind: 'unreadable' }

/** Reads one line of postgresql.auto.conf. */
export function parseLine(line: string): ConfigurationLine {
  const trimmed = line.trim()
  if (trimmed === '' || trimmed.startsWith('#')) return { kind: 'blank' }
  const match = /^([A-Za-z_][\w$.]*)(?:\s*=\s*|\s+)(?:'((?:[^'\\]|\\.|'')*)'|([^\s'#]+))\s*(?:#.*)?$/.exec(
    trimmed,
  )
  const name = match?.[1]
  if (name === undefined || !isSettingName(name)) return { kind: 'unreadable' }
  const quoted = match?.[2]
  return {
    kind: 'setting',
    name: name.toLowerCase(),
    value: quoted === undefined ? (match?.[3] ?? '') : quoted.replaceAll("''", "'").replace(/\\(.)/g, '$1'),
  }
}

/** As parse_bool: any unambiguous beginning of true, false, yes, no; on, off (at least "of"); 1, 0. Null: not a boolean. */
export function parseBoolean(text: string): boolean | null {
  const word = text.trim().toLowerCase()
  if (word === '') return null
  if (word === '1' || word === 'on' || 'true'.startsWith(word) || 'yes'.startsWith(word)) return true
  if (word === '0' || word === 'of' || word === 'off' || 'false'.startsWith(word) || 'no'.startsWith(word)) {
    return false
  }
  return null
}

const SIZE_UNITS: ReadonlyMap<string, number> = new Map([
  ['B', 1 / 1024 / 1024],
  ['kB', 1 / 1024],
  ['MB', 1],
  ['GB', 1024],
  ['TB', 1024 * 1024],
])

/** A size whose unit, when none is given, is MB. Null when PostgreSQL would not take it. */
export function parseMegabytes(text: string): number | null {
  const match = /^\s*(-?(?:0[xX][0-9A-Fa-f]+|\d+(?:\.\d*)?))\s*(B|kB|MB|GB|TB)?\s*$/.exec(text)
  const factor = SIZE_UNITS.get(match?.[2] ?? 'MB')
  if (match?.[1] === undefined || factor === undefined) return null
  return Number(match[1]) * factor
}

/** A whole number without a unit. */
export function parseCount(text: string): number | null {
  return /^\s*[+-]?(0[xX][0-9A-Fa-f]+|\d+)\s*$/.test(text) ? Number(text) : null
}
