/**
 * The ONE schema of understudy.yaml: parsing, defaults, JSON Schema for editors, the reference and the comments of a new file come from
 * it. A section of its own is a file in `sections/` and a line here. Two numbers are what a person sets, `rto` and `durability`; every
 * other timer follows from them (core/timers.ts).
 */
import { z } from 'zod'
import { documented, duration, NODE_NAME } from './fields.ts'
import { nodesSection } from './sections/nodes.ts'
import { applicationSection, postgresSection } from './sections/postgres.ts'
import { proxySection } from './sections/proxy.ts'
import { storeSection } from './sections/store.ts'

export const configSchema = z.strictObject({
  cluster: documented(
    z.string().regex(NODE_NAME, 'a cluster name is written like a node name').default('main'),
    {
      description:
        'The cluster’s name in the store: a lower-case letter, then at most 30 of a–z, 0–9, `-`, `_`.',
      takesEffect: 'fixed',
    },
  ),
  durability: documented(z.enum(['quorum', 'async']).default('quorum'), {
    description:
      '`quorum`: a commit is acknowledged when enough standbys have it on disk, and survives the loss of any single node. `async`: at once; what no standby has yet can be lost.',
    takesEffect: 'agent',
  }),
  rto: documented(duration('500ms', '10m').prefault('3s'), {
    description:
      'How soon the primary’s silence counts as death, 500 ms to 10 min. Every other timer follows from it: `understudy config explain`.',
    takesEffect: 'agent',
  }),
  whenStandbyLost: documented(z.enum(['relax', 'block']).default('relax'), {
    description:
      '`relax`: a standby that is lost for max(10 s, 3 × `rto`) need not acknowledge any more. `block`: it never leaves the rule, and commits wait for it if they must.',
    takesEffect: 'agent',
  }),
  store: storeSection,
  postgres: postgresSection,
  application: applicationSection,
  proxy: proxySection,
  api: documented(
    z
      .strictObject({
        tls: documented(z.enum(['auto', 'on', 'off']).default('auto'), {
          description:
            'Whether the agents’ API speaks TLS, with the nodes’ own certificates. `auto`: unless every node is on this machine (127.0.0.1, ::1, localhost).',
          takesEffect: 'agent',
        }),
      })
      .prefault({}),
    { description: 'The agents’ HTTP API.' },
  ),
  secretsDirectory: documented(z.string().min(1).default('secrets'), {
    description:
      'Passwords and tokens, one file each, mode 0600: `superuser`, `replication`, `agent`, `proxy`, `application`, `api-token`. Relative to this file.',
    takesEffect: 'agent',
  }),
  tlsDirectory: documented(z.string().min(1).default('tls'), {
    description:
      '`ca.crt`, `NODE.crt` and `NODE.key` per node; `proxy.crt` and `proxy.key` for the proxy of a local cluster. Relative to this file.',
    takesEffect: 'agent',
  }),
  nodes: nodesSection,
})

export type ClusterConfig = z.infer<typeof configSchema>
export type NodeConfig = ClusterConfig['nodes'][string]
