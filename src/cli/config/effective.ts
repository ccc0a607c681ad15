/** The configuration as it is in effect: what was written, and the defaults of what was not, each with where it comes from. Pure. */
import { parse } from 'yaml'
import { ANY_NAME, configKeys, type KeyInfo, printPath } from '../../config/keys.ts'
import type { ResolvedConfig } from '../../config/load.ts'

export interface EffectiveKey {
  /** "nodes.alpha.port". */
  readonly key: string
  readonly path: readonly string[]
  readonly value: unknown
  /** The line of the file; null: the default. */
  readonly line: number | null
  readonly about: KeyInfo
}

/** `text` has been read without errors. */
export function effectiveKeys(
  text: string,
  config: ResolvedConfig,
  lineOf: (path: readonly string[]) => number,
): readonly EffectiveKey[] {
  const written = parse(text) as Readonly<Record<string, unknown>>
  const leaves = configKeys().filter(({ type, path }) => type !== 'section' && !isNames(path))
  const common = leaves
    .filter(({ path }) => !path.includes(ANY_NAME))
    .map((about) => ({ about, path: about.path }))
  const named = config.nodes.flatMap(({ name }) =>
    leaves
      .filter(({ path }) => path.includes(ANY_NAME))
      .map((about) => ({ about, path: about.path.map((part) => (part === ANY_NAME ? name : part)) })),
  )
  return [...common, ...named].flatMap(({ about, path }) => {
    const own = valueAt(written, path)
    const given = own !== undefined && own !== null
    const value = given ? own : (derived(path, config) ?? about.default)
    if (value === undefined) return []
    return [{ key: printPath(path), path, value, line: given ? lineOf(path) : null, about }]
  })
}

function isNames(path: readonly string[]): boolean {
  return configKeys().some(
    (key) => key.path.length > path.length && key.path[path.length] === ANY_NAME && key.path[0] === path[0],
  )
}

function valueAt(whole: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (value, key) => (value as Record<string, unknown> | undefined | null)?.[key],
    whole,
  )
}

/** What follows from other keys. */
function derived(path: readonly string[], config: ResolvedConfig): unknown {
  const [section, name, key] = path
  const node = section === 'nodes' ? config.nodes.find((each) => each.name === name) : undefined
  if (node === undefined) return undefined
  return { directory: node.directory, socketDirectory: node.socketDirectory, listen: node.listen }[key ?? '']
}

/** As one object, nested as in the file. */
export function nested(keys: readonly EffectiveKey[]): Record<string, unknown> {
  const root: Record<string, unknown> = {}
  for (const { path, value } of keys) {
    let at = root
    for (const part of path.slice(0, -1)) {
      at[part] ??= {}
      at = at[part] as Record<string, unknown>
    }
    at[path.at(-1) ?? ''] = value
  }
  return root
}
