/**
 * `understudy psql`: the system's psql, connected. The password goes by a passfile that only this user can read and that is gone
 * afterwards: an argument would stand in the process list, and libpq wants a regular file, so no pipe.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { rmSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { UnderstudyError } from '../../errors/codes.ts'
import { connectionFor, libpqEnvironment, MISLEADING_VARIABLES, passFileText } from '../connection.ts'
import { findPsql } from '../find-psql.ts'
import type { ClusterFlags } from '../flags.ts'
import { openCluster } from '../local/open.ts'
import { readPassword } from '../password.ts'
import { signalNumber } from '../signals.ts'

export interface PsqlOptions extends ClusterFlags {
  readonly target: string
  readonly superuser?: boolean
  /** psql's own arguments. */
  readonly passthrough: readonly string[]
}

export async function run(options: PsqlOptions): Promise<number> {
  const { config } = await openCluster(options)
  const connection = connectionFor(config, {
    target: options.target,
    superuser: options.superuser === true,
  })
  const psql = await findPsql({
    configured: config.postgres.binaries,
    searchPath: process.env['PATH'] ?? '',
  })
  if (psql === null) throw new UnderstudyError('no-psql', 'there is no psql on this machine')
  const environment = psqlEnvironment()
  // Of a role that was there before understudy: psql finds its password as it always did, or asks.
  if (connection.passwordFile === null)
    return runPsql(psql, options.passthrough, { ...environment, ...libpqEnvironment(connection, null) })
  const password = await readPassword(connection.passwordFile)
  const directory = await mkdtemp(path.join(tmpdir(), 'understudy-psql-'))
  const removeNow = (): void => rmSync(directory, { recursive: true, force: true })
  process.on('exit', removeNow)
  try {
    const passFile = path.join(directory, 'passfile')
    await writeFile(passFile, passFileText(connection, password), { mode: 0o600 })
    return await runPsql(psql, options.passthrough, {
      ...environment,
      ...libpqEnvironment(connection, passFile),
    })
  } finally {
    await rm(directory, { recursive: true, force: true })
    process.off('exit', removeNow)
  }
}

function psqlEnvironment(): NodeJS.ProcessEnv {
  const environment: NodeJS.ProcessEnv = { ...process.env }
  for (const name of MISLEADING_VARIABLES) delete environment[name]
  return environment
}

/** psql handles Ctrl-C itself (it cancels the statement), so this process must survive it and wait. */
function runPsql(psql: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  return new Promise((resolve, reject) => {
    const ignore = (): void => {}
    const pass = (signal: NodeJS.Signals): void => {
      child?.kill(signal)
    }
    // Before the spawn: a Ctrl-C right after it must find both of them listening.
    let child: ChildProcess | null = null
    process.on('SIGINT', ignore).on('SIGQUIT', ignore).on('SIGTERM', pass).on('SIGHUP', pass)
    const stopListening = (): void => {
      process.off('SIGINT', ignore).off('SIGQUIT', ignore).off('SIGTERM', pass).off('SIGHUP', pass)
    }
    child = spawn(psql, args, { stdio: 'inherit', env })
    child.once('error', (error) => {
      stopListening()
      reject(new UnderstudyError('no-psql', `${psql} cannot be started: ${error.message}`))
    })
    child.once('exit', (code, signal) => {
      stopListening()
      resolve(code ?? 128 + (signal === null ? 0 : signalNumber(signal)))
    })
  })
}
