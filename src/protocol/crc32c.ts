/**
 * CRC-32C (Castagnoli), the default checksum of backup manifests and the one inside WAL and pg_control. Sixteen table
 * look-ups per sixteen bytes ("slicing"), which V8 turns into plain loads: there is no CRC instruction in JavaScript.
 */
const POLYNOMIAL = 0x82f63b78
const SLICES = 16
const STAGE_BYTES = 32 * 1024

function buildTables(): Int32Array {
  const tables = new Int32Array(SLICES * 256)
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1
    tables[byte] = crc
  }
  for (let byte = 0; byte < 256; byte++) {
    for (let slice = 1; slice < SLICES; slice++) {
      const before = tables[(slice - 1) * 256 + byte] ?? 0
      tables[slice * 256 + byte] = (before >>> 8) ^ (tables[before & 0xff] ?? 0)
    }
  }
  return tables
}

const TABLES = buildTables()
// Input begins at any address and words can only be read at multiples of four: it is copied here first, which costs little.
const STAGE = Buffer.from(new ArrayBuffer(STAGE_BYTES))
const WORDS = new Int32Array(STAGE.buffer)

export class Crc32c {
  #crc = -1

  update(data: Buffer): void {
    let crc = this.#crc
    for (let offset = 0; offset < data.length; offset += STAGE_BYTES) {
      const bytes = data.copy(STAGE, 0, offset, Math.min(data.length, offset + STAGE_BYTES))
      const words = (bytes >>> 4) << 2
      crc = updateWords(crc, WORDS, words, TABLES)
      for (let i = words * 4; i < bytes; i++) {
        crc = (crc >>> 8) ^ (TABLES[(crc ^ (STAGE[i] ?? 0)) & 0xff] ?? 0)
      }
    }
    this.#crc = crc
  }

  /** As an unsigned number. */
  value(): number {
    return ~this.#crc >>> 0
  }

  /** Hex of the four bytes in memory order, as manifests have it on little-endian machines: 0x2247748a is "8a744722". */
  digest(): string {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32LE(this.value(), 0)
    return bytes.toString('hex')
  }
}

/** `count` is a multiple of four. */
function updateWords(start: number, words: Int32Array, count: number, tables: Int32Array): number {
  let crc = start
  for (let i = 0; i < count; i += 4) {
    const a = at(words, i) ^ crc
    const b = at(words, i + 1)
    const c = at(words, i + 2)
    const d = at(words, i + 3)
    crc =
      at(tables, 3840 + (a & 0xff)) ^
      at(tables, 3584 + ((a >>> 8) & 0xff)) ^
      at(tables, 3328 + ((a >>> 16) & 0xff)) ^
      at(tables, 3072 + (a >>> 24)) ^
      at(tables, 2816 + (b & 0xff)) ^
      at(tables, 2560 + ((b >>> 8) & 0xff)) ^
      at(tables, 2304 + ((b >>> 16) & 0xff)) ^
      at(tables, 2048 + (b >>> 24)) ^
      at(tables, 1792 + (c & 0xff)) ^
      at(tables, 1536 + ((c >>> 8) & 0xff)) ^
      at(tables, 1280 + ((c >>> 16) & 0xff)) ^
      at(tables, 1024 + (c >>> 24)) ^
      at(tables, 768 + (d & 0xff)) ^
      at(tables, 512 + ((d >>> 8) & 0xff)) ^
      at(tables, 256 + ((d >>> 16) & 0xff)) ^
      at(tables, d >>> 24)
  }
  return crc
}

/** An index that is known to be inside; a check here would be paid for every byte. */
function at(array: Int32Array, index: number): number {
  return array[index] as number
}
