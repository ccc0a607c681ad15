/** The checksums of a backup manifest, computed while the bytes pass by. */
import { createHash } from 'node:crypto'
import { Crc32c } from '../protocol/crc32c.ts'

export type ManifestChecksums = 'SHA256' | 'CRC32C'

export interface Checksum {
  update(slice: Buffer): void
  /** Lower-case hex as the manifest has it. */
  digest(): string
}

export function newChecksum(algorithm: ManifestChecksums): Checksum {
  if (algorithm === 'CRC32C') return new Crc32c()
  const hash = createHash('sha256')
  return {
    update: (slice) => {
      hash.update(slice)
    },
    digest: () => hash.digest('hex'),
  }
}
