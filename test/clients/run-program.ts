/** Runs one of the programs against a proxy, and reads what it says of each of its checks. */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { type ClientProgram, interpreterOf } from './catalog.ts'

export interface Check {
  readonly name: string
  readonly outcome: 'ok' | 'failed' | 'skipped'
  readonly why: string
}

export interface ClientRun {
  readonly program: string
  readonly checks: readonly Check[]
  /** What went wrong outside of checks; null when nothing did. */
  readonly broke: string | null
  readonly elapsedMs: number
}

export interface Target {
  readonly port: number
  readonly mode: 'session' | 'transaction'
  readonly searchPath: string
}

const DEADLINE_MS = 120_000

/** Of the folder of this project, whether this file runs as it is or compiled below dist/. */
const ROOT = findRoot(import.meta.dirname)

export async function runClientProgram(program: ClientProgram, target: Target): Promise<ClientRun> {
  const script = path.join(ROOT, 'test', 'clients', 'programs', program.script)
  const beganAt = performance.now()
  const { code, stdout, stderr } = await run(interpreterOf(program), script, environmentOf(target))
  const checks = stdout.split('\n').flatMap(readCheck)
  const failed = checks.some(({ outcome }) => outcome === 'failed')
  const whole = code === (failed ? 1 : 0) && checks.length > 0
  const elapsedMs = performance.now() - beganAt
  const broke = whole ? null : `ended with ${code}: ${stderr.trim().slice(-500)}`
  return { program: program.name, checks, broke, elapsedMs }
}

/** Encrypted, for that is how most clients come. */
function environmentOf({ port, mode, searchPath }: Target): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith('PG'))
  return {
    ...Object.fromEntries(own),
    ...{ PGHOST: '127.0.0.1', PGPORT: String(port), PGUSER: 'app', PGPASSWORD: 'secret' },
    ...{ PGDATABASE: 'app', PGSSLMODE: 'require', PGCLIENTENCODING: 'UTF8', PGCONNECT_TIMEOUT: '20' },
    ...{ PATH: searchPath, UNDERSTUDY_MODE: mode, PYTHONDONTWRITEBYTECODE: '1', NO_COLOR: '1' },
    // node-postgres verifies with `require`, and there is nothing to verify with here.
    ...{ NODE_TLS_REJECT_UNAUTHORIZED: '0', NODE_NO_WARNINGS: '1' },
  }
}

function readCheck(line: string): readonly Check[] {
  const match = /^(ok|failed|skipped) ([^:]+)(?:: (.*))?$/.exec(line)
  if (match === null) return []
  const [, outcome = '', name = '', why = ''] = match
  return [{ name, outcome: outcome as Check['outcome'], why }]
}

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

function run(interpreter: string, script: string, env: NodeJS.ProcessEnv): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(interpreter, [script], { env, cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] })
    const timer = setTimeout(() => child.kill('SIGKILL'), DEADLINE_MS)
    let stdout = ''
    let stderr = ''
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString()
    })
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString()
    })
    child.on('error', reject)
    child.on('close', (code) => {
      clearTimeout(timer)
      resolve({ code, stdout, stderr })
    })
  })
}

function findRoot(from: string): string {
  for (let folder = from; ; folder = path.dirname(folder)) {
    const file = path.join(folder, 'package.json')
    if (existsSync(file) && readFileSync(file, 'utf8').includes('"name": "pg-understudy"')) return folder
    if (folder === path.dirname(folder)) throw new Error(`no project above ${from}`)
  }
}
