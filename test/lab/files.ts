/**
 * The files of a lab: secrets and certificates as `understudy up` makes them, and a configuration for each node, because each may know the
 * others by other addresses. One more, clients.yaml, is for `understudy --config` by hand.
 */

import { chownSync, lchownSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { stringify } from 'yaml'
import { demand } from '../../src/cli/local/prepare.ts'
import { LOCAL_SECRET_NAMES } from '../../src/cli/secret-names.ts'
import { ensureAuthority, ensureCertificate } from '../../src/postgres/certificates.ts'
import { ensureSecret } from '../../src/postgres/secrets.ts'
import { CLIENTS, type Network, type Place } from './network.ts'

/** The proxy's own configuration; it is where the clients are. */
export const PROXY: Place = 'proxy'

export interface LabSettings {
  readonly nodes: readonly string[]
  readonly durability: 'quorum' | 'async'
  readonly rtoMs: number
  readonly whenStandbyLost: 'relax' | 'block'
  /** As postgres.binaries of the configuration has it: a directory, or a major version. */
  readonly binaries: string
  readonly candidatePriority: Readonly<Record<string, number>>
  readonly parameters: Readonly<Record<string, string | number | boolean>>
  readonly port: number
  readonly apiPort: number
  /** Places of the store's members and their port; `token`: it asks for one. */
  readonly store: { readonly members: readonly Place[]; readonly port: number; readonly token: boolean }
  /** Of a proxy where the clients are; null: there is none. */
  readonly proxyPort: number | null
}

export interface LabFiles {
  readonly directory: string
  /** Also for CLIENTS, and PROXY where there is one. */
  configFile(of: Place): string
  nodeDirectory(node: string): string
  secretFile(name: string): string
  readonly caFile: string
}

export function labFiles(directory: string): LabFiles {
  return {
    directory,
    configFile: (of) => path.join(directory, `${of}.yaml`),
    nodeDirectory: (node) => path.join(directory, 'nodes', node),
    secretFile: (name) => path.join(directory, 'secrets', name),
    caFile: path.join(directory, 'tls', 'ca.crt'),
  }
}

/** Node directories exist already: they may be disks of their own. */
export async function writeFiles(files: LabFiles, settings: LabSettings, network: Network): Promise<void> {
  const { directory } = files
  for (const each of ['secrets', 'tls', 'logs', 'store', 'clocks'])
    mkdirSync(path.join(directory, each), { recursive: true, mode: 0o700 })
  for (const each of LOCAL_SECRET_NAMES) demand(await ensureSecret(files.secretFile(each)))
  await writeCertificates(files, settings, network)
  for (const place of [...settings.nodes, CLIENTS])
    writeFileSync(files.configFile(place), configurationSeenBy(place, files, settings, network), {
      mode: 0o600,
    })
  if (settings.proxyPort !== null)
    writeFileSync(
      files.configFile(PROXY),
      configurationOfProxy(settings.proxyPort, files, settings, network),
      {
        mode: 0o600,
      },
    )
}

/** It is not at the nodes: without their directories it finds no sockets of theirs, and meets them in the network that can be cut. */
function configurationOfProxy(
  port: number,
  files: LabFiles,
  settings: LabSettings,
  network: Network,
): string {
  const elsewhere = {
    ...files,
    nodeDirectory: (node: string) => path.join(files.directory, 'elsewhere', node),
  }
  return `${configurationSeenBy(CLIENTS, elsewhere, settings, network)}proxy: { host: 127.0.0.1, ports: { readWrite: ${port} } }\n`
}

async function writeCertificates(files: LabFiles, settings: LabSettings, network: Network): Promise<void> {
  const tls = path.dirname(files.caFile)
  const authority = { certificate: files.caFile, key: path.join(tls, 'ca.key') }
  demand(await ensureAuthority(authority, 'lab'))
  if (settings.proxyPort !== null)
    demand(
      await ensureCertificate({
        ...{ authority, node: 'proxy', hosts: ['127.0.0.1'] },
        target: { certificate: path.join(tls, 'proxy.crt'), key: path.join(tls, 'proxy.key') },
      }),
    )
  await Promise.all(
    settings.nodes.map(async (node) =>
      demand(
        await ensureCertificate({
          authority,
          node,
          hosts: [...new Set([...settings.nodes, CLIENTS].map((from) => network.addressOf(from, node)))],
          target: { certificate: path.join(tls, `${node}.crt`), key: path.join(tls, `${node}.key`) },
        }),
      ),
    ),
  )
}

function configurationSeenBy(place: Place, files: LabFiles, settings: LabSettings, network: Network): string {
  const { store } = settings
  return stringify({
    cluster: 'lab',
    durability: settings.durability,
    rto: `${settings.rtoMs}ms`,
    whenStandbyLost: settings.whenStandbyLost,
    store: {
      endpoints: store.members.map((member) => `http://${network.addressOf(place, member)}:${store.port}`),
      ...(store.token ? { tokenFile: files.secretFile('store-token') } : {}),
    },
    postgres: { binaries: settings.binaries, parameters: settings.parameters },
    nodes: Object.fromEntries(
      settings.nodes.map((node) => [
        node,
        {
          host: network.addressOf(place, node),
          port: settings.port,
          apiPort: settings.apiPort,
          directory: files.nodeDirectory(node),
          candidatePriority: settings.candidatePriority[node] ?? 100,
        },
      ]),
    ),
  })
}

/** Everything below, links themselves and not what they lead to. */
export function giveTo(user: { readonly uid: number; readonly gid: number }, directory: string): void {
  chownSync(directory, user.uid, user.gid)
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true }))
    lchownSync(path.join(entry.parentPath, entry.name), user.uid, user.gid)
}
