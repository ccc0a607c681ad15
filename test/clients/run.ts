/**
 * `npm run test:clients`: other people's programs through the proxy, in both modes and on each PostgreSQL, and a table of what they say.
 * `--direct` runs them on the servers themselves, which is what the proxy is measured by. `--only NAME`, `--postgres MAJOR`.
 */
import { parseArgs } from 'node:util'
import { findInstalls } from '../support/postgres-installs.ts'
import { ProxyFixture } from '../support/proxy-fixture.ts'
import { CLIENT_PROGRAMS, type ClientProgram, whatIsMissing } from './catalog.ts'
import { type ClientRun, runClientProgram, type Target } from './run-program.ts'
import { searchPathOf } from './search-path.ts'

const searchPath = searchPathOf()
const { values: options } = parseArgs({
  options: {
    direct: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true, default: [] },
    postgres: { type: 'string', multiple: true, default: [] },
  },
})
const missing = new Map<ClientProgram, string>()
const programs: ClientProgram[] = []
for (const program of CLIENT_PROGRAMS) {
  if (options.only.length > 0 && !options.only.includes(program.name)) continue
  const what = whatIsMissing(program, searchPath)
  if (what === null) programs.push(program)
  else missing.set(program, what)
}
const majors = [...new Set(findInstalls().map(({ major }) => major))].filter(
  (major) => options.postgres.length === 0 || options.postgres.includes(String(major)),
)
/** By program, then by column. */
const cells = new Map<string, Map<string, string>>()
let failed = 0

for (const major of majors) await runOn(major)
printTable()
for (const [{ name, hint }, what] of missing) console.log(`${name} was not run: no ${what}. HINT: ${hint}`)
if (failed > 0) process.exitCode = 1

async function runOn(major: number): Promise<void> {
  const fixture = await ProxyFixture.start(major)
  try {
    if (options.direct) {
      await runAll(major, 'direct', { port: fixture.server.port, mode: 'session', searchPath })
      return
    }
    for (const mode of ['transaction', 'session'] as const) {
      const { port } = await fixture.proxy({ poolMode: mode, defaultPoolSize: mode === 'session' ? 10 : 3 })
      await runAll(major, mode, { port, mode, searchPath })
    }
  } finally {
    await fixture.stop()
  }
}

async function runAll(major: number, how: string, target: Target): Promise<void> {
  const column = `${major} ${how}`
  for (const program of programs) {
    const refused = program.refusesNewer === true && major > newestOwn()
    const cell = refused ? 'older than the server' : told(column, await runClientProgram(program, target))
    const row = cells.get(program.name) ?? new Map<string, string>()
    cells.set(program.name, row.set(column, cell))
  }
}

/** pg_dump is as old as the newest PostgreSQL of the system. */
function newestOwn(): number {
  return Math.max(0, ...findInstalls().flatMap((each) => (each.hasClientTools ? [each.major] : [])))
}

function told(column: string, { program, checks, broke, elapsedMs }: ClientRun): string {
  const bad = checks.filter(({ outcome }) => outcome !== 'ok')
  for (const { name, outcome, why } of bad) console.log(`${column}, ${program}: ${outcome} ${name}: ${why}`)
  if (broke !== null) console.log(`${column}, ${program}: ${broke}`)
  if (bad.length > 0 || broke !== null) failed++
  const seconds = `${(elapsedMs / 1000).toFixed(1)} s`
  return `${checks.length - bad.length} of ${checks.length}, ${seconds}${broke === null ? '' : ', broke'}`
}

function printTable(): void {
  const columns = [...new Set([...cells.values()].flatMap((row) => [...row.keys()]))]
  const lines = [
    ['', ...columns],
    ...[...cells].map(([name, row]) => [name, ...columns.map((each) => row.get(each) ?? '')]),
  ]
  const widths = ['', ...columns].map((_, i) => Math.max(...lines.map((line) => line[i]?.length ?? 0)))
  console.log()
  for (const line of lines)
    console.log(
      line
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
  console.log()
}
