/**
 * Follows the script of `--explain` as a person would: each part in a shell of the user that it names, on the server that it names. What
 * fails says which part, and what the shell said.
 */
import { spawnSync } from 'node:child_process'
import { MARKER } from '../../src/cli/by-hand/script.ts'

export interface ScriptPart {
  readonly number: number
  readonly on: string
  readonly as: string
  readonly title: string
  readonly text: string
}

export function splitScript(script: string): readonly ScriptPart[] {
  const parts: { head: ScriptPart; lines: string[] }[] = []
  for (const line of script.split('\n')) {
    const { number, on, as, title } = MARKER.exec(line)?.groups ?? {}
    if (number !== undefined && on !== undefined && as !== undefined && title !== undefined)
      parts.push({ head: { number: Number(number), on, as, title, text: '' }, lines: [] })
    else parts.at(-1)?.lines.push(line)
  }
  return parts.map(({ head, lines }) => ({ ...head, text: `${lines.join('\n')}\n` }))
}

/** The program that runs a shell on that server as that user: its arguments are followed by the shell's. */
export type Way = (on: string, as: string) => readonly [string, ...string[]]

export interface Followed {
  readonly part: ScriptPart
  readonly output: string
}

const DEADLINE_MS = 60_000

/** What a person would paste; what it printed. Stops at the first command that fails. */
export function follow(parts: readonly ScriptPart[], way: Way, env: NodeJS.ProcessEnv): readonly Followed[] {
  return parts.map((part) => ({ part, output: inShell(part.text, way(part.on, part.as), env, part.title) }))
}

export function inShell(
  text: string,
  [program, ...before]: readonly [string, ...string[]],
  env: NodeJS.ProcessEnv,
  title: string,
): string {
  // bash, because only that can stop at a failure within a pipe; the script itself is for any shell.
  const args = [...before, 'bash', '--norc', '-eu', '-o', 'pipefail']
  const result = spawnSync(program, args, {
    input: text,
    encoding: 'utf8',
    env,
    cwd: '/',
    timeout: DEADLINE_MS,
  })
  const said = `${result.stdout}${result.stderr}`
  if (result.status !== 0)
    throw new Error(
      `${title}: ended with ${result.status ?? result.signal ?? String(result.error)}:\n${said}`,
    )
  return said
}
