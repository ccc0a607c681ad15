/**
 * What the sections of the schema are built from. Each key carries its own documentation (`documented`), from which the reference, the
 * JSON Schema for editors, the comments of a new understudy.yaml and `understudy config explain` are made: a key is described once.
 */
import { isIP, isIPv6 } from 'node:net'
import { z } from 'zod'

/** When a changed value counts; `reload`: within seconds, in a proxy that runs; `fixed`: only for a new cluster. */
export type TakesEffect = 'agent' | 'postgres' | 'proxy' | 'reload' | 'fixed'

export interface KeyMeta {
  /** Whole sentences; Markdown's `code` only. */
  readonly description: string
  readonly takesEffect?: TakesEffect
  /** For a key without default: what a value looks like. */
  readonly example?: unknown
}

/** Must be the last call on a schema: zod keeps it with the very object that it is called on. */
export function documented<T extends z.ZodType>(
  schema: T,
  { description, takesEffect, example }: KeyMeta,
): T {
  return schema.meta({
    description,
    ...(takesEffect !== undefined && { [TAKES_EFFECT]: takesEffect }),
    ...(example !== undefined && { [EXAMPLE]: example }),
  })
}

/** In the JSON Schema; editors ignore keywords that they do not know. (zod drops its own `examples` where a value is converted.) */
export const TAKES_EFFECT = 'x-takes-effect'
export const EXAMPLE = 'x-example'

/** Ends in a slot name and an application_name, so: PostgreSQL's slot characters, short, no look-alikes by case. */
export const NODE_NAME = /^[a-z][a-z0-9_-]{0,30}$/

export const nodeName = z
  .string()
  .regex(NODE_NAME, 'a node name is lower-case letters, digits, - and _, at most 31, beginning with a letter')

export const port = z.number().int().min(1).max(65_535)

const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/

/** "3s", "500ms", "2m" -> milliseconds. */
export function parseDuration(text: string): number | null {
  const match = DURATION.exec(text.trim())
  if (match?.[1] === undefined || match[2] === undefined) return null
  const unit = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }[match[2]] ?? 1
  return Math.round(Number(match[1]) * unit)
}

/** The shortest way to write it that means the same. */
export function formatDuration(ms: number): string {
  for (const [unit, size] of [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['m', 60_000],
    ['s', 1_000],
  ] as const)
    if (ms >= size && ms % size === 0) return `${ms / size}${unit}`
  return `${ms}ms`
}

/** Milliseconds after parsing; the bounds are inclusive and written as a person writes durations. */
export function duration(least: string, most: string): z.ZodType<number, string> {
  const [leastMs, mostMs] = [parseDuration(least) ?? 0, parseDuration(most) ?? 0]
  const message = 'a duration is a number and ms, s, m, h or d: 3s'
  return z
    .string({ error: message })
    .regex(DURATION, message)
    .transform((text) => parseDuration(text) ?? 0)
    .refine((ms) => ms >= leastMs && ms <= mostMs, `it must be between ${least} and ${most}`)
}

const BYTES = /^(\d+)(B|kB|MB|GB)$/

/** "64MB", "512kB" -> bytes, in PostgreSQL's units: 1 kB is 1,024 bytes. */
export function parseBytes(text: string): number | null {
  const match = BYTES.exec(text.trim())
  if (match?.[1] === undefined || match[2] === undefined) return null
  return Number(match[1]) * ({ B: 1, kB: 1024, MB: 1024 ** 2, GB: 1024 ** 3 }[match[2]] ?? 1)
}

/** The shortest way to write it that means the same. */
export function formatBytes(bytes: number): string {
  for (const [unit, size] of [
    ['GB', 1024 ** 3],
    ['MB', 1024 ** 2],
    ['kB', 1024],
  ] as const)
    if (bytes >= size && bytes % size === 0) return `${bytes / size}${unit}`
  return `${bytes}B`
}

/** Bytes after parsing; the bounds are inclusive. */
export function byteSize(least: string, most: string): z.ZodType<number, string> {
  const [leastBytes, mostBytes] = [parseBytes(least) ?? 0, parseBytes(most) ?? 0]
  const message = 'a size is a number and B, kB, MB or GB: 64MB'
  return z
    .string({ error: message })
    .regex(BYTES, message)
    .transform((text) => parseBytes(text) ?? 0)
    .refine((bytes) => bytes >= leastBytes && bytes <= mostBytes, `it must be between ${least} and ${most}`)
}

/** A host name (RFC 952, and the underscore that some networks use) or an address; never a URL, a port or a pattern. */
export const host = z.string().superRefine((text, context) => {
  const problem = hostProblem(text)
  if (problem !== null) context.addIssue({ code: 'custom', message: problem })
})

const HOST_NAME =
  /^(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*$/

/** Why others could not reach a node under this name; null when they could. Pure. */
export function hostProblem(text: string): string | null {
  if (text === '') return 'it is empty'
  if (text.startsWith('['))
    return `an IPv6 address is written without brackets here: ${text.replace(/[[\]]/g, '')}`
  if (text.includes('%')) return 'an address with a zone (%eth0) means something on one machine only'
  if (text.includes('/')) return 'it is a name or an address, without a scheme or a path'
  if (isUnspecified(text)) return `${text} means every address of a machine: others cannot reach a node there`
  if (isIP(text) !== 0) return null
  if (/^[^:]+:\d+$/.test(text)) return 'the port goes into a key of its own (port)'
  if (/^[\d.]+$/.test(text)) return 'it is neither a name nor a whole IPv4 address'
  return HOST_NAME.test(text) ? null : 'it is no host name and no address'
}

export function isUnspecified(text: string): boolean {
  return /^(0\.){3}0$/.test(text) || (isIPv6(text) && /^[0:]+$/.test(text))
}

/** Reachable from its own machine only. */
export function isLoopback(text: string): boolean {
  return text === 'localhost' || text === '::1' || (isIP(text) === 4 && text.startsWith('127.'))
}

/** "10.0.0.1", "fd00::/64": what pg_hba.conf takes as an address. */
export function isAddressOrNetwork(text: string): boolean {
  const [address = '', bits, ...more] = text.split('/')
  const family = isIP(address)
  if (family === 0 || more.length > 0) return false
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128))
}

/** As it stands in a URI or before a port: an IPv6 address in brackets. */
export function hostInUri(text: string): string {
  return isIPv6(text) ? `[${text}]` : text
}
