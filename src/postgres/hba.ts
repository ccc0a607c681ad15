/** pg_hba.conf: who may connect from where (manual: 21.1). The first line that matches decides, so the order is the policy. PURE. */
import { isIP } from 'node:net'
import { AGENT_DATABASE, AGENT_ROLE, PROXY_ROLE, REPLICATION_ROLE } from './layout.ts'

export interface HbaMember {
  readonly name: string
  readonly host: string
  /** Addresses and networks from which it connects; left out: `host`. */
  readonly addresses?: readonly string[]
}

/** Clients are let in by the user's own lines alone. */
export interface OwnAccess {
  /** Of the cluster's own: it comes from the members and from nowhere else. */
  readonly superuser: string
}

export function renderHba(
  members: readonly HbaMember[],
  extra: readonly string[],
  own: OwnAccess | null = null,
): string {
  return `# Written by understudy at every change of the members: edits here are lost.\n${renderHbaRules(members, extra, own)}`
}

/** The policy alone, without what is said about the file. */
export function renderHbaRules(
  members: readonly HbaMember[],
  extra: readonly string[],
  own: OwnAccess | null = null,
): string {
  const ours = [
    ...[REPLICATION_ROLE, AGENT_ROLE, PROXY_ROLE],
    ...(own === null ? [] : [quoteRole(own.superuser)]),
  ].join(',')
  const lines = (database: string, role: string): string => {
    const seen = new Set<string>()
    return members
      .flatMap(({ host, addresses = [host] }) =>
        addresses.map((each) => ({ host, address: hbaAddress(each) })),
      )
      .filter(({ address }) => !seen.has(address) && seen.add(address))
      .map(({ host, address }) => {
        const named = isIP(host) === 0 && address !== host ? `  # ${host}` : ''
        return `hostssl   ${database}  ${role}  ${address}  scram-sha-256${named}`
      })
      .join('\n')
  }
  return `# PostgreSQL takes the FIRST line that matches; who matches none is refused. So the order below is the policy.

${own === null ? SOCKET : socketOf(ours)}

# Replication: exactly the members of this cluster, over TLS. Host addresses only, so that no neighbour in the network can copy
# the whole cluster even if it knew the password. (Better addresses than names: a name costs every connection a look-up at the DNS.)
${lines('replication', REPLICATION_ROLE)}

# The agents of the members look at each other's server.
${lines(`${AGENT_DATABASE}   `, `${AGENT_ROLE}      `)}
${own === null ? '' : `\n# pg_rewind and \`understudy rotate\` log in so.\n${lines('all        ', quoteRole(own.superuser))}\n`}
# Proxies look up how a role logs in; they may stand anywhere.
hostssl   ${AGENT_DATABASE}     ${PROXY_ROLE}       all  scram-sha-256

# From anywhere else, or without TLS, these roles cannot log in at all, whatever follows.
host      replication  ${REPLICATION_ROLE}  all  reject
host      all          ${ours}  all  reject
${own === null ? `\n${CLIENTS}\n` : ''}
${own === null ? ADDED : ALONE}
${extra.length === 0 ? '# (none)' : extra.join('\n')}
`
}

const SOCKET = `# Over the socket, on this machine: everybody with a password.
local     all          all                    scram-sha-256`

/** Roles that were there before may come in as other users of the machine (peer): only what is ours is said here. */
function socketOf(ours: string): string {
  return `# Over the socket, on this machine: what is understudy's own. Whoever else comes that way finds a line of his own below.
local     all          ${ours}  scram-sha-256
local     replication  ${ours}  scram-sha-256`
}

const CLIENTS = `# Clients: with TLS from anywhere; without it only from this machine, where nobody can listen in between.
hostssl   all          all                    all  scram-sha-256
host      all          all                    127.0.0.1/32  scram-sha-256
host      all          all                    ::1/128  scram-sha-256`

const ADDED =
  "# Lines of the user's own (configuration: postgres.hba). They come last, so they can only add to what is allowed above."
const ALONE =
  "# Lines of the user's own (configuration: postgres.hba, with clientAccess own): they alone let clients in."

/** A plain name needs no quotes; in quotes it is never taken for a keyword. */
function quoteRole(name: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(name) && name !== 'all' ? name : `"${name.replaceAll('"', '""')}"`
}

/** A host name stands as it is: PostgreSQL then resolves it at each connection, both ways. */
export function hbaAddress(host: string): string {
  switch (isIP(host)) {
    case 4:
      return `${host}/32`
    case 6:
      return `${host}/128`
    default:
      return host
  }
}

const TYPES = ['local', 'host', 'hostssl', 'hostnossl', 'hostgssenc', 'hostnogssenc']
const METHODS = [
  'trust',
  'reject',
  'scram-sha-256',
  'md5',
  'password',
  'gss',
  'sspi',
  'ident',
  'peer',
  'ldap',
  'radius',
  'cert',
  'pam',
  'bsd',
]

/**
 * Why a user's line cannot be taken, or null. A line that PostgreSQL cannot read keeps the server from starting (and a reload from
 * having any effect), so what is plainly wrong is refused here.
 */
export function hbaLineProblem(line: string): string | null {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\x00-\x08\x0a-\x1f\x7f]/.test(line)) return 'it has a line break or another control character'
  if (line.endsWith('\\')) return 'a backslash at its end would join it with the next line'
  const fields = line.match(/"[^"]*"|[^\s"]+/g) ?? []
  const type = fields[0] ?? ''
  if (type === '' || type.startsWith('#')) return 'it is empty or a comment'
  if (type.startsWith('@') || type.startsWith('include')) return 'other files cannot be included'
  if (!TYPES.includes(type)) return `it must begin with one of ${TYPES.join(', ')}`
  if ((line.match(/"/g) ?? []).length % 2 !== 0) return 'it has a quote without its partner'
  if (fields.slice(1, 3).some((field) => field.startsWith('@'))) return 'other files cannot be included'
  const address = fields[3] ?? ''
  if (type !== 'local' && !isHbaAddress(address))
    return `${JSON.stringify(address)} is no address that PostgreSQL can read`
  const rest = fields.slice(type === 'local' ? 3 : 4)
  if (!rest.slice(0, 2).some((field) => METHODS.includes(field))) {
    return `it names no authentication method (${METHODS.join(', ')})`
  }
  return null
}

/** Those of a user's lines that PostgreSQL can read. */
export function takenHbaLines(extra: readonly string[]): readonly string[] {
  return extra.filter((line) => hbaLineProblem(line) === null)
}

/** all, samehost, samenet, an address (its mask may follow as a field of its own), address/bits, or a name, also ".example.com". */
function isHbaAddress(field: string): boolean {
  const [address = '', bits, ...more] = field.split('/')
  const family = isIP(address)
  if (bits === undefined) return family !== 0 || /^\.?[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?$/.test(field)
  return (
    family !== 0 && more.length === 0 && /^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128)
  )
}
