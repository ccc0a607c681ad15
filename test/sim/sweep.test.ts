/**
 * Many random lives of a cluster, with the real decision: 2,000 seeds over 3 and 5 nodes, quorum and async, more than 500 simulated hours.
 * A seed that violates an invariant is printed with the command that replays it (`npm run sim`).
 */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const PROGRAM = fileURLToPath(new URL('../../dist/sim/run.js', import.meta.url))
const SEEDS = 2_000
/** Two cores need about three minutes; a machine that has other work, too, is waited for. */
const PATIENCE_MS = 15 * 60_000

function run(args: readonly string[]): Promise<{ readonly code: number | null; readonly output: string }> {
  const child = spawn(process.execPath, [PROGRAM, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve({ code, output }))
  })
}

it(
  `no invariant is violated and no dead end reached in ${SEEDS} seeds`,
  async () => {
    const { code, output } = await run(['--sweep', '--count', String(SEEDS)])
    const told = output.split('\n').filter((line) => /^(seed| {2}npm run|clean|NOT CLEAN)/.test(line))
    console.log(told.join('\n'))
    expect(code, told.join('\n')).toBe(0)
    const hours = Number(/([\d.]+) simulated hours/.exec(told.at(-1) ?? '')?.[1])
    expect(hours).toBeGreaterThan(500)
  },
  PATIENCE_MS,
)
