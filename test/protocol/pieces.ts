/** Cuts bytes into pieces at random places: a codec must not care how its input was split. */
import fc from 'fast-check'

/** Cut positions as fractions, so that they shrink independently of the input's length; equal ones make empty pieces. */
export const cuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 12 })

export function pieces(bytes: Buffer, at: readonly number[]): readonly Buffer[] {
  const positions = [0, ...at.map((fraction) => Math.floor(fraction * bytes.length)).sort((a, b) => a - b)]
  return positions.map((from, i) => bytes.subarray(from, positions[i + 1] ?? bytes.length))
}

export function oneByOne(bytes: Buffer): readonly Buffer[] {
  return Array.from(bytes, (_, i) => bytes.subarray(i, i + 1))
}

/** Bytes that look different everywhere, so that a slice in the wrong place is seen. */
export function pattern(length: number, seed = 0): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => (i * 131 + (i >> 8) * 17 + seed) & 0xff))
}
