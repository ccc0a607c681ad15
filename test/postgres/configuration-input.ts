/** What a node's configuration is rendered from, for tests that only look at text. */
import type { ConfigurationInput } from '../../src/postgres/configuration-input.ts'
import { nodeLayout } from '../../src/postgres/layout.ts'

export function configurationInput(more: Partial<ConfigurationInput> = {}): ConfigurationInput {
  return {
    node: 'alpha',
    major: 15,
    port: 5501,
    listenAddresses: ['127.0.0.1'],
    socketDirectory: '/run/us',
    layout: nodeLayout('/srv/alpha'),
    tls: { certificate: '/srv/tls/alpha.crt', key: '/srv/tls/alpha.key', ca: '/srv/tls/ca.crt' },
    members: [
      { name: 'alpha', host: '127.0.0.1' },
      { name: 'bravo', host: '127.0.0.1' },
    ],
    parameters: {},
    extraHba: [],
    rtoMs: 3_000,
    diskBytes: 100 * 1024 ** 3,
    ...more,
  }
}
