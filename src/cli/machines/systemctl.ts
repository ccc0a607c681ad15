/** systemd on this machine: whether it runs, and its command. */
import { existsSync } from 'node:fs'
import { UnderstudyError } from '../../errors/codes.ts'
import { type CommandResult, runCommand } from '../../postgres/command.ts'

export const UNIT_DIRECTORY = '/etc/systemd/system'
/** A start waits for READY, which needs no PostgreSQL; a stop for PostgreSQL's stop in order (the unit's TimeoutStopSec). */
const DEADLINE_MS = 180_000

/** sd_booted(3); and only root changes units. */
export function hasSystemd(): boolean {
  return existsSync('/run/systemd/system') && process.getuid?.() === 0
}

/** Errors: refused. */
export async function systemctl(...args: readonly string[]): Promise<void> {
  const result = await ask(args)
  if (result.kind === 'exited' && result.exitCode === 0) return
  const said = result.kind === 'exited' ? result.stderr.trim() : result.kind
  throw new UnderstudyError('refused', `systemctl ${args.join(' ')} failed: ${said}`, {
    hint: 'Run it by hand; `journalctl -xe` says more.',
  })
}

/** A property of a unit; '' when it has none, or nobody can say. */
export async function unitProperty(unit: string, property: string): Promise<string> {
  const result = await ask(['show', '--property', property, '--value', unit])
  return result.kind === 'exited' && result.exitCode === 0 ? result.stdout.trim() : ''
}

function ask(args: readonly string[]): Promise<CommandResult> {
  return runCommand('systemctl', args, {
    env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin', LC_ALL: 'C' },
    deadlineMs: DEADLINE_MS,
  })
}
