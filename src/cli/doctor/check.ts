/**
 * A check of the doctor: a thin probe that looks at the machine, and a pure judge that says what the facts mean. So every verdict
 * has a test that needs no broken machine.
 */
import type { Scene } from './scene.ts'

export interface Judgement {
  readonly status: 'ok' | 'warning' | 'failed'
  readonly message: string
  /** The command that mends it; null where there is nothing to mend. */
  readonly hint: string | null
}

export interface Finding extends Judgement {
  readonly id: string
  readonly title: string
}

export interface Check {
  readonly id: string
  readonly title: string
  examine(scene: Scene): Promise<Judgement>
}

export function check<Facts>(
  id: string,
  title: string,
  probe: (scene: Scene) => Promise<Facts> | Facts,
  judge: (facts: Facts) => Judgement,
): Check {
  return { id, title, examine: async (scene) => judge(await probe(scene)) }
}

export function fine(message: string): Judgement {
  return { status: 'ok', message, hint: null }
}

export function warning(message: string, hint: string): Judgement {
  return { status: 'warning', message, hint }
}

export function failing(message: string, hint: string): Judgement {
  return { status: 'failed', message, hint }
}

/** A probe that breaks or hangs is no reason to hide what the others found. */
const PROBE_DEADLINE_MS = 15_000

export async function runChecks(checks: readonly Check[], scene: Scene): Promise<Finding[]> {
  return Promise.all(
    checks.map(async ({ id, title, examine }) => ({ id, title, ...(await guarded(() => examine(scene))) })),
  )
}

async function guarded(examine: () => Promise<Judgement>): Promise<Judgement> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<Judgement>((resolve) => {
    const judgement = warning(`could not be checked within ${PROBE_DEADLINE_MS / 1000} s`, 'Run it again.')
    timer = setTimeout(() => resolve(judgement), PROBE_DEADLINE_MS)
  })
  try {
    return await Promise.race([examine(), late])
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    return warning(`could not be checked: ${reason}`, 'Please report it with this line.')
  } finally {
    clearTimeout(timer)
  }
}
