/**
 * Keeps a running server's access up to date: who may connect (pg_hba.conf), and the certificate that it shows. Both change without any
 * change of roles: a host name comes to mean another address, a member comes, a certificate is renewed. A reload is enough for each
 * (manual: 19.9, 21.1).
 */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Outcome } from '../ports/postgres.ts'
import type { TlsPaths } from './configuration-input.ts'
import { readTextIfPresent, writeFileIfDifferent } from './durable.ts'
import { type HbaMember, renderHba, takenHbaLines } from './hba.ts'
import type { NodeLayout } from './layout.ts'
import { fileFailure, ok } from './outcome.ts'

export interface AccessOptions {
  readonly layout: NodeLayout
  readonly tls: TlsPaths
  readonly members: () => readonly HbaMember[]
  readonly extraHba: readonly string[]
  readonly reload: () => Promise<Outcome>
}

export type AccessChange = 'hba' | 'certificate'

export class AccessUpdater {
  readonly #options: AccessOptions
  /** Of the files that the server has been told to read; null: not known, as after a restart of the agent. */
  #fingerprint: string | null = null
  /** A reload that failed is tried again, whether anything has changed since or not. */
  #owed: readonly AccessChange[] = []

  constructor(options: AccessOptions) {
    this.#options = options
  }

  /** What changed and was told to the server; nothing while there is no server that was configured. */
  async look(): Promise<Outcome<readonly AccessChange[]>> {
    const { layout, reload } = this.#options
    try {
      const file = join(layout.confDir, 'pg_hba.conf')
      if ((await readTextIfPresent(file)) === null) return ok([])
      const changes = new Set(this.#owed)
      if (await this.#writeHba(file)) changes.add('hba')
      const fingerprint = await this.#readFingerprint()
      if (this.#fingerprint !== null && fingerprint !== this.#fingerprint) changes.add('certificate')
      this.#fingerprint = fingerprint
      if (changes.size === 0) return ok([])
      this.#owed = [...changes]
      const reloaded = await reload()
      // One that does not run reads its files when it starts.
      if (reloaded.kind === 'failed' && reloaded.code !== 'connect-failed') return reloaded
      this.#owed = []
      return ok([...changes])
    } catch (error) {
      return fileFailure(error, layout.confDir)
    }
  }

  #writeHba(file: string): Promise<boolean> {
    const { members, extraHba } = this.#options
    return writeFileIfDifferent(file, renderHba(members(), takenHbaLines(extraHba)), { durable: false })
  }

  async #readFingerprint(): Promise<string> {
    const hash = createHash('sha256')
    const { certificate, key, ca } = this.#options.tls
    for (const file of [certificate, key, ca]) hash.update(await readFile(file)).update('\0')
    return hash.digest('hex')
  }
}
