#!/usr/bin/env node
/** `understudy`: parses the command line, runs one command, prints its failure if it has one, and exits with its code. */
import { CommanderError } from 'commander'
import { EXIT, flushed, guardPipes, reportFailure } from './output.ts'
import { createProgram } from './program.ts'
import { isAnswered } from './usage.ts'
import { packageVersion } from './version.ts'

guardPipes()
const code = await run(process.argv.slice(2))
await flushed()
process.exit(code)

async function run(argv: readonly string[]): Promise<number> {
  const end = argv.indexOf('--')
  const own = end === -1 ? argv : argv.slice(0, end)
  let exitCode: number = EXIT.done
  const program = createProgram({
    version: packageVersion(),
    passthrough: end === -1 ? [] : argv.slice(end + 1),
    onExit: (code) => {
      exitCode = code
    },
  })
  try {
    await program.parseAsync(own, { from: 'user' })
    return exitCode
  } catch (thrown) {
    if (thrown instanceof CommanderError) return isAnswered(thrown) ? EXIT.done : EXIT.usage
    return reportFailure(thrown, { json: own.includes('--json') })
  }
}
