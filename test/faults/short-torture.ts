/**
 * A minute of torture with a fixed seed: faults drawn from chance, several at once. What it finds fails the test, with everything that it has
 * said: the schedule, where the logs are kept, and the commands that run it again. Longer: `npm run torture`.
 */
import { spawn } from 'node:child_process'
import path from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { ROOT } from '../lab/program.ts'
import { ensureBuilt } from '../support/built.ts'
import { hasDebian } from './stage.ts'

const MINUTES = '1'
/** Beyond those minutes: the start, the last round, and how long that may take to become whole again. */
const TIMEOUT_MS = 240_000
const DEAD_END_S = '60'

/** `throughProxy`: its clients keep their connections to a proxy, and hear nothing that the contract does not name. */
export function shortTorture(pg: string, seed: number, { throughProxy = false } = {}): void {
  const way = throughProxy ? ['--through-proxy'] : []
  describe.skipIf(!hasDebian)('torture (apt install postgresql-15)', () => {
    beforeAll(ensureBuilt)

    test(
      `PostgreSQL ${pg}${throughProxy ? ', through the proxy' : ''}: nothing acknowledged is lost or twice, and the cluster always becomes whole again`,
      async () => {
        const limits = ['--minutes', MINUTES, '--dead-end-s', DEAD_END_S]
        const { code, output } = await run(['--pg', pg, '--seed', String(seed), ...way, ...limits])
        expect(code, output).toBe(0)
      },
      TIMEOUT_MS,
    )
  })
}

interface Ended {
  readonly code: number | null
  readonly output: string
}

function run(flags: readonly string[]): Promise<Ended> {
  const program = path.join(ROOT, 'dist', 'torture', 'run.js')
  const child = spawn(process.execPath, [program, ...flags], { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve({ code, output }))
  })
}
