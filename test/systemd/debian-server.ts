/** Debian's packaged cluster 15/main on a machine, under its own unit, and what the tests ask of it before and after. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import type { Machine } from './machine.ts'

export const OLD_UNIT = 'postgresql@15-main.service'
export const HOME = '/srv/understudy-main'
export const CONFIG = '/etc/understudy/understudy.yaml'
export const START_FILE = '/etc/postgresql/15/main/start.conf'
export const NODE_DIRECTORY = '/var/lib/postgresql/15/understudy-main-alpha'

export function agentOf({ name }: Machine): string {
  return `understudy-main-${name}.service`
}

/** The command that takes over the server of a machine, with an etcd of its own. */
export function takeWords(machine: Machine, ...more: readonly string[]): readonly string[] {
  return [
    ...['understudy', 'init', '--from', 'postgresql:///postgres', '--dir', HOME],
    ...['--nodes', `${machine.name}=${machine.address}`, '--store-on', machine.name, ...more],
  ]
}

export async function fill(machine: Machine): Promise<void> {
  await machine.sql('CREATE TABLE item (name text)')
  await machine.sql("INSERT INTO item VALUES ('of before')")
}

/** Who serves it now, from the process list: by it, a second one would be seen as well. */
export async function servedBy(machine: Machine): Promise<'understudy' | 'debian' | 'nobody'> {
  // A postmaster is a postgres whose parent is not one; its title is its command line.
  const text = await machine.sh("ps -C postgres -o pid=,args= | grep -v ' postgres: ' || true")
  const lines = text
    .trim()
    .split('\n')
    .filter((line) => line.includes(' -D '))
  expect(lines.length, text).toBeLessThanOrEqual(1)
  const [line] = lines
  return line === undefined ? 'nobody' : line.includes('/understudy-main-') ? 'understudy' : 'debian'
}

export async function postmasterPid(machine: Machine): Promise<string> {
  return (await machine.run('head', '-1', '/var/lib/postgresql/15/main/postmaster.pid')).trim()
}

export async function until<T>(
  machine: Machine,
  what: string,
  look: () => Promise<T>,
  deadlineMs = 60_000,
): Promise<NonNullable<T>> {
  const deadline = performance.now() + deadlineMs
  let last: unknown
  for (;;) {
    try {
      const value = await look()
      if (value) return value
      last = value
    } catch (error) {
      last = error
    }
    if (performance.now() > deadline)
      throw new Error(`waited ${deadlineMs} ms in vain for ${what}: ${String(last)}\n${await machine.tell()}`)
    await sleep(100)
  }
}

export async function answers(machine: Machine): Promise<void> {
  await until(machine, 'an answer', async () => (await machine.sql('SELECT 1')) === '1')
  expect(await machine.sql("SELECT count(*) FROM item WHERE name = 'of before'")).toBe('1')
}

export interface Seen {
  readonly kind: string
  readonly at: string
  readonly details?: { readonly durationMs?: number }
}

/** What the agent has done, from its own file. */
export async function eventsOf(machine: Machine, nodeDirectory = NODE_DIRECTORY): Promise<readonly Seen[]> {
  const text = await machine.run('cat', `${nodeDirectory}/log/events.jsonl`)
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Seen)
}
