/** The checksums of a backup manifest, computed while the bytes pass by. */
import { createHash } from 'node:crypto'
import { Crc32c, type Crc32cMemory } from '../protocol/crc32c.ts'

export type ManifestChecksums = 'SHA256' | 'CRC32C'

export interface Checksum {
  update(slice: Buffer): void
  /** Lower-case hex as the manifest has it. */
  digest(): string
}

/** Slices that lie in `memory` need not be copied for a CRC32C. */
export function newChecksum(algorithm: ManifestChecksums, memory: Crc32cMemory): Checksum {
  if (algorithm === 'CRC32C') return new Crc32c(memory)
  const hash = createHash('sha256')
  return {
    update: (slice) => {
      hash.update(slice)
    },
    digest: () => hash.digest('hex'),
  }
}
