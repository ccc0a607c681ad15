/** What follows from a changed configuration: secrets and certificates where they are missing, and a bundle for each node. */
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import type { ResolvedConfig } from '../../config/load.ts'
import { type BundleFormat, writeBundle } from './bundle.ts'
import { ensureCertificates, ensureSecrets, type HomeLayout, writePrivately } from './home.ts'
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
  await keepOwnWay(layout, etcd[0]?.name)
  const createdAt = new Date()
  const bundles: WrittenBundle[] = []
  for (const node of config.nodes)
    bundles.push({
      node: node.name,
      file: await writeBundle({ layout, config, node, etcd, createdAt, format, owner }),
    })
  return { bundles, issued }
}

/** An etcd of the cluster's own lets in whoever has a certificate of its authority: what is run from this directory comes in as a node does. */
async function keepOwnWay(layout: HomeLayout, member: string | undefined): Promise<void> {
  if (member === undefined) return
  const pair = layout.nodeKeyPair(member)
  await writePrivately(path.join(layout.store, 'client.crt'), await readFile(pair.certificate, 'utf8'))
  await writePrivately(path.join(layout.store, 'client.key'), await readFile(pair.key, 'utf8'))
}
