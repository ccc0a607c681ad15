/** What follows from a changed configuration: secrets and certificates where they are missing, and a bundle for each node. */
import type { ResolvedConfig } from '../../config/load.ts'
import { type BundleFormat, writeBundle } from './bundle.ts'
import { ensureCertificates, ensureSecrets, type HomeLayout } from './home.ts'
import { etcdNodes } from './plan.ts'

export interface WrittenBundle {
  readonly node: string
  readonly file: string
}

export interface PublishOptions {
  readonly layout: HomeLayout
  readonly config: ResolvedConfig
  readonly format: BundleFormat
  /** Who shall own a bundle's files when root unpacks it. */
  readonly owner: string
}

export interface Published {
  readonly bundles: readonly WrittenBundle[]
  /** Nodes that got a certificate. */
  readonly issued: readonly string[]
}

export const DEFAULT_OWNER = 'postgres'

export async function publish({ layout, config, format, owner }: PublishOptions): Promise<Published> {
  // A directory that an older version made has fewer of them.
  await ensureSecrets(layout)
  const issued = await ensureCertificates(layout, config)
  const etcd = etcdNodes(config.store, layout.authority.certificate, config.nodes)
  const createdAt = new Date()
  const bundles: WrittenBundle[] = []
  for (const node of config.nodes)
    bundles.push({
      node: node.name,
      file: await writeBundle({ layout, config, node, etcd, createdAt, format, owner }),
    })
  return { bundles, issued }
}
