/** Where things lie in a local cluster's directory, and how its parts are started. */
import path from 'node:path'
import type { ResolvedConfig } from '../../config/load.ts'
import type { Part } from './processes.ts'

export const NODE_NAMES: readonly string[] = ['alpha', 'bravo', 'charlie', 'delta', 'echo', 'foxtrot', 'golf']

export interface Ports {
  readonly store: number
  postgres(index: number): number
  agent(index: number): number
  readonly proxy: Readonly<Record<'auto' | 'readWrite' | 'readOnly', number>>
}

/** From the base P: P+1… PostgreSQL, P+51… agents, P+91 the store; P+32 to P+34 are the proxy's. */
export function portsFrom(base: number): Ports {
  return {
    store: base + 91,
    postgres: (index) => base + 1 + index,
    agent: (index) => base + 51 + index,
    proxy: { auto: base + 32, readWrite: base + 33, readOnly: base + 34 },
  }
}

export function logFile(directory: string, part: string): string {
  return path.join(directory, 'logs', `${part}.log`)
}

export function supervisorPart(directory: string): Part {
  return { name: 'supervisor', kind: 'supervisor', args: ['supervise', '--data', directory] }
}

/** In the order in which they are started; stopped in the reverse one. */
export function partsOf(directory: string, configFile: string, config: ResolvedConfig): readonly Part[] {
  const store: Part = {
    name: 'store',
    kind: 'store',
    args: [
      'store',
      '--directory',
      path.join(directory, 'store'),
      '--port',
      String(storePort(config)),
      '--token-file',
      config.store.tokenFile ?? path.join(config.secrets.directory, 'store-token'),
    ],
  }
  return [
    store,
    ...config.nodes.map(
      (node): Part => ({
        name: node.name,
        kind: 'agent',
        args: ['agent', '--config', configFile, '--node', node.name],
      }),
    ),
    ...(config.proxy === null ? [] : [proxyPart(configFile)]),
  ]
}

function proxyPart(configFile: string): Part {
  return { name: 'proxy', kind: 'proxy', args: ['proxy', '--config', configFile] }
}

function storePort(config: ResolvedConfig): number {
  return Number(new URL(config.store.endpoints[0] ?? 'http://127.0.0.1:5591').port)
}
