/** How a command is declared: its name, what it is for, an example, and our own words for wrong usage. */
import { type Command, type CommanderError, Option } from 'commander'
import { usageError } from './usage.ts'

export interface ProgramOptions {
  readonly version: string
  /** What came after `--`: belongs to the program that a command starts (psql). */
  readonly passthrough: readonly string[]
  /** Called once with the exit code of the command that ran. */
  readonly onExit: (code: number) => void
}

/** Commander leaves out a switch that was not given, and would print a default of false in the help. */
export interface JsonFlag {
  readonly json?: true
}

/** Commander would print and exit by itself; its errors are ours to print, and each names the command that it is about. */
export function raiseUsageErrors(command: Command): void {
  command.exitOverride((error: CommanderError) => {
    throw error.exitCode === 0 || error.code === 'commander.help' ? error : usageError(command, error)
  })
}

export function declare(
  program: Command,
  name: string,
  about: string,
  sample: string,
  hidden = false,
): Command {
  const command = program.command(name, { hidden }).description(about)
  raiseUsageErrors(command)
  return command.helpOption('-h, --help', 'show this help').addHelpText('after', example(sample))
}

export function example(line: string): string {
  return `\nExample:\n  ${line}`
}

export function dryRunFlag(): Option {
  return new Option('--dry-run', 'only say whether it could begin, and what is in the way')
}

export function yesFlag(): Option {
  return new Option('--yes', 'do not ask')
}
