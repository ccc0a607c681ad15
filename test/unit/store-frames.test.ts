import { expect, test } from 'vitest'
import { encodeFrame, type Scan, scanFrames } from '../../src/store/embedded/frames.ts'

const PAYLOADS = [
  '{"s":0,"r":[]}',
  '{"s":1,"r":[["c",2,[["p","L2E=","aGVsbG8="]]]]}',
  `{"s":2,"r":["${'x'.repeat(700)}"]}`,
]
const FRAMES = PAYLOADS.map(encodeFrame)
const ZEROS = Buffer.alloc(2_048)
const LAST_AT = FRAMES.slice(0, -1).reduce((sum, frame) => sum + frame.length, 0)
const END = LAST_AT + (FRAMES.at(-1)?.length ?? 0)
const WHOLE = Buffer.concat([...FRAMES, ZEROS])
const LAST_PAYLOAD_END = LAST_AT + 16 + (PAYLOADS.at(-1)?.length ?? 0)

function payloadsOf(scan: Scan): readonly string[] | string {
  return scan.kind === 'ok' ? scan.payloads : scan.kind
}

function changed(change: (file: Buffer) => void): Buffer {
  const file = Buffer.from(WHOLE)
  change(file)
  return file
}

test('what was written is read back, and zeros are the end', () => {
  expect(scanFrames(WHOLE)).toEqual({ kind: 'ok', payloads: PAYLOADS, tornAt: null })
  expect(scanFrames(Buffer.concat(FRAMES))).toEqual({ kind: 'ok', payloads: PAYLOADS, tornAt: null })
  expect(scanFrames(Buffer.alloc(0))).toEqual({ kind: 'ok', payloads: [], tornAt: null })
  expect(scanFrames(ZEROS)).toEqual({ kind: 'ok', payloads: [], tornAt: null })
})

test('a last record that was written up to any byte is left out', () => {
  for (let cut = LAST_AT + 1; cut < LAST_PAYLOAD_END; cut++) {
    const torn = { kind: 'ok', payloads: PAYLOADS.slice(0, -1), tornAt: LAST_AT }
    expect(scanFrames(changed((file) => file.fill(0, cut)))).toEqual(torn)
    expect(scanFrames(WHOLE.subarray(0, cut))).toEqual(torn)
  }
})

test('a last record of which any sectors are missing is left out', () => {
  const firstSector = Math.floor(LAST_AT / 512)
  for (let sector = firstSector; sector * 512 < LAST_PAYLOAD_END; sector++) {
    const from = Math.max(sector * 512, LAST_AT)
    const scan = scanFrames(changed((file) => file.fill(0, from, Math.min((sector + 1) * 512, END))))
    expect(payloadsOf(scan)).toEqual(PAYLOADS.slice(0, -1))
  }
})

test('a single bit that flipped anywhere in a record is damage, in the last one too: it was acknowledged', () => {
  for (let byte = 0; byte < LAST_PAYLOAD_END; byte++) {
    const inPadding = FRAMES.some((frame, index) => {
      const start = FRAMES.slice(0, index).reduce((sum, each) => sum + each.length, 0)
      return byte >= start + 16 + (PAYLOADS[index]?.length ?? 0) && byte < start + frame.length
    })
    for (let bit = 0; bit < 8; bit++) {
      const scan = scanFrames(changed((file) => file.writeUInt8(file.readUInt8(byte) ^ (1 << bit), byte)))
      expect(payloadsOf(scan), `byte ${byte}, bit ${bit}`).toEqual(inPadding ? PAYLOADS : 'damaged')
    }
  }
})

test('a record that is missing before a whole one is damage, however it is missing', () => {
  const at = FRAMES[0]?.length ?? 0
  for (const file of [
    changed((bytes) => bytes.fill(0, at, LAST_AT)),
    changed((bytes) => bytes.fill(0, at + 16, LAST_AT)),
    changed((bytes) => bytes.fill(0xff, at, LAST_AT)),
    changed((bytes) => bytes.fill(0, 0, 1)),
  ]) {
    expect(scanFrames(file)).toMatchObject({ kind: 'damaged' })
  }
})
