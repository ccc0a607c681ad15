/** Why a server cannot be taken over as it is, each with a code, a sentence and a hint; and what a person should know beside it. Pure. */
import { ERRORS, type ErrorCode } from '../../errors/codes.ts'
import { LEAST_WALSENDERS, NEEDED_WALSENDERS, slotWalKeepMb } from '../../postgres/sizing.ts'
import type { ServerLook } from './facts.ts'
import type { MachineLook } from './machine.ts'
import type { TranslatedLines } from './translate.ts'

export interface Refusal {
  readonly code: ErrorCode
  readonly message: string
  readonly hint: string
}

export interface Judged {
  readonly refusals: readonly Refusal[]
  readonly warnings: readonly string[]
}

export interface ToJudge {
  readonly server: ServerLook
  readonly machine: MachineLook
  readonly hba: TranslatedLines
  readonly ident: TranslatedLines
  /** Who looks: 0 is root. */
  readonly uid: number
  /** --owner, when it was given. */
  readonly owner: string | undefined
  readonly endArchiving: boolean
}

const OLDEST = 15
const NEWEST = 18

export function judge(seen: ToJudge): Judged {
  return {
    refusals: [...ofServer(seen), ...ofReplication(seen), ...ofFiles(seen), ...ofMachine(seen)],
    warnings: warningsOf(seen),
  }
}

/** Left out: the hint of the code. */
export function refusal(code: ErrorCode, message: string, hint: string = ERRORS[code].hint): Refusal {
  return { code, message, hint }
}

function* ofServer({ server }: ToJudge): Generator<Refusal> {
  if (server.major < OLDEST || server.major > NEWEST)
    yield refusal(
      'unsupported-version',
      `it is PostgreSQL ${server.version}, and ${OLDEST} to ${NEWEST} are supported`,
      `Bring it to a supported version first (Debian: pg_upgradecluster ${server.major} NAME).`,
    )
  if (server.inRecovery)
    yield refusal(
      'not-primary',
      'it is a standby: a cluster is begun with its primary',
      'Name the primary, on its own machine; its standbys follow with `understudy add` and `understudy join`.',
    )
  if (server.tablespaces.length > 0)
    yield refusal('tablespaces', `it has tablespaces: ${server.tablespaces.join(', ')}`)
  if (!server.hasAgentDatabase)
    yield refusal(
      'refused',
      'there is no database postgres that can be connected to, from which the agents look',
      'Make it: CREATE DATABASE postgres (or ALLOW_CONNECTIONS true).',
    )
  for (const role of server.ownRoles) yield refusal('role-exists', `there is a role ${role} already`)
}

function* ofReplication({ server, machine, endArchiving }: ToJudge): Generator<Refusal> {
  const setting = (name: string): string => server.settings.get(name) ?? ''
  const names = setting('synchronous_standby_names')
  if (names !== '')
    yield refusal(
      'sync-names-set',
      `commits wait for ${names} (synchronous_standby_names): taken over they would wait for nobody at first`,
    )
  if (Number(setting('max_wal_senders')) < LEAST_WALSENDERS && server.standbys.length > 0)
    yield refusal(
      'refused',
      `its max_wal_senders would be raised, and the replay of ${server.standbys.map(({ name }) => name).join(', ')} would pause`,
      `Set max_wal_senders = ${NEEDED_WALSENDERS} on the standbys first, and restart them.`,
    )
  const archives = setting('archive_command') !== '' || setting('archive_library') !== ''
  if (setting('archive_mode') !== 'off' && archives && !endArchiving)
    yield refusal(
      'archive-set',
      'it archives its WAL (archive_mode): point-in-time recovery would end unnoticed',
    )
  const keepBytes = keepMbOf(server, machine) * 1024 * 1024
  for (const { name, heldBytes } of server.slots)
    if (heldBytes > keepBytes)
      yield refusal(
        'slot-behind',
        `the slot ${name} holds ${megabytes(heldBytes)} of WAL, more than the ${megabytes(keepBytes)} that would be kept: it would be lost`,
      )
}

/** A value of the server's own stays; else it follows from the disk. */
function keepMbOf(server: ServerLook, machine: MachineLook): number {
  const own = server.fileSettings.find(({ name }) => name === 'max_slot_wal_keep_size')
  return own === undefined || own.value === '-1' ? slotWalKeepMb(machine.diskBytes) : Number.POSITIVE_INFINITY
}

function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1024 / 1024)} MB`
}

function* ofFiles({ server, machine, hba, ident }: ToJudge): Generator<Refusal> {
  const mend =
    'Mend the files so that the server reads them without a complaint (pg_file_settings, pg_hba_file_rules), and look again.'
  if (server.fileErrors.length > 0)
    yield refusal('config-invalid', `its configuration has errors: ${server.fileErrors.join('; ')}`, mend)
  if (server.hbaErrors.length > 0)
    yield refusal('config-invalid', `its pg_hba.conf has errors: ${server.hbaErrors.join('; ')}`, mend)
  for (const problem of [...hba.problems, ...ident.problems])
    yield refusal(
      'config-invalid',
      `a line of pg_hba.conf or pg_ident.conf cannot be kept: ${problem}`,
      'Write the line out, without what it includes, and look again.',
    )
  if (machine.postmaster !== null && machine.readOnly !== null)
    yield refusal('config-read-only', `the old service could not be kept from starting: ${machine.readOnly}`)
}

function* ofMachine({ machine, uid, owner }: ToJudge): Generator<Refusal> {
  if (machine.notLocal !== null) {
    yield refusal('not-local', `that server does not run on this machine: ${machine.notLocal}`)
    return
  }
  if (machine.isOurs) yield refusal('already-managed', 'it was started by understudy')
  if (machine.managers.length > 0)
    yield refusal('managed-elsewhere', `${machine.managers.join(' and ')} runs on this machine`)
  if (machine.owner === null || machine.ownerUid === 0)
    yield refusal(
      'wrong-owner',
      `${machine.dataDirectory} belongs to user ${machine.ownerUid}, as whom no agent can run`,
    )
  else if (uid !== 0 && uid !== machine.ownerUid)
    yield refusal(
      'wrong-owner',
      `${machine.dataDirectory} belongs to ${machine.owner.name}, and you are neither that nor root`,
    )
  else if (owner !== undefined && owner !== machine.owner.name)
    yield refusal(
      'wrong-owner',
      `${machine.dataDirectory} belongs to ${machine.owner.name}, and --owner says ${owner}`,
      'Leave --owner out: the agent runs as the owner of the data.',
    )
}

function warningsOf({ server, machine, endArchiving }: ToJudge): readonly string[] {
  const setting = (name: string): string => server.settings.get(name) ?? ''
  const found: string[] = []
  if (setting('data_checksums') !== 'on')
    found.push(
      'It has no data checksums: damage of the disk stays unseen. wal_log_hints, which the restart sets, does for pg_rewind; checksums are made by pg_checksums on a stopped server.',
    )
  for (const { name, type, active } of server.slots)
    found.push(
      `The slot ${name} (${type}, ${active ? 'in use' : 'not in use'}) is not understudy’s: it stays as it is, and after a failover it is not on the new primary.`,
    )
  for (const { name, user, address } of server.standbys)
    found.push(
      `${name} (${user} from ${address ?? 'this machine'}) streams from it and goes on after the restart, by its own line of pg_hba.conf; it is no node of the cluster until it is taken over.`,
    )
  if (setting('archive_mode') !== 'off' && endArchiving)
    found.push('Its archiving ends with the restart: point-in-time recovery reaches no further than that.')
  if (server.pendingRestart.length > 0)
    found.push(
      `These settings were changed before and count from the restart on: ${server.pendingRestart.join(', ')}.`,
    )
  const libraries = setting('shared_preload_libraries')
  if (libraries !== '')
    found.push(
      `Every node needs the packages of shared_preload_libraries (${libraries}), or it does not start.`,
    )
  if (setting('ssl') === 'on')
    found.push(
      'It shows another certificate afterwards, of the cluster’s own authority: clients that verify it (sslmode verify-ca, verify-full) need ca.crt of the bundle.',
    )
  if (machine.environment.length > 0)
    found.push(`Variables of Debian’s \`environment\` file are not kept: ${machine.environment.join(', ')}.`)
  if (machine.traces.length > 0)
    found.push(
      `${machine.traces.join(', ')} in the data directory is left by another manager: make sure that its service is disabled.`,
    )
  if (socketsOf(server).length > 1)
    found.push(`Of its socket directories the first is kept: ${socketsOf(server).join(', ')}.`)
  if (machine.manager.kind === 'plain')
    found.push(
      'It is none of Debian’s packaged clusters: whatever starts it at boot must be disabled by you; its postgresql.conf is moved aside, so that a start by that fails.',
    )
  return found
}

export function socketsOf(server: ServerLook): readonly string[] {
  return (server.settings.get('unix_socket_directories') ?? '')
    .split(',')
    .map((word) => word.trim().replace(/^"(.*)"$/, '$1'))
    .filter((word) => word !== '')
}
