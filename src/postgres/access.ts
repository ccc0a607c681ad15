/**
 * Keeps a running server's access up to date: who may connect (pg_hba.conf), and the certificate that it shows. Both change without any
 * change of roles: a host name comes to mean another address, a member comes, a certificate is renewed. A reload is enough for each
 * (manual: 19.9, 21.1).
 */
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Outcome } from '../ports/postgres.ts'
import type { TlsPaths } from './configuration-input.ts'
import { readTextIfPresent, writeFileAtomic, writeFileIfDifferent } from './durable.ts'
import { type HbaMember, renderHba, takenHbaLines } from './hba.ts'
import { type NodeLayout, REPLICATION_ROLE } from './layout.ts'
import { fileFailure, ok } from './outcome.ts'
import { readSecret, renewPassfile } from './secrets.ts'

export interface AccessOptions {
  readonly layout: NodeLayout
  readonly tls: TlsPaths
  readonly members: () => readonly HbaMember[]
  readonly extraHba: readonly string[]
  readonly reload: () => Promise<Outcome>
  /** What a standby's passfiles have, too. */
  readonly replicationPassword: string
}

/** password: of the passfiles, which a walreceiver reads by itself at its next connection. */
export type AccessChange = 'hba' | 'certificate' | 'password'

export class AccessUpdater {
  readonly #options: AccessOptions
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
      const told = await readTextIfPresent(this.#toldFile)
      if (told !== null && fingerprint !== told) changes.add('certificate')
      if (changes.size > 0) {
        this.#owed = [...changes]
        const reloaded = await reload()
        // One that does not run reads its files when it starts.
        if (reloaded.kind === 'failed' && reloaded.code !== 'connect-failed') return reloaded
        this.#owed = []
      }
      if (fingerprint !== told) await writeFileAtomic(this.#toldFile, fingerprint, { durable: false })
      if (await this.#renewPassfiles()) changes.add('password')
      return ok([...changes])
    } catch (error) {
      return fileFailure(error, layout.confDir)
    }
  }

  #writeHba(file: string): Promise<boolean> {
    const { members, extraHba } = this.#options
    return writeFileIfDifferent(file, renderHba(members(), takenHbaLines(extraHba)), { durable: false })
  }

  /** Of the certificate that the server was last told to read: also the next agent knows whether it has another one. */
  get #toldFile(): string {
    return join(this.#options.layout.confDir, 'certificate.sha256')
  }

  async #renewPassfiles(): Promise<boolean> {
    const directory = join(dirname(this.#options.layout.confDir), 'secrets')
    const password = await readSecret(this.#options.replicationPassword)
    if (password.kind === 'failed') return false
    const files = (await readdir(directory).catch(() => [])).filter((name) => name.endsWith('.passfile'))
    const renewed = await Promise.all(
      files.map((name) => renewPassfile(join(directory, name), REPLICATION_ROLE, password.value)),
    )
    return renewed.includes(true)
  }

  async #readFingerprint(): Promise<string> {
    const hash = createHash('sha256')
    const { certificate, key, ca } = this.#options.tls
    for (const file of [certificate, key, ca]) hash.update(await readFile(file)).update('\0')
    return hash.digest('hex')
  }
}
