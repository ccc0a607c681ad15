/**
 * What PostgreSQL itself says of a person's parameters, asked before it is started with them: a line with an unknown name or a value that
 * it cannot read keeps a server from starting. Both questions need no cluster, and may be asked by root.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Outcome } from '../ports/postgres.ts'
import type { Binaries } from './binaries.ts'
import { lastLines, runCommand } from './command.ts'
import { cleanEnvironment } from './environment.ts'
import { failed, fileFailure, ok } from './outcome.ts'
import { settingLine, type UserParameters } from './setting-text.ts'

const DEADLINE_MS = 10_000
/** Some 400 lines of 200 bytes. */
const DESCRIPTION_BYTES = 1024 * 1024

/** Every name that these binaries know, in lower case; an extension's names ("prefix.name") are not among them. */
export async function knownParameters(binaries: Binaries): Promise<Outcome<ReadonlySet<string>>> {
  const result = await runCommand(binaries.postgres, ['--describe-config'], {
    env: cleanEnvironment('/', binaries.env),
    deadlineMs: DEADLINE_MS,
    keepOutput: DESCRIPTION_BYTES,
  })
  if (result.kind !== 'exited' || result.exitCode !== 0)
    return failed('no-binaries', `${binaries.postgres} --describe-config did not answer`)
  const names = result.stdout.split('\n').map((line) => (line.split('\t')[0] ?? '').toLowerCase())
  return ok(new Set(names.filter((name) => name !== '')))
}

export interface InvalidValue {
  readonly name: string
  /** PostgreSQL's own sentence, and its hint when it has one. */
  readonly message: string
}

/** `parameters` with names that the binaries know: PostgreSQL looks at no value when it does not know a name. */
export async function invalidValues(
  binaries: Binaries,
  parameters: UserParameters,
): Promise<Outcome<readonly InvalidValue[]>> {
  const names = Object.keys(parameters)
  if (names.length === 0) return ok([])
  let directory: string | null = null
  try {
    directory = await mkdtemp(join(tmpdir(), 'understudy-parameters-'))
    const lines = Object.entries(parameters).map(([name, value]) => settingLine(name, value))
    await writeFile(join(directory, 'postgresql.conf'), `${lines.join('\n')}\n`)
    // Only to be read: -C prints a setting and ends, after the files were read and before anything else is looked at. It must be the first
    // argument, or root is turned away (main.c).
    const result = await runCommand(binaries.postgres, ['-C', 'wal_level', '-D', directory], {
      env: cleanEnvironment(directory, binaries.env),
      deadlineMs: DEADLINE_MS,
    })
    if (result.kind === 'exited' && result.exitCode === 0) return ok([])
    if (result.kind !== 'exited') return failed('no-binaries', `${binaries.postgres} did not answer`)
    const found = readComplaints(result.stderr)
    return found.length > 0 ? ok(found) : failed('postgres-failed', lastLines(result.stderr, 2))
  } catch (error) {
    return fileFailure(error, tmpdir())
  } finally {
    if (directory !== null) await rm(directory, { recursive: true, force: true })
  }
}

/** `LOG:  invalid value for parameter "work_mem": "abc"`, and a HINT on the next line. Pure. */
export function readComplaints(stderr: string): readonly InvalidValue[] {
  const found: { name: string; message: string }[] = []
  let last: { name: string; message: string } | null = null
  for (const line of stderr.split('\n')) {
    const [, level = '', text = ''] = /(LOG|HINT|FATAL|WARNING|DETAIL): {2}(.*)$/.exec(line) ?? []
    const name = /parameter "([^"]+)"/.exec(text)?.[1]
    if (level === 'LOG' && name !== undefined) {
      last = { name, message: text }
      found.push(last)
    } else if (level === 'HINT' && last !== null) {
      last.message += `. ${text.replace(/\.$/, '')}`
    } else last = null
  }
  return found
}
