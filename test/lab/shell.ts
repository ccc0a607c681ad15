/** Runs a program of the system to its end: `ip`, `nft`, `mount`. What it says when it fails is in the error. */
import { spawn } from 'node:child_process'

const DEADLINE_MS = 20_000

/** Standard output. `input` goes to its standard input. Throws when it cannot be started or ends with another code than 0. */
export function run(program: string, args: readonly string[], input = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], timeout: DEADLINE_MS, env: PATHED })
    let output = ''
    let complaint = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      complaint += text
    })
    child.on('error', reject)
    child.on('close', (code, signal) => {
      if (code === 0) resolve(output)
      else
        reject(
          new Error(
            `${program} ${args.join(' ')} ended with ${code ?? signal}: ${complaint.trim() || output}`,
          ),
        )
    })
    child.stdin.on('error', () => {})
    child.stdin.end(input)
  })
}

/** True when it ended well; for what may be gone already. */
export async function attempt(program: string, args: readonly string[], input = ''): Promise<boolean> {
  return run(program, args, input).then(
    () => true,
    () => false,
  )
}

/** An ordinary user's PATH often lacks the directories of ip and nft. */
const PATHED = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`, LC_ALL: 'C' }
