/**
 * etcd on the nodes themselves, set up by the same bundles: its configuration, with TLS and client certificates of the cluster's own
 * authority. Consensus stays etcd's; what is here are the lines that a person would otherwise write three times. Pure.
 */
import { stringify } from 'yaml'
import { hostInUri } from '../../config/fields.ts'

export const ETCD_CLIENT_PORT = 2379
export const ETCD_PEER_PORT = 2380

export interface EtcdMember {
  readonly name: string
  readonly host: string
  /** Where it listens; '*' is every address. */
  readonly listen: readonly string[]
}

export interface EtcdOptions {
  readonly cluster: string
  readonly member: EtcdMember
  readonly members: readonly EtcdMember[]
  readonly dataDirectory: string
}

/** Of a member, on its machine. */
export function etcdDirectory(cluster: string): string {
  return `/var/lib/understudy/${cluster}/etcd`
}

export function clientUrl(host: string): string {
  return `https://${hostInUri(host)}:${ETCD_CLIENT_PORT}`
}

function peerUrl(host: string): string {
  return `https://${hostInUri(host)}:${ETCD_PEER_PORT}`
}

/** etcd's file (etcd 3.4: "Configuration file"). Paths are relative to the bundle's directory, where its unit starts it. */
export function etcdConfiguration({ cluster, member, members, dataDirectory }: EtcdOptions): string {
  const tls = {
    'cert-file': `tls/${member.name}.crt`,
    'key-file': `tls/${member.name}.key`,
    'client-cert-auth': true,
    'trusted-ca-file': 'tls/ca.crt',
  }
  const listen = (port: number): string =>
    member.listen
      .map((address) => `https://${address === '*' ? '[::]' : hostInUri(address)}:${port}`)
      .join(',')
  const settings = {
    name: member.name,
    'data-dir': dataDirectory,
    'listen-client-urls': listen(ETCD_CLIENT_PORT),
    'advertise-client-urls': clientUrl(member.host),
    'listen-peer-urls': listen(ETCD_PEER_PORT),
    'initial-advertise-peer-urls': peerUrl(member.host),
    'initial-cluster': members.map(({ name, host }) => `${name}=${peerUrl(host)}`).join(','),
    'initial-cluster-token': `understudy-${cluster}`,
    'initial-cluster-state': 'new',
    // Off in a configuration file unless it is set, whatever the flag's default is.
    'enable-grpc-gateway': true,
    // A network of milliseconds: when the member through which etcd writes dies together with the primary, the election waits for this.
    'heartbeat-interval': 50,
    'election-timeout': 500,
    // Every change of a document is a revision: without this the store would grow for ever.
    'auto-compaction-mode': 'periodic',
    'auto-compaction-retention': '1h',
    'client-transport-security': tls,
    'peer-transport-security': tls,
    logger: 'zap',
    'log-level': 'warn',
  }
  return `# etcd on ${member.name}, written by \`understudy init\`. Only who has a certificate of the cluster's authority is let in.\n${stringify(settings)}`
}
