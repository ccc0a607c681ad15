/** The keys of `proxy:` with their values: what differs between two of them, and what the console shows. Pure. */
import { formatBytes, formatDuration, parseBytes, parseDuration } from '../config/fields.ts'
import { configKeys, type KeyInfo, printPath } from '../config/keys.ts'
import type { ProxyConfig } from '../config/sections/proxy.ts'
import type { ConfigRow } from '../proxy/console/context.ts'

/** `effect`: only keys whose change counts so. null: there is no proxy. */
export function differences(
  before: ProxyConfig | null,
  after: ProxyConfig | null,
  effect: 'reload' | 'proxy',
): readonly string[] {
  return proxyKeys()
    .filter(({ takesEffect }) => takesEffect === effect)
    .filter(({ path }) => JSON.stringify(valueAt(before, path)) !== JSON.stringify(valueAt(after, path)))
    .map(({ path }) => printPath(path))
}

/** What needs a restart is as it was at the start, whatever the file says by now. */
export function configRows(started: ProxyConfig | null, now: ProxyConfig | null): readonly ConfigRow[] {
  return proxyKeys().map((key) => ({
    key: printPath(key.path),
    value: written(key, valueAt(key.takesEffect === 'reload' ? now : started, key.path)),
    default: key.default === undefined ? '' : text(key.default),
    changeable: key.takesEffect === 'reload',
  }))
}

/** Without sections, which have no value of their own. */
function proxyKeys(): readonly KeyInfo[] {
  return configKeys().filter(({ path, takesEffect }) => path[0] === 'proxy' && takesEffect !== null)
}

function valueAt(config: ProxyConfig | null, path: readonly string[]): unknown {
  return path
    .slice(1)
    .reduce<unknown>((value, name) => (value as Readonly<Record<string, unknown>> | null)?.[name], config)
}

/** As a person would write it: parsed durations and sizes are numbers. */
function written(key: KeyInfo, value: unknown): string {
  if (value === undefined) return ''
  if (typeof value === 'number' && typeof key.default === 'string') {
    if (parseDuration(key.default) !== null) return formatDuration(value)
    if (parseBytes(key.default) !== null) return formatBytes(value)
  }
  return text(value)
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}
