/**
 * Whether a node's files are where they are meant to be, looked at before anything of it runs: the bundle of another node would make one
 * machine speak with another's name.
 */
import { lookup } from 'node:dns/promises'
import { readFile } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import path from 'node:path'
import { isLoopback } from '../../config/fields.ts'
import type { ResolvedConfig, ResolvedNode } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { certificateState } from '../../postgres/certificate-state.ts'
import { readSecret } from '../../postgres/secrets.ts'
import { demand } from '../local/prepare.ts'

export const BUNDLE_NAME = 'bundle.json'

/** Beside understudy.yaml in a bundle: for whom it was made. */
export interface BundleMark {
  readonly version: 1
  readonly cluster: string
  readonly node: string
  readonly createdAt: string
}

/** null: the file lies in no bundle. Errors: wrong-bundle when the mark cannot be read. */
export async function readBundleMark(configFile: string): Promise<BundleMark | null> {
  const file = path.join(path.dirname(configFile), BUNDLE_NAME)
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw new UnderstudyError('no-permission', `cannot read ${file}`)
  }
  const mark = parseMark(text)
  if (mark === null) throw new UnderstudyError('wrong-bundle', `${file} does not say for which node it is`)
  return mark
}

export function parseMark(text: string): BundleMark | null {
  try {
    const value = JSON.parse(text) as Partial<BundleMark> | null
    return typeof value?.cluster === 'string' && typeof value.node === 'string' ? (value as BundleMark) : null
  } catch {
    return null
  }
}

/** Which node a command means on this machine: the one that was named, else the bundle's. Errors: usage, wrong-bundle. */
export function nodeMeant(mark: BundleMark | null, named: string | undefined): string {
  if (named !== undefined) return named
  if (mark !== null) return mark.node
  throw new UnderstudyError('usage', 'which node is meant?', {
    hint: 'Say --node NAME; it may be left out beside the bundle.json of a bundle.',
  })
}

/** Errors: wrong-bundle, wrong-host, no-permission, tls-failed. */
export async function checkPlacement(
  config: ResolvedConfig,
  node: ResolvedNode,
  mark: BundleMark | null,
  /** Beside the node's own: others that its certificate must carry. */
  hosts: readonly string[] = [],
): Promise<void> {
  await checkHost(node)
  // A local cluster's files are made by `up`, and what is wrong with them is told where it starts PostgreSQL.
  if (mark === null) return
  if (mark.node !== node.name || mark.cluster !== config.cluster)
    throw new UnderstudyError(
      'wrong-bundle',
      `this is the bundle of ${mark.node} of the cluster ${mark.cluster}, not of ${node.name} of ${config.cluster}`,
    )
  for (const file of [
    config.secrets.replicationPassword,
    config.secrets.agentPassword,
    config.secrets.apiToken,
  ])
    demand(await readSecret(file))
  await checkCertificate(config, node, hosts)
}

async function checkCertificate(
  config: ResolvedConfig,
  node: ResolvedNode,
  hosts: readonly string[],
): Promise<void> {
  const file = config.tls.certFile(node.name)
  const state = demand(
    await certificateState(file, {
      key: config.tls.keyFile(node.name),
      authority: config.tls.caFile,
      hosts: [node.host, ...hosts],
    }),
  )
  if (state.kind === 'absent') throw new UnderstudyError('tls-failed', `the certificate ${file} is missing`)
  if (state.kind === 'mismatch')
    throw new UnderstudyError('tls-failed', `${file} cannot be used: ${state.reason}`)
  if (state.kind === 'wrongNames')
    throw new UnderstudyError(
      'wrong-bundle',
      `${file} is not for ${state.missing.join(', ')}, where ${node.name} is reached`,
    )
}

/** An address that is not there is found when the agent listens; a name is listened for everywhere, so it is asked here. */
async function checkHost({ name, host, nameIsLocal }: ResolvedNode): Promise<void> {
  if (!nameIsLocal) return
  // A name that cannot be looked up right now proves nothing.
  const found = await lookup(host, { all: true }).catch(() => [])
  if (found.length === 0 || found.some(({ address }) => isLocal(address))) return
  const addresses = found.map(({ address }) => address).join(', ')
  throw new UnderstudyError(
    'wrong-host',
    `${host}, the host of ${name}, is ${addresses}, which is no address of this machine`,
  )
}

function isLocal(address: string): boolean {
  if (isLoopback(address)) return true
  const own = Object.values(networkInterfaces()).flatMap((each) => each?.map((one) => one.address) ?? [])
  return own.includes(address)
}
