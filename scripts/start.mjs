/** `npm start -- ARGS`: installs what is missing, builds what is out of date (prepare.mjs), and runs `understudy up ARGS`. */
import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { MAIN, prepare, Refusal } from './prepare.mjs'

try {
  await prepare()
  process.exitCode = await runUp(process.argv.slice(2))
} catch (error) {
  if (!(error instanceof Refusal)) throw error
  console.error(`error: ${error.message}\nHINT: ${error.hint}`)
  process.exitCode = 1
}

/**
 * A Ctrl-C of the terminal goes to the whole foreground process group, so the child has it already and this process only has to
 * outlive it: npm then sees a clean end and prints no error. Without a terminal nobody else tells the child.
 */
function runUp(args) {
  const child = spawn(process.execPath, [MAIN, 'up', ...args], { stdio: 'inherit' })
  const onTerminal = process.stdin.isTTY === true
  process.on('SIGINT', () => {
    if (!onTerminal) child.kill('SIGINT')
  })
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGQUIT']) process.on(signal, () => child.kill(signal))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code, signal) => resolve(code ?? 128 + (constants.signals[signal] ?? 0)))
  })
}
