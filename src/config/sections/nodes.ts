/** The nodes: where each is reached, where it listens, where its files lie. */

import { isIP } from 'node:net'
import { z } from 'zod'
import { documented, host, isAddressOrNetwork, isUnspecified, nodeName, port } from '../fields.ts'

export const DEFAULT_PORT = 5432
export const DEFAULT_API_PORT = 8008

const listenAddress = z
  .string()
  .refine(
    (text) => text === '*' || isIP(text) !== 0 || isUnspecified(text),
    'it is an address of that machine, or *',
  )
const sourceAddress = z.string().refine(isAddressOrNetwork, 'it is an address, or a network like 10.0.0.0/24')

const node = z.strictObject({
  host: documented(host, {
    description:
      'The name or address under which the other nodes and the clients reach it. IPv6 addresses stand without brackets.',
    takesEffect: 'agent',
    example: '10.0.0.1',
  }),
  port: documented(port.default(DEFAULT_PORT), {
    description: 'The port of PostgreSQL.',
    takesEffect: 'postgres',
  }),
  apiPort: documented(port.default(DEFAULT_API_PORT), {
    description: 'The port of the agent’s HTTP API.',
    takesEffect: 'agent',
  }),
  directory: documented(z.string().min(1).optional(), {
    description:
      'Where the node’s data, configuration, logs and state go, on its own machine. Left out: `/var/lib/understudy/CLUSTER/NODE`.',
    takesEffect: 'fixed',
    example: '/var/lib/understudy/main/alpha',
  }),
  socketDirectory: documented(z.string().min(1).optional(), {
    description:
      'Where its unix socket goes; the socket’s whole path ends at 107 bytes. Left out: `run` in `directory`.',
    takesEffect: 'postgres',
    example: '/run/understudy',
  }),
  listen: documented(z.array(listenAddress).min(1).optional(), {
    description:
      'The addresses of that machine on which PostgreSQL and the agent listen, or `*`. Left out: `host` when that is an address, every address when it is a name, because a name may come to mean another one.',
    takesEffect: 'postgres',
    example: ['10.0.0.1', '127.0.0.1'],
  }),
  sourceAddresses: documented(z.array(sourceAddress).default([]), {
    description:
      'Further addresses or networks from which its connections come, where those are not what `host` means: behind a gateway, or with several networks. They are let in like `host` itself.',
    takesEffect: 'agent',
    example: ['10.1.0.0/24'],
  }),
  candidatePriority: documented(z.number().int().min(0).max(1000).default(100), {
    description:
      'Decides between nodes that are equally far at an election, the higher first. 0: it votes and is never elected.',
    takesEffect: 'agent',
  }),
})

export const nodesSection = documented(
  z.record(nodeName, node).refine((nodes) => Object.keys(nodes).length > 0, 'at least one node is needed'),
  {
    description:
      'One entry per node. A name is a lower-case letter, then at most 30 of a–z, 0–9, `-`, `_`. The first is preferred at bootstrap.',
    takesEffect: 'agent',
  },
)
