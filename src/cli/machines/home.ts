/**
 * The operator's directory of a configured cluster: understudy.yaml, the secrets, every certificate, the authority's key, and the bundles
 * that were made of them. Every file is made once and kept, so that whatever is interrupted is completed by doing it again.
 */
import { mkdir, readdir } from 'node:fs/promises'
import path from 'node:path'
import { parseConfig, type ResolvedConfig, type ResolvedNode, resolveConfig } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { ensureAuthority, ensureCertificate, type KeyPairPaths } from '../../postgres/certificates.ts'
import { readTextIfPresent, writeFileAtomic } from '../../postgres/durable.ts'
import { ensureSecret } from '../../postgres/secrets.ts'
import { JOURNAL_NAME } from '../existing/names.ts'
import { demand, fileError } from '../local/prepare.ts'
import { SECRET_NAMES } from '../secret-names.ts'

export interface HomeLayout {
  readonly directory: string
  readonly configFile: string
  readonly schemaFile: string
  /** What the files of a cluster trust; its key is the one thing that no bundle has. */
  readonly authority: KeyPairPaths
  readonly secrets: string
  readonly store: string
  readonly bundles: string
  nodeKeyPair(node: string): KeyPairPaths
}

export function homeLayout(directory: string): HomeLayout {
  const tls = path.join(directory, 'tls')
  return {
    directory,
    configFile: path.join(directory, 'understudy.yaml'),
    schemaFile: path.join(directory, 'understudy.schema.json'),
    authority: {
      certificate: path.join(tls, 'ca.crt'),
      key: path.join(directory, 'authority', 'ca.key'),
    },
    secrets: path.join(directory, 'secrets'),
    store: path.join(directory, 'store'),
    bundles: path.join(directory, 'bundles'),
    nodeKeyPair: (node) => ({
      certificate: path.join(tls, `${node}.crt`),
      key: path.join(tls, `${node}.key`),
    }),
  }
}

const OURS = new Set([
  'understudy.yaml',
  'understudy.schema.json',
  'authority',
  'secrets',
  'tls',
  'store',
  'bundles',
  JOURNAL_NAME,
])

/** A directory with other things in it stays as it is. Errors: foreign-data, no-permission. */
export async function refuseForeignHome(directory: string): Promise<void> {
  const entries = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    throw fileError(error, directory)
  })
  const others = entries.filter((entry) => !OURS.has(entry) && !entry.startsWith('.'))
  if (others.length > 0)
    throw new UnderstudyError(
      'foreign-data',
      `${directory} holds something else (${others.slice(0, 3).join(', ')})`,
      { hint: 'Name another directory with --dir: nothing in this one was touched.' },
    )
}

export interface Home {
  readonly layout: HomeLayout
  readonly text: string
  readonly config: ResolvedConfig
}

/** Where `init` has written. Left out: the directory that `init` makes when it is not told one. Errors: not-found, config-invalid. */
export async function openHome(directory = 'understudy-main'): Promise<Home> {
  const layout = homeLayout(path.resolve(directory))
  const text = await readTextIfPresent(layout.configFile)
  if (text === null)
    throw new UnderstudyError('not-found', `there is no ${layout.configFile}`, {
      hint: 'Name the directory in which `understudy init` has written: --dir DIR.',
    })
  return { layout, text, config: resolveConfig(parseConfig(text, layout.configFile), layout.configFile) }
}

export async function makeHomeDirectories({ directory }: HomeLayout): Promise<void> {
  try {
    for (const each of ['', 'authority', 'secrets', 'tls', 'store', 'bundles'])
      await mkdir(path.join(directory, each), { recursive: true, mode: 0o700 })
  } catch (error) {
    throw fileError(error, directory)
  }
}

export async function ensureSecrets({ secrets }: HomeLayout): Promise<void> {
  for (const name of SECRET_NAMES) demand(await ensureSecret(path.join(secrets, name)))
}

/** Where others reach the node, and its proxy. */
export function certificateHosts(
  { proxy }: Pick<ResolvedConfig, 'proxy'>,
  { name, host }: Pick<ResolvedNode, 'name' | 'host'>,
): readonly string[] {
  const proxyHost = proxy?.host
  return [...new Set([host, name, ...(proxyHost === undefined ? [] : [proxyHost])])]
}

/** Certificates that are missing, or that expire soon, are issued. Returns the nodes that got one. */
export async function ensureCertificates(
  { authority, nodeKeyPair }: HomeLayout,
  config: Pick<ResolvedConfig, 'cluster' | 'nodes' | 'proxy'>,
): Promise<readonly string[]> {
  demand(await ensureAuthority(authority, config.cluster))
  const issued: string[] = []
  for (const node of config.nodes) {
    const target = nodeKeyPair(node.name)
    const hosts = certificateHosts(config, node)
    const outcome = demand(await ensureCertificate({ authority, node: node.name, hosts, target }))
    if (outcome.issued) issued.push(node.name)
  }
  return issued
}

/** What a person gave is copied once; another copy is refused, because the nodes have the first one. */
export async function keepCopy(file: string, content: string): Promise<void> {
  const known = await readTextIfPresent(file)
  if (known === content) return
  if (known !== null)
    throw new UnderstudyError('flags-differ', `${file} holds something else than what was given now`)
  await writePrivately(file, content)
}

export async function writePrivately(file: string, content: string): Promise<void> {
  try {
    await writeFileAtomic(file, content, { durable: true })
  } catch (error) {
    throw fileError(error, file)
  }
}
