/**
 * Lets a test file that was started by root go on as the user that PostgreSQL may run as, for good: the product does the same by
 * starting itself again. vitest gives each file a process of its own (pool: forks), so nothing else is changed by it.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chooseRunAs, type SystemUser } from '../../src/postgres/run-as.ts'

/** The user that `becomeOrdinaryUser` would become, or null when this process is an ordinary user already. */
export async function ordinaryUser(): Promise<SystemUser | null> {
  const chosen = await chooseRunAs({ checkout: process.cwd() })
  if (chosen.kind === 'failed') throw new Error(chosen.reason)
  return chosen.value
}

/** Call it when everything is imported: the checkout may lie where that user cannot read. */
export async function becomeOrdinaryUser(): Promise<void> {
  const user = await ordinaryUser()
  if (user === null) return
  process.setgroups?.([user.gid])
  process.setgid?.(user.gid)
  process.setuid?.(user.uid)
  process.env['HOME'] = '/'
  process.env['USER'] = user.name
}

/** A short path, since sockets go there; made after `becomeOrdinaryUser`, so that it belongs to that user. */
export function makeWorkspace(label: string): { readonly path: string; readonly remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), `us-${label}-`))
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}
