/** Everything that can be said of a configuration before anything runs: the file itself, and what PostgreSQL will make of it. */
import { readFile } from 'node:fs/promises'
import { type ConfigFinding, readConfigText } from '../../config/findings.ts'
import { nearest } from '../../config/nearest.ts'
import type { ClusterConfig } from '../../config/schema.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { type Binaries, findBinaries } from '../../postgres/binaries.ts'
import { hbaLineProblem } from '../../postgres/hba.ts'
import { invalidValues, knownParameters } from '../../postgres/judge-parameters.ts'
import { parameterVerdict } from '../../postgres/parameters.ts'

export interface Validation {
  readonly file: string
  readonly valid: boolean
  readonly findings: readonly ConfigFinding[]
  /** What could not be looked at here, each as a sentence. */
  readonly unchecked: readonly string[]
}

/** `cacheDir`: for binaries that must be copied to be run. Errors: not-found, no-permission. */
export async function validateConfig(file: string, cacheDir: string): Promise<Validation> {
  const read = readConfigText(await readConfigFile(file))
  const unchecked: string[] = []
  const findings = [...read.findings]
  if (read.config !== null) {
    const found = await findBinaries({ request: read.config.postgres.binaries, cacheDir })
    const binaries = found.kind === 'ok' ? found.value : null
    if (found.kind === 'failed')
      unchecked.push(`the names and values of postgres.parameters, because here ${found.reason}`)
    findings.push(...(await parameterFindings(read.config, binaries, read.lineOf, unchecked)))
    findings.push(...hbaFindings(read.config, read.lineOf))
  }
  return {
    file,
    valid: findings.every(({ severity }) => severity !== 'error'),
    findings: findings.sort((a, b) => a.line - b.line),
    unchecked,
  }
}

export async function readConfigFile(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOENT') throw new UnderstudyError('not-found', `there is no configuration file ${file}`)
    if (code === 'EACCES') throw new UnderstudyError('no-permission', `cannot read ${file}`)
    throw error
  }
}

type LineOf = (path: readonly string[]) => number

async function parameterFindings(
  config: ClusterConfig,
  binaries: Binaries | null,
  lineOf: LineOf,
  unchecked: string[],
): Promise<ConfigFinding[]> {
  const parameters = config.postgres.parameters
  const found = (severity: ConfigFinding['severity'], name: string, message: string): ConfigFinding => {
    const path = ['postgres', 'parameters', name]
    return { severity, line: lineOf(path), key: path.join('.'), message }
  }
  const major = binaries?.major ?? NEWEST_MAJOR
  const allowed = Object.entries(parameters).filter(
    ([name, value]) => parameterVerdict(name, value, major).kind === 'allowed',
  )
  const refused = Object.entries(parameters).flatMap(([name, value]) => {
    const verdict = parameterVerdict(name, value, major)
    return verdict.kind === 'refused' ? [found('warning', name, `it is left out: ${verdict.reason}`)] : []
  })
  if (binaries === null) return refused
  const known = await knownParameters(binaries)
  if (known.kind === 'failed') {
    unchecked.push(`the names and values of postgres.parameters, because ${known.reason}`)
    return refused
  }
  const isKnown = (name: string): boolean => name.includes('.') || known.value.has(name.toLowerCase())
  const unknown = allowed.flatMap(([name]) => {
    if (isKnown(name)) return []
    const meant = nearest(name, [...known.value])
    const more = meant === null ? '' : `, did you mean ${meant}?`
    return [
      found('error', name, `PostgreSQL ${binaries.version} does not know it and would not start${more}`),
    ]
  })
  const judged = await invalidValues(binaries, Object.fromEntries(allowed.filter(([name]) => isKnown(name))))
  const invalid =
    judged.kind === 'failed'
      ? []
      : judged.value.map(({ name, message }) =>
          found('error', name, `PostgreSQL would not start: ${message}`),
        )
  return [...refused, ...unknown, ...invalid]
}

const NEWEST_MAJOR = 18

/** Agents leave them out, for PostgreSQL would read no line of the file; whoever wrote one wants to know. */
function hbaFindings({ postgres }: ClusterConfig, lineOf: LineOf): ConfigFinding[] {
  return postgres.hba.flatMap((line, index): ConfigFinding[] => {
    const problem = hbaLineProblem(line)
    const path = ['postgres', 'hba', String(index)]
    return problem === null
      ? []
      : [
          {
            severity: 'warning',
            line: lineOf(path),
            key: path.join('.'),
            message: `it is left out: ${problem}`,
          },
        ]
  })
}
