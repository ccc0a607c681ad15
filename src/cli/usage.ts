/** Turns commander's complaints into ours: a code, a sentence, and a HINT that names what was most likely meant. */
import type { Command, CommanderError } from 'commander'
import { nearest } from '../config/nearest.ts'
import { UnderstudyError } from '../errors/codes.ts'

/** Not failures: help or the version was asked for and has been printed. */
const PRINTED: ReadonlySet<string> = new Set(['commander.helpDisplayed', 'commander.version'])

export function isAnswered(error: CommanderError): boolean {
  return PRINTED.has(error.code)
}

export function usageError(command: Command, error: CommanderError): UnderstudyError {
  const sentence = (error.message.split('\n')[0] ?? '').replace(/^error: /, '')
  const help = `\`${commandPath(command)} --help\` shows what it takes.`
  const meant = suggestion(command, error, quoted(sentence))
  return new UnderstudyError('usage', sentence, { hint: meant === null ? help : `${meant} ${help}` })
}

function suggestion(command: Command, error: CommanderError, word: string | null): string | null {
  if (word === null) return null
  if (error.code === 'commander.unknownCommand') return didYouMean('', word, visibleCommands(command))
  if (error.code !== 'commander.unknownOption') return null
  if (command.name() === 'psql') return "psql's own arguments go after --: understudy psql -- -c 'select 1'."
  const elsewhere = command.parent === null && (word === '--data' || word === '--config' || word === '--json')
  if (elsewhere) return `Write ${word} after the command.`
  return word.startsWith('--') ? didYouMean('--', word.slice(2), longOptions(command)) : null
}

function didYouMean(prefix: string, word: string, known: readonly string[]): string | null {
  const meant = nearest(word, known)
  return meant === null ? null : `Did you mean ${prefix}${meant}?`
}

function quoted(sentence: string): string | null {
  return /'([^'=]+)[^']*'/.exec(sentence)?.[1] ?? null
}

export function visibleCommands(command: Command): string[] {
  return command
    .createHelp()
    .visibleCommands(command)
    .map((each) => each.name())
}

/** Without the two dashes. */
export function longOptions(command: Command): string[] {
  return command
    .createHelp()
    .visibleOptions(command)
    .flatMap((option) => (option.long ? [option.long.slice(2)] : []))
}

function commandPath(command: Command): string {
  return command.parent === null ? command.name() : `${commandPath(command.parent)} ${command.name()}`
}
