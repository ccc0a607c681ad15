/**
 * Base backups side by side: pg_basebackup -X stream against our clone worker, from the same primary onto the same disk,
 * in turns. Both use TLS (verify-full), SCRAM, a fast checkpoint and fsync. `npm run bench:basebackup -- --help`.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { chown, postgresUser, startBenchPrimary } from './support/basebackup-primary.ts'
import { type BackupRun, runPgBasebackup, runUnderstudy } from './support/basebackup-runs.ts'

const USAGE = `npm run bench:basebackup -- [options]
  --size-gb N       size of the database (2)
  --runs N          runs of each kind (5)
  --major N         PostgreSQL of the system's packages (15)
  --extra-files N   additional tables of one page (0)
  --directory DIR   where everything is made and removed again (the temporary directory)
  --all             also both with SHA-256 in the manifest instead of CRC-32C
  --json            print JSON`

interface Contender {
  readonly name: string
  readonly run: (target: string) => Promise<BackupRun>
  readonly runs: BackupRun[]
}

const { values } = parseArgs({
  options: {
    'size-gb': { type: 'string', default: '2' },
    runs: { type: 'string', default: '5' },
    major: { type: 'string', default: '15' },
    'extra-files': { type: 'string', default: '0' },
    directory: { type: 'string', default: tmpdir() },
    all: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

if (values.help) console.log(USAGE)
else await main()

async function main(): Promise<void> {
  const directory = mkdtempSync(join(values.directory, 'understudy-bench-'))
  chown(directory, postgresUser())
  try {
    const primary = await startBenchPrimary({
      directory,
      major: Number(values.major),
      sizeGb: Number(values['size-gb']),
      extraFiles: Number(values['extra-files']),
    })
    try {
      const contenders: Contender[] = [
        { name: 'pg_basebackup', run: (target) => runPgBasebackup(primary, target, []), runs: [] },
        { name: 'understudy', run: (target) => runUnderstudy(primary, target, 'CRC32C'), runs: [] },
      ]
      if (values.all) {
        const sha256 = ['--manifest-checksums=SHA256']
        contenders.push(
          {
            name: 'pg_basebackup SHA256',
            run: (target) => runPgBasebackup(primary, target, sha256),
            runs: [],
          },
          { name: 'understudy SHA256', run: (target) => runUnderstudy(primary, target, 'SHA256'), runs: [] },
        )
      }
      await measure(contenders, join(directory, 'copy'), primary.warm)
      print(contenders, primary.dataBytes)
    } finally {
      await primary.stop()
    }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** In turns, so that whatever changes on the machine meets all of them; the first round warms up and is not counted. */
async function measure(contenders: readonly Contender[], target: string, warm: () => void): Promise<void> {
  for (let round = 0; round <= Number(values.runs); round++) {
    for (const contender of contenders) {
      warm()
      execFileSync('sync')
      const run = await contender.run(target)
      rmSync(target, { recursive: true })
      if (round > 0) contender.runs.push(run)
      if (!values.json)
        console.log(`${round === 0 ? 'warm-up' : `run ${round}`}  ${describe(contender.name, run)}`)
    }
  }
}

function describe(name: string, run: BackupRun): string {
  const cpu = `cpu ${run.cpuSeconds.toFixed(2)} s`
  return `${name.padEnd(22)} ${run.seconds.toFixed(2)} s  ${cpu}  peak ${run.peakRssMb.toFixed(0)} MB`
}

function print(contenders: readonly Contender[], dataBytes: number): void {
  const results = contenders.map((contender) => summarize(contender, dataBytes))
  const base = results[0]?.medianSeconds ?? Number.NaN
  const table = results.map((result) => ({
    ...result,
    ratio: Number((result.medianSeconds / base).toFixed(3)),
  }))
  if (values.json) {
    console.log(JSON.stringify({ dataBytes, runs: Number(values.runs), results: table }, null, 2))
    return
  }
  console.log(`\n${(dataBytes / 1e9).toFixed(2)} GB of databases, median of ${values.runs} [min-max]`)
  for (const row of table) {
    const spread = `[${row.minSeconds.toFixed(2)}-${row.maxSeconds.toFixed(2)}]`
    const speed = `${row.megabytesPerSecond.toFixed(0)} MB/s`
    const memory = `peak ${row.peakRssMb.toFixed(0)} MB`
    console.log(
      `${row.name.padEnd(22)} ${row.medianSeconds.toFixed(2)} s ${spread}  ${speed}  ${memory}  ratio ${row.ratio}`,
    )
  }
}

function summarize(contender: Contender, dataBytes: number) {
  const sorted = contender.runs.map((run) => run.seconds).sort((a, b) => a - b)
  const medianSeconds = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
  return {
    name: contender.name,
    medianSeconds,
    minSeconds: sorted[0] ?? Number.NaN,
    maxSeconds: sorted.at(-1) ?? Number.NaN,
    megabytesPerSecond: dataBytes / 1e6 / medianSeconds,
    peakRssMb: Math.max(...contender.runs.map((run) => run.peakRssMb)),
    cpuSeconds: contender.runs.reduce((sum, run) => sum + run.cpuSeconds, 0) / contender.runs.length,
  }
}
