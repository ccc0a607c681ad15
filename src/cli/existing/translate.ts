/**
 * The configuration of a server that was there before, in understudy's words: its parameters, its lines of pg_hba.conf and pg_ident.conf,
 * where it listens. Pure.
 */
import { isIP } from 'node:net'
import { sanitizeAutoConf } from '../../postgres/auto-conf.ts'
import { hbaLineProblem } from '../../postgres/hba.ts'
import { parameterVerdict } from '../../postgres/parameters.ts'
import type { ServerLook } from './facts.ts'

export interface SetAside {
  readonly name: string
  readonly value: string
  readonly reason: string
  /** "/etc/postgresql/15/main/postgresql.conf:12" */
  readonly where: string
}

export interface Translated {
  readonly parameters: Readonly<Record<string, string>>
  readonly setAside: readonly SetAside[]
}

/** Where the files are, and what a node's own keys say: said elsewhere in the plan. */
const SAID_ELSEWHERE = new Set([
  ...['data_directory', 'hba_file', 'ident_file', 'external_pid_file', 'config_file'],
  ...['port', 'listen_addresses', 'unix_socket_directories', 'cluster_name'],
  ...['synchronous_standby_names', 'primary_conninfo', 'primary_slot_name'],
])

/** Every setting of the files and of the command line: kept, or left out for a reason. */
export function translateSettings(
  server: Pick<ServerLook, 'fileSettings' | 'commandLine'>,
  { major, autoConf }: { readonly major: number; readonly autoConf: string },
): Translated {
  const parameters: Record<string, string> = {}
  const setAside: SetAside[] = []
  const all = [
    ...server.fileSettings.map(({ name, value, file, line }) => ({ name, value, where: `${file}:${line}` })),
    // It wins over the files.
    ...server.commandLine.map((each) => ({ ...each, where: 'the command line' })),
  ]
  for (const { name, value, where } of all) {
    if (SAID_ELSEWHERE.has(name)) continue
    const verdict = parameterVerdict(name, value, major)
    if (verdict.kind === 'allowed') parameters[name] = value
    else setAside.push({ name, value, reason: verdict.reason, where })
  }
  // What may stay there stays there (ALTER SYSTEM); the rest is commented out.
  for (const { name, reason } of sanitizeAutoConf(autoConf, major).refused)
    if (!SAID_ELSEWHERE.has(name)) setAside.push({ name, value: '', reason, where: 'postgresql.auto.conf' })
  return { parameters, setAside }
}

export interface TranslatedLines {
  readonly lines: readonly string[]
  readonly problems: readonly string[]
}

/** As they stand, in their order: the first that matches decides. A line that goes on after a backslash is one (manual: 21.1). */
export function translateHba(text: string): TranslatedLines {
  const lines: string[] = []
  const problems: string[] = []
  for (const line of wholeLines(text)) {
    const problem = hbaLineProblem(line)
    if (problem === null) lines.push(line)
    else problems.push(`${JSON.stringify(line)}: ${problem}`)
  }
  return { lines, problems }
}

export function translateIdent(text: string): TranslatedLines {
  const lines = wholeLines(text)
  const problems = lines
    .filter((line) => /^(include|@)/.test(line))
    .map((line) => `${JSON.stringify(line)}: other files cannot be included`)
  return { lines: lines.filter((line) => !/^(include|@)/.test(line)), problems }
}

function wholeLines(text: string): readonly string[] {
  return text
    .replace(/\\\n/g, ' ')
    .split('\n')
    .map((line) => withoutComment(line).replace(/\t/g, ' ').trim())
    .filter((line) => line !== '')
}

/** A # within quotes is none. */
function withoutComment(line: string): string {
  const found = /^(?:[^"#]|"[^"]*")*/.exec(line)
  return found?.[0] ?? line
}

/** Where it listened, and where the other nodes reach it. */
export function translateListen(
  listenAddresses: string,
  { host, hasIPv6 }: { readonly host: string; readonly hasIPv6: boolean },
): readonly string[] {
  const given = listenAddresses
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '')
  if (given.includes('*') || given.includes('0.0.0.0') || isIP(host) === 0) return ['*']
  const addresses = given.flatMap((word) =>
    word === 'localhost' ? ['127.0.0.1', ...(hasIPv6 ? ['::1'] : [])] : [word],
  )
  // A name means what it means on that machine; only addresses can be looked at here.
  if (addresses.some((word) => isIP(word) === 0)) return ['*']
  return [...new Set([...addresses, host])]
}
