/** What the programs in JavaScript share: each check prints one line, and the next one goes on whatever it says. */
import { spawn } from 'node:child_process'

/** `transaction` or `session`. */
export const MODE = process.env['UNDERSTUDY_MODE'] ?? 'transaction'
export const LARGE = 3_000_000

export async function runChecks(checks) {
  for (const [name, check] of Object.entries(checks)) {
    try {
      const note = await withDeadline(check)
      console.log(typeof note === 'string' ? `skipped ${name}: ${note}` : `ok ${name}`)
    } catch (error) {
      process.exitCode = 1
      console.log(
        `failed ${name}: ${String(error?.message ?? error)
          .replace(/\s+/g, ' ')
          .slice(0, 700)}`,
      )
    }
  }
}

function withDeadline(check) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('nothing came for 30 s')), 30_000)
  })
  return Promise.race([check(), late]).finally(() => clearTimeout(timer))
}

export function expect(actual, expected) {
  const [got, wanted] = [JSON.stringify(actual), JSON.stringify(expected)]
  if (got !== wanted) throw new Error(`got ${got?.slice(0, 200)} instead of ${wanted?.slice(0, 200)}`)
}

/** The SQLSTATE of what must fail. */
export async function stateOf(promise) {
  try {
    await promise
  } catch (error) {
    return error.code
  }
  return 'no error'
}

/** A program of PostgreSQL's; gives its output, and its code instead of failing. */
export function runProgram(program, args, { input = '', env = {}, interruptAfterMs = 0 } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { env: { ...process.env, ...env } })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8')
    child.stderr.setEncoding('utf8')
    child.stdout.on('data', (chunk) => {
      stdout += chunk
    })
    child.stderr.on('data', (chunk) => {
      stderr += chunk
    })
    child.on('error', reject)
    child.stdin.on('error', () => {})
    if (interruptAfterMs > 0) setTimeout(() => child.kill('SIGINT'), interruptAfterMs)
    child.stdin.end(input)
    child.on('close', (code) => resolve({ code, stdout, stderr }))
  })
}
