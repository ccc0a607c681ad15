/**
 * The file by which an operator gives a running server to the agent of its node (`init --from`): exactly this process, by number and start,
 * and nothing that comes later in its place.
 */
import { join } from 'node:path'
import { readTextIfPresent, removeFileDurably, writeFileAtomic } from './durable.ts'
import { startTicksOf } from './processes.ts'

export function givenFile(nodeDir: string): string {
  return join(nodeDir, 'given.json')
}

interface Given {
  readonly pid: number
  /** proc(5): with the number it names one process for as long as the machine runs. */
  readonly startTicks: string
}

export async function isGiven(nodeDir: string, pid: number): Promise<boolean> {
  const text = await readTextIfPresent(givenFile(nodeDir)).catch(() => null)
  const given = text === null ? null : parseGiven(text)
  return given?.pid === pid && given.startTicks === (await startTicksOf(pid))
}

function parseGiven(text: string): Given | null {
  try {
    const value = JSON.parse(text) as Partial<Given> | null
    return typeof value?.pid === 'number' && typeof value.startTicks === 'string' ? (value as Given) : null
  } catch {
    return null
  }
}

/** The file belongs to whoever owns the node's directory. */
export async function give(nodeDir: string, given: Given): Promise<void> {
  await writeFileAtomic(givenFile(nodeDir), `${JSON.stringify(given)}\n`, { mode: 0o644, durable: true })
}

export async function takeBack(nodeDir: string): Promise<boolean> {
  return removeFileDurably(givenFile(nodeDir))
}
