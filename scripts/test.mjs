/**
 * `npm test`: sets up what is missing, runs every test project, says what was skipped and what to install for it, and ends with the
 * line `N passed, N failed, N skipped`. Fails when a test failed, when the test runner itself did, when nothing ran, and when a
 * process of a test was left running. Arguments: files or folders to run only those (`npm test -- test/store`), `--project NAME`,
 * `--forbid-skips` (a skipped test fails the run), `--no-second-try`, and whatever else vitest takes.
 *
 * Files with real servers whose tests failed are run once more, alone: whoever shares the machine can make a server late. What
 * passes only then is said at the end with the reason of its first failure, because it is a defect of the test or of the product.
 */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { findLeftovers } from './leftovers.mjs'
import { prepare, Refusal, ROOT } from './prepare.mjs'
import { missingPrograms } from './requirements.mjs'

/** How many lines of a failure are repeated at the end, where somebody looks who has only the end of the output. */
const REASON_LINES = 20

const PROJECTS = ['fast', 'component', 'sim', 'cluster', 'faults']
/** Run only when they are named. */
const ON_REQUEST = ['systemd']
/** Their tests depend on how fast the machine is; those of the others do not. */
const TRIED_TWICE = ['component', 'cluster', 'faults']
/** More than these have a common cause, which a second try would only hide for longer. */
const MAX_FILES_TRIED_TWICE = 3

const say = (text = '') => process.stdout.write(`${text}\n`)

let interrupted = false
// The terminal sends Ctrl-C to vitest as well: it stops, and what was counted until then is still said.
process.on('SIGINT', () => {
  interrupted = true
})

const total = { passed: 0, failed: 0, skipped: 0, unsteady: 0 }
try {
  await main()
} catch (error) {
  total.failed++
  say(
    error instanceof Refusal ? `\nerror: ${error.message}\nHINT: ${error.hint}` : `\n${error.stack ?? error}`,
  )
}
// Set instead of exiting: what a slow pipe has not read yet must still arrive.
process.exitCode = total.failed > 0 ? 1 : 0
say(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`)

async function main() {
  const options = parseArguments(process.argv.slice(2))
  await prepare()
  const temporary = makeTemporary()
  try {
    await runAll(options, temporary)
  } finally {
    rmSync(temporary.results, { recursive: true, force: true })
    // Kept for looking at when something went wrong.
    if (total.failed + total.unsteady === 0) rmSync(temporary.forTests, { recursive: true, force: true })
    else if (readdirSync(temporary.forTests).length > 0)
      say(`\nfiles of the failed tests: ${temporary.forTests}`)
  }
}

async function runAll(options, temporary) {
  const marker = randomBytes(8).toString('hex')
  const runs = []
  for (const project of options.projects) {
    if (interrupted) break
    runs.push(await runProject(project, options.passedOn, temporary, marker))
  }
  const unsteady = options.secondTry ? await tryAgain(runs, options, temporary, marker) : []
  total.unsteady = unsteady.length
  const results = runs.map((run) => ({ ...run, ...count(run) }))
  for (const { passed, failed, skipped } of results) {
    total.passed += passed
    total.failed += failed
    total.skipped += skipped.length
  }
  tellProjects(results)
  tellFailures(
    'FAILED',
    results.flatMap((result) => result.failures),
  )
  tellFailures('PASSED ONLY AT THE SECOND TRY', unsteady)
  tellSkipped(results, options)
  tellMissing()
  await tellLeftovers(marker, temporary)
  if (total.passed + total.failed + total.skipped === 0) {
    total.failed++
    say('\nNo test ran: nothing matches what was asked for.')
  } else if (interrupted) {
    total.failed++
    say('\nInterrupted.')
  }
}

/** Gives what failed at first and passed then; in `runs` the second try takes the place of the first. */
async function tryAgain(runs, { passedOn }, temporary, marker) {
  const failed = runs
    .filter(({ project }) => TRIED_TWICE.includes(project))
    .map((first) => ({ first, before: count(first).failures }))
    .filter(({ before }) => before.length > 0)
    .map((entry) => ({ ...entry, files: [...new Set(entry.before.map(({ file }) => file))] }))
  const files = failed.flatMap((entry) => entry.files)
  if (interrupted || files.length === 0 || files.length > MAX_FILES_TRIED_TWICE || files.includes(null))
    return []
  say(`\nONCE MORE, alone: ${files.join(', ')}`)
  const filters = passedOn.filter((arg, i) => arg.startsWith('-') || passedOn[i - 1]?.startsWith('-'))
  const unsteady = []
  for (const { first, before, files: own } of failed) {
    const second = await runProject(first.project, [...own, ...filters], temporary, marker)
    const again = new Set(second.testResults.map(({ name }) => name))
    first.testResults = [...first.testResults.filter(({ name }) => !again.has(name)), ...second.testResults]
    first.code = second.code
    first.durationMs += second.durationMs
    const still = new Set(count(first).failures.map(({ test }) => test))
    unsteady.push(...before.filter(({ test }) => !still.has(test)))
  }
  return unsteady
}

/** One vitest run per project: whole clusters do not run beside the parts, and each project has a duration of its own. */
async function runProject(project, passedOn, temporary, marker) {
  const file = path.join(temporary.results, `${project}.json`)
  const startedAtMs = performance.now()
  const vitest = path.join(ROOT, 'node_modules', 'vitest', 'vitest.mjs')
  const code = await run(
    process.execPath,
    [
      vitest,
      'run',
      '--project',
      project,
      '--passWithNoTests',
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${file}`,
      ...passedOn,
    ],
    { ...process.env, TMPDIR: temporary.forTests, UNDERSTUDY_TEST_RUN: marker },
  )
  return { project, durationMs: performance.now() - startedAtMs, testResults: readResults(file), code }
}

/** None when vitest wrote none: it crashed, or its configuration is broken. */
function readResults(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).testResults
  } catch {
    return []
  } finally {
    rmSync(file, { force: true })
  }
}

function count({ testResults: files, code }) {
  const tests = files.flatMap((file) => file.assertionResults.map((test) => ({ ...test, file: file.name })))
  const failures = tests
    .filter((test) => test.status === 'failed')
    .map((test) => ({
      test: describe(test),
      file: path.relative(ROOT, test.file),
      why: reasonOf(test.failureMessages?.join('\n')),
    }))
  // A file that cannot be loaded, or whose beforeAll failed, has no failed test of its own.
  for (const file of files) {
    if (file.status !== 'failed' || file.assertionResults.some((test) => test.status === 'failed')) continue
    const name = path.relative(ROOT, file.name)
    failures.push({ test: name, file: name, why: reasonOf(file.message) })
  }
  if (code !== 0 && failures.length === 0)
    failures.push({ test: `vitest ended with code ${code} although no test failed`, file: null, why: '' })
  return {
    files: files.length,
    passed: tests.filter((test) => test.status === 'passed').length,
    failed: failures.length,
    failures,
    skipped: tests.filter((test) => !['passed', 'failed'].includes(test.status)).map(describe),
  }
}

/** What was expected and where it failed; frames of other people's code say nothing. */
function reasonOf(message) {
  const lines = stripVTControlCharacters(message ?? '').split('\n')
  const own = lines.filter(
    (line) => line.trim() !== '' && !line.includes('node_modules') && !line.includes('node:internal'),
  )
  return own.slice(0, REASON_LINES).join('\n')
}

function describe(test) {
  return `${path.relative(ROOT, test.file)}: ${test.fullName ?? test.title}`
}

function tellProjects(results) {
  say('\n project     tests   failed  skipped   files  duration')
  for (const { project, passed, failed, skipped, files, durationMs } of results) {
    const numbers = [passed + failed + skipped.length, failed, skipped.length, files]
    const columns = numbers.map((number) => String(number).padStart(8)).join(' ')
    say(` ${project.padEnd(9)}${columns}  ${(durationMs / 1_000).toFixed(1).padStart(6)} s`)
  }
}

function tellFailures(heading, failures) {
  if (failures.length === 0) return
  say(`\n${heading}`)
  for (const { test, why } of failures) {
    say(`  ${test}`)
    if (why !== '') say(why.replace(/^/gm, '      '))
  }
}

function tellSkipped(results, { forbidSkips }) {
  const skipped = results.flatMap((result) => result.skipped)
  if (skipped.length === 0) return
  say(
    `\nSKIPPED: ${skipped.length} ${skipped.length === 1 ? 'test was' : 'tests were'} not run on this machine`,
  )
  for (const test of skipped) say(`  ${test}`)
  if (!forbidSkips) return
  total.failed++
  say('  --forbid-skips: counted as one failure')
}

/** What is not there is why tests are skipped, and may be why some failed. */
function tellMissing() {
  if (total.failed + total.skipped === 0) return
  for (const { what, install } of missingPrograms())
    say(`\n${what} is missing on this machine. HINT: ${install}`)
}

async function tellLeftovers(marker, temporary) {
  const left = await findLeftovers({ marker, directory: temporary.forTests })
  if (left.length === 0) return
  total.failed++
  say('\nLEFT RUNNING by tests (counted as one failure):')
  for (const { pid, command } of left) say(`  ${pid}  ${command}`)
  say(
    `HINT: a test must end what it starts. To end these now: kill -9 ${left.map(({ pid }) => pid).join(' ')}`,
  )
}

/**
 * Every test's temporary files below one short directory (socket paths end at 107 bytes), so that what is left running or lying can be
 * told from what others do on this machine. Open to all as /tmp is: as root, PostgreSQL runs as another user and must get there.
 */
function makeTemporary() {
  const forTests = mkdtempSync(path.join(os.tmpdir(), 'u-'))
  chmodSync(forTests, 0o1777)
  return { forTests, results: mkdtempSync(path.join(os.tmpdir(), 'understudy-results-')) }
}

/** The exit code; 1 when a signal ended it. */
function run(program, args, env) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'], env })
    child.on('error', reject)
    child.on('close', (code) => resolve(code ?? 1))
  })
}

function parseArguments(args) {
  const options = { projects: [], forbidSkips: false, secondTry: true, passedOn: [] }
  const left = [...args]
  for (let arg = left.shift(); arg !== undefined; arg = left.shift()) {
    if (arg === '--forbid-skips') options.forbidSkips = true
    else if (arg === '--no-second-try') options.secondTry = false
    else if (arg === '--project') options.projects.push(left.shift() ?? '')
    else if (arg.startsWith('--project=')) options.projects.push(arg.slice('--project='.length))
    else options.passedOn.push(arg)
  }
  const unknown = options.projects.find((name) => ![...PROJECTS, ...ON_REQUEST].includes(name))
  if (unknown !== undefined)
    throw new Refusal(
      `There is no project "${unknown}".`,
      `They are ${[...PROJECTS, ...ON_REQUEST].join(', ')}.`,
    )
  if (options.projects.length === 0) options.projects = PROJECTS
  return options
}
