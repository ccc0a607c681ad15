/**
 * What the facts of a primary mean for its replication: one finding for each thing that should be right, each with what mends it. Nothing
 * here knows who set the replication up. Pure.
 */
import { humanBytes, humanDuration, plural } from '../../humanise.ts'
import { type Finding, failing, fine, type Judgement, warning } from '../check.ts'
import type { ReplicationFacts, SlotFacts, StandbyFacts } from './facts.ts'
import { judgeHba } from './hba.ts'
import { matching, parseSyncNames } from './sync-names.ts'

const MB = 1024 * 1024
const GB = 1024 * MB
/** A standby that far behind needs minutes to take over, or has stopped replaying. */
const BEHIND_BYTES = 64 * MB
const BEHIND_MS = 60_000
const MUCH_HELD_BYTES = GB
/** Dead rows of that many transactions are what VACUUM has to leave. */
const OLD_XMIN = 1_000_000
const VERY_OLD_XMIN = 50_000_000
const MUCH_WAITING = 16

export function judgeReplication(facts: ReplicationFacts): readonly Finding[] {
  if (facts.inRecovery) return [found('role', 'role', judgeStandby(facts))]
  return [
    found('role', 'role', fine(`primary, PostgreSQL ${facts.version}`)),
    found('privileges', 'privileges', judgePrivileges(facts)),
    found('wal-level', 'wal_level', judgeWalLevel(facts)),
    found('walsenders', 'walsenders', judgeWalsenders(facts)),
    found('crash-safety', 'crash safety', judgeCrashSafety(facts)),
    found('rewind', 'pg_rewind', judgeRewind(facts)),
    found('hba', 'pg_hba.conf', judgeHba(facts)),
    found('standbys', 'standbys', judgeStandbys(facts)),
    found('slots', 'slots', judgeSlots(facts)),
    found('retention', 'kept WAL', judgeRetention(facts)),
    found('sync-names', 'synchronous', judgeSyncNames(facts)),
    found('feedback', 'bloat', judgeFeedback(facts)),
    found('silence', 'lost standbys', judgeTimeout(facts)),
    found('encryption', 'encryption', judgeEncryption(facts)),
    found('archive', 'archive', judgeArchive(facts)),
  ]
}

function found(id: string, title: string, judgement: Judgement): Finding {
  return { id, title, ...judgement }
}

function setting({ settings }: ReplicationFacts, name: string): string {
  return settings.get(name) ?? ''
}

function judgeStandby({ version, upstream }: ReplicationFacts): Judgement {
  const from = upstream === null ? '' : ` that streams from ${upstream}`
  return failing(
    `it is a standby${from}, PostgreSQL ${version}: replication is looked at on its primary`,
    upstream === null ? 'Name the primary in --url.' : `Name ${upstream} in --url.`,
  )
}

function judgePrivileges({ seesAll, hba, user }: ReplicationFacts): Judgement {
  if (!seesAll)
    return warning(
      `${user} may not see how far the standbys are, nor the archive`,
      `As superuser: GRANT pg_monitor TO "${user}";`,
    )
  if (hba === null)
    return warning(
      `${user} may not see pg_hba.conf`,
      `As superuser: GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO "${user}"; GRANT SELECT ON pg_hba_file_rules TO "${user}";`,
    )
  return fine(`${user} sees everything that is looked at`)
}

function judgeWalLevel(facts: ReplicationFacts): Judgement {
  const level = setting(facts, 'wal_level')
  if (level !== 'minimal') return fine(level)
  return failing(
    'minimal: no standby can be made, and archived WAL restores nothing',
    "ALTER SYSTEM SET wal_level = 'replica'; and restart PostgreSQL.",
  )
}

function judgeWalsenders(facts: ReplicationFacts): Judgement {
  const most = Number(setting(facts, 'max_wal_senders'))
  const used = facts.standbys.length
  const said = `${used} of ${most} in use`
  if (most === 0)
    return failing(
      'max_wal_senders is 0: nobody can stream',
      'ALTER SYSTEM SET max_wal_senders = 10; and restart PostgreSQL.',
    )
  if (most - used >= 2) return fine(said)
  // A standby that was cut off comes back before its old walsender has ended; a base backup takes two.
  return warning(
    `${said}: a standby that comes back, or a base backup, may be refused`,
    `ALTER SYSTEM SET max_wal_senders = ${most + 5}; and restart PostgreSQL (on standbys first).`,
  )
}

function judgeCrashSafety(facts: ReplicationFacts): Judgement {
  const off = ['fsync', 'full_page_writes'].filter((name) => setting(facts, name) === 'off')
  if (off.length === 0) return fine('fsync and full_page_writes are on')
  return failing(
    `${off.join(' and ')} ${off.length === 1 ? 'is' : 'are'} off: after a crash the data may be broken, and the standbys are no copy of it`,
    `${off.map((name) => `ALTER SYSTEM RESET ${name};`).join(' ')} SELECT pg_reload_conf(); then make the standbys anew.`,
  )
}

function judgeRewind(facts: ReplicationFacts): Judgement {
  if (setting(facts, 'data_checksums') === 'on') return fine('possible: data checksums are on')
  if (setting(facts, 'wal_log_hints') === 'on')
    return warning(
      'possible, by wal_log_hints; data checksums are off, so broken pages are copied unseen',
      'Switch them on while it is stopped: pg_checksums --enable, on every node.',
    )
  return warning(
    'not possible: an old primary needs a whole new copy after a failover, and broken pages go unseen',
    'Switch checksums on while it is stopped (pg_checksums --enable, on every node), or wal_log_hints = on.',
  )
}

function judgeStandbys({ standbys, seesAll }: ReplicationFacts): Judgement {
  if (standbys.length === 0)
    return warning(
      'nobody streams from here: what this machine loses is lost',
      'Make a standby: pg_basebackup -h HOST -U ROLE -D DIR -R -X stream -C -S SLOT.',
    )
  const words = standbys.flatMap((standby) => behindWords(standby, seesAll))
  const names = standbys.map(({ name }) => name).join(', ')
  if (words.length === 0)
    return fine(`${plural(standbys.length, 'standby', 'standbys')} up to date: ${names}`)
  return warning(
    words.join('; '),
    'Look at that standby: its log, its disk, the network, and long queries there (max_standby_streaming_delay lets them hold replay back).',
  )
}

function behindWords({ name, state, behindBytes, replayLagMs }: StandbyFacts, seesAll: boolean): string[] {
  if (!seesAll) return []
  if (state !== 'streaming') return [`${name} is not streaming yet (${state})`]
  const far = behindBytes !== null && behindBytes > BEHIND_BYTES
  const late = replayLagMs !== null && replayLagMs > BEHIND_MS
  if (!far && !late) return []
  const ago = replayLagMs === null ? '' : `, ${humanDuration(replayLagMs)}`
  return [`${name} is ${humanBytes(behindBytes ?? 0)}${ago} behind`]
}

function judgeSlots(facts: ReplicationFacts): Judgement {
  const lost = facts.slots.filter(({ walStatus }) => walStatus === 'lost' || walStatus === 'unreserved')
  const idle = facts.slots.filter(({ active, temporary }) => !active && !temporary)
  const most = Number(setting(facts, 'max_replication_slots'))
  if (lost.length > 0)
    return failing(
      `${lost.map(slotWords).join('; ')}: who used it has to be made anew`,
      lost.map(({ name }) => `SELECT pg_drop_replication_slot('${name}');`).join(' '),
    )
  if (idle.length > 0) {
    const held = Math.max(...idle.map(({ heldBytes }) => heldBytes ?? 0))
    const judge = held > MUCH_HELD_BYTES ? failing : warning
    return judge(
      `${plural(idle.length, 'slot')} without consumer: ${idle.map(slotWords).join('; ')}`,
      `Start who uses it again, or, when it does not come back: ${idle.map(({ name }) => `SELECT pg_drop_replication_slot('${name}');`).join(' ')}`,
    )
  }
  if (facts.slots.length >= most && most > 0)
    return warning(
      `all of max_replication_slots = ${most} are in use`,
      `ALTER SYSTEM SET max_replication_slots = ${most + 5}; and restart PostgreSQL.`,
    )
  return fine(facts.slots.length === 0 ? 'none' : `${plural(facts.slots.length, 'slot')}, each in use`)
}

function slotWords({ name, walStatus, heldBytes }: SlotFacts): string {
  if (walStatus === 'lost') return `${name} is lost`
  return `${name} holds ${humanBytes(heldBytes ?? 0)}${walStatus === 'unreserved' ? ' that may go at the next checkpoint' : ''}`
}

/** Two ways to lose: WAL that is kept without bound fills the disk, WAL that is not kept costs a new copy. */
function judgeRetention(facts: ReplicationFacts): Judgement {
  const limit = setting(facts, 'max_slot_wal_keep_size')
  const without = facts.standbys.filter(({ hasSlot }) => !hasSlot)
  const kept = setting(facts, 'wal_keep_size')
  const archives = setting(facts, 'archive_mode') !== 'off'
  if (without.length > 0 && !archives && /^0(MB)?$/.test(kept))
    return warning(
      `${without.map(({ name }) => name).join(', ')} streams without a slot, wal_keep_size is 0, and nothing is archived: after a pause it needs a whole new copy`,
      "Give it a slot (SELECT pg_create_physical_replication_slot('NAME', true); primary_slot_name there), or set wal_keep_size.",
    )
  const physical = facts.slots.some(({ temporary }) => !temporary)
  if (physical && limit === '-1')
    return warning(
      'max_slot_wal_keep_size is -1: a standby that stays away fills this disk, and then the primary stops',
      "ALTER SYSTEM SET max_slot_wal_keep_size = '10GB'; (what the disk can spare) SELECT pg_reload_conf();",
    )
  return fine(physical ? `at most ${limit} for slots` : `wal_keep_size ${kept}`)
}

function judgeSyncNames(facts: ReplicationFacts): Judgement {
  const text = setting(facts, 'synchronous_standby_names')
  const names = parseSyncNames(text)
  if (names === null)
    return fine('no commit waits for a standby: the newest ones can be lost with this machine')
  const commit = setting(facts, 'synchronous_commit')
  const connected = facts.standbys.map(({ name }) => name)
  const counted = matching(names, connected)
  const others = connected.length === 0 ? 'nobody streams' : `connected: ${connected.join(', ')}`
  if (commit === 'off' || commit === 'local')
    return warning(
      `${text} is set, but synchronous_commit is ${commit}: no commit waits`,
      'ALTER SYSTEM RESET synchronous_commit; SELECT pg_reload_conf(); or empty synchronous_standby_names.',
    )
  if (counted.length < names.count)
    return failing(
      `${text} wants ${names.count} of ${names.names.join(', ')}, and ${counted.length} of these ${counted.length === 1 ? 'is' : 'are'} there (${others}): every commit waits`,
      "The names are the standbys’ application_name in primary_conninfo. Correct one side, or let commits go on: ALTER SYSTEM SET synchronous_standby_names = ''; SELECT pg_reload_conf();",
    )
  if (names.names.includes('*'))
    return warning(
      `${text}: whoever streams counts, a backup program too`,
      `Name the standbys: ${counted.map((name) => `"${name}"`).join(', ')}.`,
    )
  const absent = names.names.filter((name) => !counted.includes(name.toLowerCase()))
  if (absent.length > 0)
    return warning(
      `${text}: ${absent.join(', ')} ${absent.length === 1 ? 'matches' : 'match'} nobody (${others})`,
      'Start it, correct its application_name, or take the name out.',
    )
  if (counted.length === names.count)
    return warning(
      `${text}: with the next standby that is lost every commit waits`,
      'Add a standby, or ask for fewer acknowledgements.',
    )
  return fine(`${text}, ${counted.length} there`)
}

function judgeFeedback({ standbys, slots }: ReplicationFacts): Judgement {
  const holders = [
    ...standbys.map(({ name, xminAge }) => ({
      who: `the standby ${name} (hot_standby_feedback)`,
      age: xminAge ?? 0,
    })),
    ...slots.map(({ name, xminAge }) => ({ who: `the slot ${name}`, age: xminAge ?? 0 })),
  ].sort((a, b) => b.age - a.age)
  const [worst] = holders
  if (worst === undefined || worst.age < OLD_XMIN)
    return fine('no standby keeps dead rows from being cleaned up')
  const judge = worst.age >= VERY_OLD_XMIN ? failing : warning
  return judge(
    `${worst.who} keeps the dead rows of ${worst.age.toLocaleString('en')} transactions: tables grow on every node`,
    'End the old query there (SELECT pid, now() - xact_start, query FROM pg_stat_activity ORDER BY 2 DESC), or set hot_standby_feedback = off there; a slot of nobody is dropped.',
  )
}

function judgeTimeout(facts: ReplicationFacts): Judgement {
  const timeout = setting(facts, 'wal_sender_timeout')
  if (timeout !== '0') return fine(`noticed after ${timeout} (wal_sender_timeout)`)
  return warning(
    'wal_sender_timeout is 0: a standby whose network is gone is never noticed, and its slot stays in use',
    "ALTER SYSTEM SET wal_sender_timeout = '60s'; SELECT pg_reload_conf();",
  )
}

function judgeEncryption(facts: ReplicationFacts): Judgement {
  const open = facts.standbys.filter(
    ({ address, tls }) => tls === false && address !== null && !isLoopback(address),
  )
  if (setting(facts, 'password_encryption') === 'md5')
    return warning(
      'password_encryption is md5: what is stored is as good as the password',
      "ALTER SYSTEM SET password_encryption = 'scram-sha-256'; SELECT pg_reload_conf(); then give the roles their passwords anew.",
    )
  if (open.length === 0)
    return fine(facts.standbys.length === 0 ? 'nobody streams' : 'no stream crosses the network unencrypted')
  return warning(
    `${open.map(({ name, address }) => `${name} (${address})`).join(', ')} streams unencrypted: every row can be read on the way`,
    setting(facts, 'ssl') === 'on'
      ? 'Write hostssl instead of host for it in pg_hba.conf, and sslmode=verify-full in its primary_conninfo.'
      : 'Set ssl = on with a certificate here, and sslmode=verify-full in its primary_conninfo.',
  )
}

function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1'
}

function judgeArchive(facts: ReplicationFacts): Judgement {
  const { archiver } = facts
  if (setting(facts, 'archive_mode') === 'off')
    return fine('off: nothing but the standbys has the WAL, and no point in time can be restored')
  const command = setting(facts, 'archive_command')
  const library = setting(facts, 'archive_library')
  if (library === '' && (command === '' || command === '(disabled)'))
    return failing(
      'archive_mode is on and there is no archive_command: WAL is kept here for ever',
      "Set archive_command, or archive_mode = off, or until you know: archive_command = '/bin/true'.",
    )
  if (archiver === null) return fine('on')
  const waiting = archiver.waiting === null ? '' : `, ${plural(archiver.waiting, 'segment')} wait here`
  if (archiver.fails)
    return failing(
      `it fails since ${humanDuration(archiver.failingForMs ?? 0)}, at ${archiver.lastFailedWal ?? '?'} (${archiver.failedCount} times)${waiting}`,
      'PostgreSQL’s log has what the command said. Until it works WAL is kept, and fills this disk.',
    )
  if ((archiver.waiting ?? 0) > MUCH_WAITING)
    return warning(
      `${plural(archiver.waiting ?? 0, 'segment')} wait to be archived`,
      'It is slower than the writes: look at where it goes to, or archive several at a time.',
    )
  return fine(`works: ${plural(archiver.archivedCount, 'segment')} so far`)
}
