/** What a node's configuration is made of. */
import type { HbaMember } from './hba.ts'
import type { NodeLayout } from './layout.ts'
import type { UserParameters } from './setting-text.ts'

/** Files in PEM form; the key with mode 0600. */
export interface TlsPaths {
  readonly certificate: string
  readonly key: string
  /** The certificate of the cluster's authority. */
  readonly ca: string
}

export interface ConfigurationInput {
  readonly node: string
  readonly major: number
  readonly port: number
  readonly listenAddresses: readonly string[]
  readonly socketDirectory: string
  readonly layout: NodeLayout
  readonly tls: TlsPaths
  readonly members: readonly HbaMember[]
  readonly parameters: UserParameters
  readonly extraHba: readonly string[]
  readonly rtoMs: number
  /** Size of the file system that holds the data. */
  readonly diskBytes: number
}
