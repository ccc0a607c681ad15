/**
 * The ONE list of what can go wrong in a way that a person must know of. Each code is stable (scripts compare it), has a
 * sentence of its own where it is raised, and a HINT that says what to do. docs/reference/errors.md is generated from it.
 */
export const ERRORS = {
  // --- usage and configuration
  usage: { hint: 'Run the command with --help to see what it takes.' },
  'config-invalid': {
    hint: 'Correct the line that is named; docs/reference/configuration.md lists every key.',
  },
  'flags-differ': {
    hint: 'Run it without flags to go on with the remembered ones, or name another directory with --data.',
  },
  'already-running': { hint: 'See it with `understudy status`; stop it with `understudy down`.' },
  'not-found': { hint: 'Start a cluster with `understudy up`, or name its directory with --data.' },
  'name-taken': {
    hint: 'Stop the other agent, or give one of the two nodes another name. Was the machine, or its directory, copied?',
  },
  'node-removed': {
    hint: 'Disable its unit on that machine (systemctl disable --now), or bring it back with `understudy add`.',
  },
  'unknown-node': { hint: '`understudy status` lists the nodes.' },
  // --- the machine
  'no-binaries': {
    hint: 'Install PostgreSQL (Debian: apt install postgresql-15), or run npm install without --omit=optional.',
  },
  'unsupported-version': { hint: 'Use PostgreSQL 15, 16, 17 or 18: --pg MAJOR or --pg BINDIR.' },
  'no-openssl': { hint: 'Install the openssl command (Debian: apt install openssl).' },
  'no-psql': {
    hint: 'Install the client (Debian: apt install postgresql-client), or use any other one: `understudy url` prints the URI.',
  },
  'port-taken': { hint: 'End the program that uses the port, or choose other ports with --port-base.' },
  'no-permission': {
    hint: 'Give the directory to the user that runs PostgreSQL, or name another one with --data.',
  },
  'no-space': {
    hint: 'Free space on that file system, then run the command again: it goes on where it can.',
  },
  'disk-hangs': {
    hint: 'Look at the storage below it (dmesg, the volume, NFS). Writing goes on by itself when the disk does.',
  },
  'path-too-long': { hint: 'Choose a shorter directory: a socket path ends at 107 bytes.' },
  'no-unprivileged-user': {
    hint: 'Create a user for PostgreSQL (useradd --system postgres), or run as an ordinary user.',
  },
  'wrong-bundle': {
    hint: 'Each bundle is for one node: unpack the one that bears this node’s name, or make it again with `understudy init`.',
  },
  'wrong-host': {
    hint: 'Is this the bundle of another node? If the machine is reached through a gateway, say where it listens: nodes.NAME.listen.',
  },
  'clock-wrong': { hint: 'Correct the clock (timedatectl set-ntp true) and start again.' },
  // --- data directories
  'foreign-data': { hint: 'Move the directory away, or name another one: nothing in it was touched.' },
  'wrong-major': {
    hint: 'Start with the binaries of that major version (--pg), or move the directory away.',
  },
  'foreign-postmaster': {
    hint: 'Stop that server first (pg_ctl stop -D DIR); understudy does not stop what it did not start.',
  },
  'system-identifier': {
    hint: 'This node holds another cluster. Move its directory away and let it join anew.',
  },
  tablespaces: {
    hint: 'Move the tables to pg_default and drop the tablespaces; clones of tablespaces are not supported yet.',
  },
  'data-damaged': {
    hint: 'Do not start it by hand. Read the log that is named, and restore or re-clone the node.',
  },
  // --- the store
  'store-unreachable': {
    hint: 'Check that the store runs and that its address, token and certificates are right.',
  },
  'store-auth': { hint: 'The store refused the credentials: check the token or password file.' },
  'store-gateway': {
    hint: 'Start etcd (3.4 or later) with its JSON gateway (--enable-grpc-gateway, on by default).',
  },
  'store-corrupt': {
    hint: 'The store file is damaged in the middle. Keep it, restore a copy, or ask for help; nothing was deleted.',
  },
  'store-empty': {
    hint: 'Is it the right store? If it has lost its data: `understudy recover-store` puts back what the nodes know.',
  },
  'store-stale': {
    hint: 'What runs goes on, and nobody takes over. `understudy recover-store` puts back what the nodes know.',
  },
  'store-disk': {
    hint: 'The disk below the store failed: look at `dmesg` and the disk. It starts again from what was synced.',
  },
  'lease-lost': {
    hint: 'The node takes a new lease by itself. When it repeats, the store or this machine is too slow.',
  },
  // --- replication
  'auth-failed': {
    hint: 'The password or the certificate was refused; the server log of that node says why.',
  },
  'tls-failed': {
    hint: 'Check the certificate: its dates, its names, and that it comes from this cluster’s CA.',
  },
  'certificate-expired': { hint: 'Issue new certificates: `understudy up` renews them for a local cluster.' },
  'connect-failed': { hint: 'Check that the server runs and that nothing blocks the port.' },
  'server-error': { hint: 'The message is PostgreSQL’s own; the server log of that node says more.' },
  'clone-failed': { hint: 'The next attempt starts anew; nothing that could start was left behind.' },
  'rewind-failed': {
    hint: 'The directory is marked and never started like this; the node is cloned anew by itself.',
  },
  'backup-corrupt': {
    hint: 'The copy did not match its manifest and was thrown away. Check the primary’s disk (page checksums).',
  },
  'protocol-violation': { hint: 'The peer sent what the protocol does not allow: is it PostgreSQL?' },
  'initdb-failed': { hint: 'The output of initdb is in the log that is named.' },
  'postgres-failed': { hint: 'PostgreSQL did not start: its log is named above.' },
  'sql-failed': {
    hint: 'PostgreSQL refused a statement of the agent: the server log of that node says more.',
  },
  'parameter-refused': { hint: 'Remove the parameter; understudy sets it itself, for the reason given.' },
  // --- commands
  timeout: { hint: 'Look at `understudy status` and `understudy why`; the cluster goes on by itself.' },
  refused: { hint: 'Wait until what is named has passed, or choose another node; nothing was changed.' },
  'not-primary': { hint: 'Ask the agent of the primary: `understudy status` names it.' },
  'already-primary': { hint: 'Choose another node; `understudy status` shows their roles.' },
  'not-eligible': { hint: 'Choose another node, or give it a candidatePriority above 0.' },
  'not-streaming': {
    hint: '`understudy why` says what the node waits for; try again when it streams, or choose another one.',
  },
  lagging: { hint: 'Wait until it has caught up (`understudy status --watch`), or choose another node.' },
  'replay-paused': {
    hint: 'SELECT pg_wal_replay_resume() there when whoever paused it is done, or choose another node.',
  },
  'failover-paused': { hint: 'Let it go on with `understudy resume` first.' },
  'request-running': { hint: 'Wait until it has ended; `understudy events --follow` shows it.' },
  'no-request': { hint: 'There is nothing to cancel: it was carried out, refused, or never asked for.' },
  'stale-epoch': {
    hint: 'The primary has changed since you looked. See `understudy status`, then ask again.',
  },
  'election-running': { hint: 'Wait until it has ended (`understudy status --watch`), then look again.' },
  'primary-well': { hint: 'Use `understudy switchover`: it loses nothing and takes less time.' },
  'data-loss': {
    hint: 'Bring one of those nodes back; only when that is hopeless, add --accept-data-loss.',
  },
  'votes-changed': { hint: 'Look again (--dry-run): what would be lost is not what you were shown.' },
  'voter-reachable': {
    hint: 'It may hold what the others lack: let it reach the store, or make sure that it is down.',
  },
  'better-candidate': { hint: 'Leave --to out: who has most is elected (I4).' },
  'no-candidate': { hint: '`understudy status` and `understudy why` say what the nodes lack.' },
  'nothing-to-recover': {
    hint: 'The store knows all that the nodes know: `understudy status` says how it is.',
  },
  'nothing-known': {
    hint: 'Restore the store from any backup, or bring back a node whose state directory is whole; see docs/operations.md.',
  },
  'member-silent': {
    hint: 'Start its agent. Only when it will not come back, leave it out: --without NODE --accept-data-loss.',
  },
  'last-standby': { hint: 'Wait until another standby streams: `understudy status --watch`.' },
  'not-reached': { hint: '`understudy history` shows what happened; nothing that was acknowledged is lost.' },
  'bad-time': { hint: 'Give date, time and time zone: 2030-01-31T22:00:00+01:00, or …Z for UTC.' },
  'no-primary': { hint: '`understudy why` says what the nodes wait for.' },
  unreachable: { hint: 'No agent answers. Start the cluster with `understudy up`, or look at the logs.' },
  unhealthy: { hint: '`understudy status` lists the problems, each with its hint.' },
  internal: { hint: 'This is a bug: please report it with the log.' },
} as const satisfies Record<string, { readonly hint: string }>

export type ErrorCode = keyof typeof ERRORS

/** An expected failure on its way to the outermost shell. Inside, expected failure is a value with a `kind`. */
export class UnderstudyError extends Error {
  readonly code: ErrorCode
  readonly hint: string

  constructor(
    code: ErrorCode,
    message: string,
    options: { readonly hint?: string; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'UnderstudyError'
    this.code = code
    this.hint = options.hint ?? ERRORS[code].hint
  }
}

/** Turns whatever was thrown into an UnderstudyError; an unknown error is a bug and says so. */
export function toUnderstudyError(thrown: unknown): UnderstudyError {
  if (thrown instanceof UnderstudyError) return thrown
  const message = thrown instanceof Error ? thrown.message || thrown.name : String(thrown)
  return new UnderstudyError('internal', message, { cause: thrown })
}
