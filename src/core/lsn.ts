/**
 * A WAL position: a byte offset as bigint, printed as PostgreSQL prints it. Always compared as a number: text compares wrongly
 * ("0/9000000" > "0/10000000"), and the printed form is not padded (manual: pg_lsn type).
 */
export type Lsn = bigint & { readonly __lsn: unique symbol }

export const ZERO_LSN = 0n as Lsn

/** Reads "16/B374D848". Returns null for anything else: input from outside is not trusted to be well formed. */
export function parseLsn(text: string): Lsn | null {
  const match = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/.exec(text)
  if (match?.[1] === undefined || match[2] === undefined) return null
  return ((BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`)) as Lsn
}

export function formatLsn(lsn: Lsn): string {
  return `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffffffffn).toString(16).toUpperCase()}`
}

export function lsnOf(value: bigint): Lsn {
  return value as Lsn
}

export function maxLsn(a: Lsn, b: Lsn): Lsn {
  return a > b ? a : b
}

export function minLsn(a: Lsn, b: Lsn): Lsn {
  return a < b ? a : b
}

/** Bytes from `from` to `to`, never negative; a number is exact up to 2^53 bytes, which no lag reaches. */
export function lagBytes(from: Lsn, to: Lsn): number {
  return to > from ? Number(to - from) : 0
}
