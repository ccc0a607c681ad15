/**
 * Completion scripts for bash, zsh and fish, generated from the command tree: static text, so that pressing Tab never starts
 * node, and no flag can be forgotten. Pure.
 */
import type { Command, Option } from 'commander'

export interface CompletionOption {
  readonly long: string
  readonly about: string
  /** null: a flag without a value. */
  readonly value: 'file' | 'directory' | 'word' | readonly string[] | null
}

export interface CompletionCommand {
  readonly name: string
  readonly about: string
  readonly options: readonly CompletionOption[]
  /** What its argument may be, as far as it is known without asking a cluster. */
  readonly words: readonly string[]
}

export const SHELLS = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof SHELLS)[number]

const TARGETS = ['auto', 'read-write', 'read-only'] as const
const WORDS: Readonly<Record<string, readonly string[]>> = {
  url: TARGETS,
  psql: TARGETS,
  completion: SHELLS,
}

export function completionTree(program: Command): CompletionCommand[] {
  const help = program.createHelp()
  return help
    .visibleCommands(program)
    .filter((command) => command.name() !== 'help')
    .map((command) => ({
      name: command.name(),
      about: command.description(),
      options: help.visibleOptions(command).flatMap(completionOption),
      words: WORDS[command.name()] ?? choicesOf(command),
    }))
}

function choicesOf(command: Command): readonly string[] {
  return command.registeredArguments.flatMap(({ argChoices }) => argChoices ?? [])
}

function completionOption(option: Option): CompletionOption[] {
  if (!option.long) return []
  return [{ long: option.long, about: option.description, value: valueKind(option) }]
}

function valueKind(option: Option): CompletionOption['value'] {
  if (!option.required && !option.optional) return null
  if (option.argChoices) return option.argChoices
  if (/<dir>/.test(option.flags)) return 'directory'
  return /<file>/.test(option.flags) ? 'file' : 'word'
}

export function completionScript(shell: Shell, tree: readonly CompletionCommand[]): string {
  return { bash, zsh, fish }[shell](tree)
}

function bash(tree: readonly CompletionCommand[]): string {
  const cases = tree.map(
    ({ name, options, words }) =>
      `    ${name}) words=${shellWord([...options.map((option) => option.long), ...words].join(' '))} ;;`,
  )
  return `# bash completion of understudy: source <(understudy completion bash)
_understudy() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} words=
  COMPREPLY=()
  case "\${COMP_WORDS[1]} $previous" in
${bashValues(tree).join('\n')}
  esac
  if (( COMP_CWORD == 1 )); then
    words=${shellWord(tree.map((command) => command.name).join(' '))}
  else case "\${COMP_WORDS[1]}" in
${cases.join('\n')}
  esac; fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _understudy understudy
`
}

function bashValues(tree: readonly CompletionCommand[]): string[] {
  const action = (value: NonNullable<CompletionOption['value']>): string => {
    if (value === 'file') return 'compopt -o filenames; COMPREPLY=($(compgen -f -- "$current"))'
    if (value === 'directory') return 'compopt -o filenames; COMPREPLY=($(compgen -d -- "$current"))'
    if (value === 'word') return ':'
    return `COMPREPLY=($(compgen -W ${shellWord(value.join(' '))} -- "$current"))`
  }
  return tree.flatMap((command) =>
    command.options.flatMap(({ long, value }) =>
      value === null ? [] : [`    '${command.name} ${long}') ${action(value)}; return ;;`],
    ),
  )
}

function zsh(tree: readonly CompletionCommand[]): string {
  const described = tree.map(({ name, about }) => `    ${shellWord(`${name}:${about}`)}`)
  const cases = tree.map(({ name, options, words }) => {
    const specs = options.map((option) => `      ${shellWord(zshSpec(option))}`)
    const target = words.length === 0 ? [] : [`      '1:target:(${words.join(' ')})'`]
    return `    ${name}) _arguments \\\n${[...specs, ...target].join(' \\\n')} ;;`
  })
  return `#compdef understudy
# zsh completion of understudy: source <(understudy completion zsh)
_understudy() {
  local -a commands=(
${described.join('\n')}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
${cases.join('\n')}
  esac
}
compdef _understudy understudy
`
}

function zshSpec({ long, about, value }: CompletionOption): string {
  const text = about.replace(/[[\]:\\]/g, (character) => `\\${character}`)
  if (value === null) return `${long}[${text}]`
  if (value === 'file') return `${long}[${text}]:file:_files`
  if (value === 'directory') return `${long}[${text}]:directory:_files -/`
  return `${long}[${text}]:value:${value === 'word' ? '' : `(${value.join(' ')})`}`
}

function fish(tree: readonly CompletionCommand[]): string {
  const lines = tree.flatMap(({ name, about, options, words }) => {
    const inside = `complete -c understudy -n '__fish_seen_subcommand_from ${name}'`
    return [
      `complete -c understudy -n __fish_use_subcommand -a ${name} -d ${fishWord(about)}`,
      ...options.map(
        (option) => `${inside} -l ${option.long.slice(2)}${fishValue(option)} -d ${fishWord(option.about)}`,
      ),
      ...(words.length === 0 ? [] : [`${inside} -a ${fishWord(words.join(' '))}`]),
    ]
  })
  const head =
    '# fish completion of understudy: understudy completion fish | source\ncomplete -c understudy -f'
  return `${[head, ...lines].join('\n')}\n`
}

function fishValue({ value }: CompletionOption): string {
  if (value === null) return ''
  if (value === 'file') return ' -r -F'
  if (value === 'directory') return " -x -a '(__fish_complete_directories)'"
  return value === 'word' ? ' -x' : ` -x -a ${fishWord(value.join(' '))}`
}

function shellWord(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}

function fishWord(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}
