/** Changing a running cluster asks first on a terminal, and wants --yes where nobody can be asked. */
import { createInterface } from 'node:readline/promises'
import { UnderstudyError } from '../errors/codes.ts'

/** Errors: usage, when there is no terminal and no --yes. */
export async function confirm(question: string, yes: boolean): Promise<boolean> {
  if (yes) return true
  if (process.stdin.isTTY !== true || process.stderr.isTTY !== true) {
    throw new UnderstudyError('usage', `${question} Nobody can be asked here.`, { hint: 'Say --yes.' })
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    const answer = await terminal.question(`${question} [y/N] `)
    return /^y(es)?$/i.test(answer.trim())
  } finally {
    terminal.close()
  }
}
