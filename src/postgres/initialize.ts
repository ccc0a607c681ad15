/**
 * Makes the first data directory of a cluster: initdb, roles, database. Everything happens in a directory beside the final one,
 * which gets its name at the very end: whoever finds a data directory finds a whole one.
 */
import { randomBytes } from 'node:crypto'
import { chmod, mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Outcome } from '../ports/postgres.ts'
import { scramVerifier } from '../protocol/scram.ts'
import type { AdapterLog } from './adapter-log.ts'
import type { Binaries } from './binaries.ts'
import { type CommandResult, lastLines, runCommand } from './command.ts'
import { readControlFile } from './control-file.ts'
import { fsyncDirectory, fsyncTree } from './durable.ts'
import { cleanEnvironment } from './environment.ts'
import { type NodeLayout, UNFINISHED_PREFIX } from './layout.ts'
import { DONE, failed, fileFailure, ok } from './outcome.ts'
import { quoteLiteral, ROLES, roleStatements } from './roles.ts'
import { readSecret, readSecretIfPresent } from './secrets.ts'

/** Far beyond what a slow disk needs (seconds): only a hanging one reaches it. */
const STEP_DEADLINE_MS = 120_000

/** Files (0600) that hold one password each. */
export interface SecretPaths {
  readonly superuser: string
  readonly replication: string
  readonly agent: string
  readonly proxy: string
  readonly application: string
}

export interface InitializeOptions {
  readonly layout: NodeLayout
  readonly binaries: Binaries
  readonly secrets: SecretPaths
  readonly superuser: string
  readonly applicationRole: string
  readonly database: string
  readonly log: AdapterLog
}

/** `beforeNamed` hears of the new cluster before its directory gets the final name: who finds that one must know whose it is. */
export async function initialize(
  options: InitializeOptions,
  signal: AbortSignal,
  beforeNamed: (systemIdentifier: string) => Promise<void>,
): Promise<Outcome> {
  const { layout } = options
  const unfinished = join(layout.nodeDir, `${UNFINISHED_PREFIX}${randomBytes(6).toString('hex')}`)
  const statements = await prepareStatements(options)
  if (statements.kind === 'failed') return statements
  try {
    await mkdir(layout.nodeDir, { recursive: true, mode: 0o700 })
    const steps = [
      ['initdb', () => runInitdb(options, unfinished, signal)],
      ['roles', () => runStatements(options, unfinished, statements.value, signal)],
      ['sync', () => finish(unfinished)],
    ] as const
    for (const [name, run] of steps) {
      const began = performance.now()
      const result = await run()
      if (result.kind === 'failed') return result
      if (signal.aborted) return failed('initdb-failed', 'it was interrupted; nothing was left behind')
      const fields = { step: name, ms: Math.round(performance.now() - began) }
      options.log({ level: 'debug', message: 'initialize', fields })
    }
    const control = await readControlFile(unfinished)
    if (control.kind === 'failed') return control
    if (control.value.state !== 'shutDown') {
      return failed('initdb-failed', `the new cluster was not shut down cleanly (${control.value.state})`)
    }
    await beforeNamed(control.value.systemIdentifier)
    // rename refuses to replace a directory that has something in it: a data directory is never overwritten.
    await rename(unfinished, layout.dataDir)
    await fsyncDirectory(layout.nodeDir)
    return DONE
  } catch (error) {
    return fileFailure(error, layout.nodeDir)
  } finally {
    await rm(unfinished, { recursive: true, force: true })
  }
}

async function prepareStatements(options: InitializeOptions): Promise<Outcome<readonly string[]>> {
  const verifiers = { superuser: '', replication: '', agent: '', application: '' }
  for (const role of ROLES) {
    const password = await readSecret(options.secrets[role])
    if (password.kind === 'failed') return password
    verifiers[role] = quoteLiteral(scramVerifier({ password: password.value }))
  }
  // A bundle that was made before there was a proxy does not have it.
  const proxy = await readSecretIfPresent(options.secrets.proxy)
  if (proxy?.kind === 'failed') return proxy
  const proxyVerifier = proxy === null ? null : quoteLiteral(scramVerifier({ password: proxy.value }))
  const { superuser, applicationRole, database, binaries } = options
  const passwords = { ...verifiers, proxy: proxyVerifier }
  const statements = roleStatements({
    ...{ superuser, applicationRole, database, passwords, major: binaries.major },
  })
  return ok(statements.map(({ sql }) => sql))
}

/**
 * Checksums (-k) so that damage is seen and pg_rewind works; C.UTF-8 so that an operating system's upgrade cannot change the order
 * of an index. The directory's own pg_hba.conf rejects everybody: a server that somebody starts by hand, past the agent, serves no
 * one. The superuser's password follows as a verifier, so initdb never sees it.
 */
async function runInitdb(options: InitializeOptions, target: string, signal: AbortSignal): Promise<Outcome> {
  const args = [...initdbArguments(target, options.superuser), '--no-sync', '--no-instructions']
  const result = await run(options, options.binaries.initdb, args, signal)
  return judge(result, 'initdb')
}

export function initdbArguments(dataDir: string, superuser: string): readonly string[] {
  return ['-D', dataDir, '-U', superuser, '-E', 'UTF8', '--locale=C.UTF-8', '-k', '-A', 'reject']
}

/**
 * A standalone backend (manual: postgres, single-user mode): 50 ms, less than a server takes to start and to stop, and nobody
 * can connect meanwhile. -j: a statement ends at an empty line. exit_on_error: the first error ends it with exit code 1.
 */
async function runStatements(
  options: InitializeOptions,
  target: string,
  statements: readonly string[],
  signal: AbortSignal,
): Promise<Outcome> {
  const settings = ['exit_on_error=on', 'log_statement=none', 'log_min_error_statement=panic', 'fsync=off']
  const args = ['--single', '-j', '-D', target, ...settings.flatMap((setting) => ['-c', setting]), 'postgres']
  const input = statements.map((statement) => `${statement};\n\n`).join('')
  const result = await run(options, options.binaries.postgres, args, signal, input)
  return judge(result, 'postgres --single')
}

function run(
  options: InitializeOptions,
  program: string,
  args: readonly string[],
  signal: AbortSignal,
  input = '',
): Promise<CommandResult> {
  const env = cleanEnvironment(options.layout.nodeDir, options.binaries.env)
  return runCommand(program, args, { env, deadlineMs: STEP_DEADLINE_MS, input, signal })
}

function judge(result: CommandResult, name: string): Outcome {
  switch (result.kind) {
    case 'notFound':
      return failed('no-binaries', `${name} was not found`)
    case 'notPermitted':
      return failed('no-permission', `${name} may not be run by this user`)
    case 'interrupted':
      return failed('initdb-failed', `${name} was interrupted (${result.reason}); nothing was left behind`)
    case 'exited': {
      if (result.exitCode === 0) return DONE
      const words = lastLines(result.stderr, 6)
      if (/cannot be run as root|"root" execution/.test(words)) {
        return failed('no-unprivileged-user', `${name} failed:\n${words}`)
      }
      if (/No space left on device|Disk quota exceeded/.test(words))
        return failed('no-space', `${name} failed:\n${words}`)
      if (/Permission denied/.test(words)) return failed('no-permission', `${name} failed:\n${words}`)
      return failed('initdb-failed', `${name} failed with exit code ${result.exitCode ?? '?'}:\n${words}`)
    }
  }
}

const NOT_READ = `# Not read: understudy starts PostgreSQL with its own files in ../conf (postgres -c config_file=...).
# A server that is started by hand with this file admits nobody (pg_hba.conf beside it) and belongs to no cluster.
`

/** initdb and the standalone backend synced nothing; now everything is synced once, before the directory gets its name. */
async function finish(unfinished: string): Promise<Outcome> {
  try {
    await chmod(unfinished, 0o700)
    await writeFile(join(unfinished, 'postgresql.conf'), NOT_READ, { mode: 0o600 })
    await fsyncTree(unfinished)
    return DONE
  } catch (error) {
    return fileFailure(error, unfinished)
  }
}
