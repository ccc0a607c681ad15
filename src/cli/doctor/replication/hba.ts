/** pg_hba.conf of somebody else: whether standbys get in, and who else does (manual: 21.1). Pure. */
import { failing, fine, type Judgement, warning } from '../check.ts'
import type { HbaFacts, ReplicationFacts } from './facts.ts'

export function judgeHba({ hba, standbys, replicationRoles }: ReplicationFacts): Judgement {
  if (hba === null) return fine('not to be seen by this role')
  const broken = hba.filter(({ error }) => error !== null)
  if (broken.length > 0)
    return failing(
      broken.map(({ line, error }) => `line ${line}: ${error}`).join('; '),
      'Correct it before anything else: PostgreSQL goes on with the file that it read last, and does not start with this one.',
    )
  const lines = hba.filter(isForReplication).filter(({ type }) => type !== 'local')
  const open = lines.filter(({ method }) => method !== 'reject')
  const hint = `Add a line (all does not mean replication): hostssl replication ${replicationRoles.find((role) => role !== 'postgres') ?? 'ROLE'} STANDBY-ADDRESS/32 scram-sha-256`
  if (open.length === 0)
    return failing('no line lets a standby of another machine in', `${hint}; then SELECT pg_reload_conf();`)
  const outside = standbys.filter(
    ({ address, user }) => address !== null && !open.some((line) => takesUser(line, user)),
  )
  if (outside.length > 0)
    return warning(
      `${outside.map(({ name, user }) => `${name} (as ${user})`).join(', ')} streams, and no line would let it in again`,
      `${hint}; then SELECT pg_reload_conf();`,
    )
  const weak = open.filter(({ method }) => ['trust', 'password', 'md5'].includes(method ?? ''))
  if (weak.length > 0)
    return warning(
      weak
        .map((line) => `line ${line.line} (${line.method}): ${WEAKNESS[line.method ?? ''] ?? ''}`)
        .join('; '),
      'Write hostssl … scram-sha-256 there; the role’s password must have been set under password_encryption = scram-sha-256.',
    )
  const wide = open.filter(isForEverybody)
  if (wide.length > 0)
    return warning(
      `line ${wide.map(({ line }) => line).join(', ')}: whoever knows the password may copy the whole database, from anywhere`,
      'Name the standbys’ addresses instead.',
    )
  return fine(`${open.length === 1 ? 'a line lets' : `${open.length} lines let`} standbys in`)
}

const WEAKNESS: Readonly<Record<string, string>> = {
  trust: 'whoever is there may copy the whole database without a password',
  password: 'the password crosses the network as it is',
  md5: 'what is stored in the database is enough to log in',
}

/** all does not match replication. */
function isForReplication({ databases }: HbaFacts): boolean {
  return databases.includes('replication')
}

function takesUser({ users }: HbaFacts, user: string): boolean {
  // Whether a role is a member of a group, or matches a pattern, is not known here.
  return users.some((each) => each === 'all' || each === user || each.startsWith('+') || each.startsWith('/'))
}

function isForEverybody({ address, netmask }: HbaFacts): boolean {
  if (address === 'all') return true
  return (address === '0.0.0.0' && netmask === '0.0.0.0') || (address === '::' && netmask === '::')
}
