/** A node's bundle: everything that one machine needs, and nothing that belongs to another one or to the authority. */
import { existsSync } from 'node:fs'
import { mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { gzipSync } from 'node:zlib'
import type { ResolvedConfig, ResolvedNode } from '../../config/load.ts'
import { fsyncDirectory } from '../../postgres/durable.ts'
import { type TarFile, tarArchive } from '../../protocol/tar-writer.ts'
import { fileError } from '../local/prepare.ts'
import { SECRET_NAMES } from '../secret-names.ts'
import { type EtcdMember, etcdConfiguration, etcdDirectory } from './etcd.ts'
import type { HomeLayout } from './home.ts'
import { BUNDLE_NAME, type BundleMark } from './placement.ts'

export type BundleFormat = 'tar' | 'directory'

export interface BundleContents {
  readonly layout: HomeLayout
  readonly config: ResolvedConfig
  readonly node: ResolvedNode
  /** Members of the etcd that these bundles set up; empty when the store is somebody else's. */
  readonly etcd: readonly EtcdMember[]
  readonly createdAt: Date
  /** Only to see what would be other: a secret that is still to be made is stood in for. */
  readonly planned?: boolean
}

export interface BundleOptions extends BundleContents {
  readonly format: BundleFormat
  /** Who shall own the files when root unpacks them. */
  readonly owner: string
}

/** Returns where it lies. Errors: no-permission, no-space. */
export async function writeBundle(options: BundleOptions): Promise<string> {
  const { layout, node, format, owner, createdAt } = options
  const files = await bundleFiles(options)
  try {
    if (format === 'directory') return await writeDirectory(path.join(layout.bundles, node.name), files)
    const modifiedAtS = Math.floor(createdAt.getTime() / 1000)
    const archive = gzipSync(tarArchive(files, { user: owner, group: owner }, modifiedAtS))
    const file = path.join(layout.bundles, `${node.name}.tar.gz`)
    await writeFile(`${file}.new`, archive, { mode: 0o600, flush: true })
    await rename(`${file}.new`, file)
    await fsyncDirectory(layout.bundles)
    return file
  } catch (error) {
    throw fileError(error, layout.bundles)
  }
}

/** Beside the old one, then in its place: a copy that is under way takes files of one of the two only. */
async function writeDirectory(target: string, files: readonly TarFile[]): Promise<string> {
  const beside = `${target}.new`
  await rm(beside, { recursive: true, force: true })
  await mkdir(beside, { recursive: true, mode: 0o700 })
  for (const { path: name, content, mode } of files) {
    if (name.endsWith('/')) await mkdir(path.join(beside, name), { recursive: true, mode })
    else {
      const handle = await open(path.join(beside, name), 'wx', mode)
      await handle.writeFile(content)
      await handle.sync()
      await handle.close()
    }
  }
  await rm(target, { recursive: true, force: true })
  await rename(beside, target)
  await fsyncDirectory(path.dirname(target))
  return target
}

/** Every file of one, directories before what is in them. */
export async function bundleFiles(options: BundleContents): Promise<readonly TarFile[]> {
  const { layout, config, node, etcd, createdAt, planned = false } = options
  const mark: BundleMark = {
    version: 1,
    cluster: config.cluster,
    node: node.name,
    createdAt: createdAt.toISOString(),
  }
  const pair = layout.nodeKeyPair(node.name)
  const own = etcd.find(({ name }) => name === node.name)
  return [
    await copy('understudy.yaml', layout.configFile),
    text(BUNDLE_NAME, `${JSON.stringify(mark, null, 2)}\n`),
    directory('tls/'),
    await copy('tls/ca.crt', layout.authority.certificate),
    await copy(`tls/${node.name}.crt`, pair.certificate),
    await copy(`tls/${node.name}.key`, pair.key),
    directory('secrets/'),
    ...(await Promise.all(
      SECRET_NAMES.map((name) => secret(name, path.join(layout.secrets, name), planned)),
    )),
    directory('store/'),
    ...(await storeFiles(options)),
    ...(own === undefined ? [] : [text('store/etcd.yaml', etcdOf(config, own, etcd))]),
  ]
}

function etcdOf(config: ResolvedConfig, member: EtcdMember, members: readonly EtcdMember[]): string {
  const { cluster } = config
  return etcdConfiguration({ cluster, member, members, dataDirectory: etcdDirectory(cluster) })
}

/** What understudy.yaml names for the store; on nodes with an etcd of ours, a node's own certificate is what lets it in. */
async function storeFiles({ layout, config, node, etcd }: BundleContents): Promise<readonly TarFile[]> {
  const { caFile, certFile, keyFile, passwordFile, tokenFile } = config.store
  if (etcd.length > 0) {
    const pair = layout.nodeKeyPair(node.name)
    return [await copy('store/client.crt', pair.certificate), await copy('store/client.key', pair.key)]
  }
  const named = [caFile, certFile, keyFile, passwordFile, tokenFile].filter((file) => file !== null)
  const inside = named.filter((file) => file.startsWith(`${layout.store}${path.sep}`))
  return Promise.all(inside.map((file) => copy(path.relative(layout.directory, file), file)))
}

function directory(name: string): TarFile {
  return { path: name, content: Buffer.alloc(0), mode: 0o700 }
}

function text(name: string, content: string): TarFile {
  return { path: name, content: Buffer.from(content), mode: 0o600 }
}

async function secret(name: string, from: string, planned: boolean): Promise<TarFile> {
  const file = `secrets/${name}`
  return planned && !existsSync(from) ? text(file, 'to be made\n') : copy(file, from)
}

async function copy(name: string, from: string): Promise<TarFile> {
  return { path: name, content: await readFile(from), mode: 0o600 }
}
