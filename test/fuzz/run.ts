/**
 * `npm run fuzz -- --minutes N --seed S --pg MAJOR`: fuzzes a proxy in a process of its own, with a real PostgreSQL behind it, and says
 * what was sent, what was found, and how the memory of the process went. Exit code 1: something is wrong.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Fuzzer } from './fuzzer.ts'
import type { FuzzedPorts, FuzzedState } from './proxy-process.ts'

const USAGE = `npm run fuzz -- [options]
  --minutes N   how long (1)
  --seed S      what is drawn from (a new one each time)
  --pg MAJOR    the PostgreSQL behind the proxy (the first that is found)`

const LOOK_EVERY_MS = 15_000
/** What a process may have more at the end than when it was warm. */
const MAX_GROWTH_BYTES = 64 * 1024 * 1024
const WARM_AFTER = 0.25

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string' },
    pg: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) console.log(USAGE)
else process.exitCode = (await fuzz()) ? 0 : 1

async function fuzz(): Promise<boolean> {
  const minutes = Number(values.minutes)
  const seed = values.seed === undefined ? randomInt(2 ** 31) : Number(values.seed)
  const script = fileURLToPath(new URL('./proxy-process.js', import.meta.url))
  const child = fork(script, values.pg === undefined ? [] : [values.pg], { execArgv: ['--expose-gc'] })
  let ended: string | null = null
  child.on('exit', (code, signal) => {
    ended = `the process of the proxy ended: ${code ?? signal}`
  })
  const { major, proxies, serverPort } = await answerOf<FuzzedPorts>(child)
  console.log(`seed ${seed}, ${minutes} minutes, PostgreSQL ${major}`)
  const fuzzer = new Fuzzer({ proxies, serverPort }, seed)
  const untilMs = performance.now() + minutes * 60_000
  const over = new AbortController()
  const running = fuzzer.run(over.signal)
  const sizes: number[] = []
  while (performance.now() < untilMs && ended === null && fuzzer.findings.length === 0) {
    await new Promise((resolve) =>
      setTimeout(resolve, Math.min(LOOK_EVERY_MS, untilMs - performance.now() + 1)),
    )
    if (ended === null) sizes.push(await look(child, fuzzer))
  }
  over.abort()
  if (ended === null) await running
  const findings = [...fuzzer.findings]
  if (ended !== null) findings.push(ended)
  else findings.push(...judge(await settled(child), sizes))
  if (ended === null) child.send('stop')
  for (const finding of findings) console.log(`FOUND ${finding}`)
  console.log(`${JSON.stringify(fuzzer.counts)}\n${findings.length} findings, seed ${seed}`)
  return findings.length === 0
}

async function look(child: ChildProcess, fuzzer: Fuzzer): Promise<number> {
  const state = await ask(child)
  const megabytes = (state.residentBytes / 2 ** 20).toFixed(0)
  const { exchanges, nonsense, beginnings } = fuzzer.counts
  console.log(
    `${megabytes} MB, ${state.clients} clients, ${state.serverSessions} server sessions; ${exchanges} exchanges, ${nonsense} nonsense, ${beginnings} beginnings`,
  )
  return state.residentBytes
}

/** When every client has gone. */
async function settled(child: ChildProcess): Promise<FuzzedState> {
  let state = await ask(child)
  for (let i = 0; i < 50 && state.clients + state.logins + state.waiting > 0; i++) {
    await new Promise((resolve) => setTimeout(resolve, 200))
    state = await ask(child)
  }
  return state
}

function judge(state: FuzzedState, sizes: readonly number[]): readonly string[] {
  const findings = state.unforeseen.map((line) => `logged: ${line}`)
  findings.push(...state.crashes.map((line) => `PostgreSQL itself: ${line}`))
  const { clients, logins, waiting, residentBytes } = state
  if (clients + logins + waiting > 0)
    findings.push(`left at the end: ${clients} clients, ${logins} logins, ${waiting} waiting`)
  const warm = Math.max(0, ...sizes.slice(0, Math.ceil(sizes.length * WARM_AFTER)))
  const grown = residentBytes - warm
  if (sizes.length > 8 && grown > MAX_GROWTH_BYTES)
    findings.push(`the process grew by ${(grown / 2 ** 20).toFixed(0)} MB since it was warm`)
  return findings
}

function ask(child: ChildProcess): Promise<FuzzedState> {
  child.send('state')
  return answerOf<FuzzedState>(child)
}

function answerOf<T>(child: ChildProcess): Promise<T> {
  return new Promise((resolve, reject) => {
    child.once('message', (message) => resolve(message as T))
    child.once('exit', () => reject(new Error('the process of the proxy has ended')))
  })
}
