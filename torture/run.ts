/**
 * `npm run torture`: a cluster of real PostgreSQL in a laboratory, clients that write, faults drawn from a seed, and after each round a
 * proof that nothing that was acknowledged is lost. Exit code 1: something is wrong; the seed, the schedule and all logs are kept.
 */
import { Lab } from '../test/lab/lab.ts'
import { CLIENTS } from '../test/lab/network.ts'
import { readOptions, type TortureOptions, USAGE } from './options.ts'
import { Torture } from './torture.ts'

const interrupted = new AbortController()

try {
  const options = readOptions(process.argv.slice(2))
  if (options === 'help') console.log(USAGE)
  else process.exitCode = (await runTorture(options)) ? 0 : 1
} catch (error) {
  console.error(error instanceof Error ? (error.stack ?? error.message) : String(error))
  process.exitCode = 1
}

async function runTorture(options: TortureOptions): Promise<boolean> {
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => interrupted.abort())
  const lab = await Lab.start(options.lab)
  try {
    const well = await new Torture(lab, options, interrupted.signal).run()
    if (options.keep) await keepRunning(lab)
    return well
  } finally {
    await lab.close()
  }
}

async function keepRunning(lab: Lab): Promise<void> {
  console.log(`it goes on: understudy status --config ${lab.files.configFile(CLIENTS)}; Ctrl-C ends it`)
  while (!interrupted.signal.aborted) await new Promise((resolve) => setTimeout(resolve, 200))
}
