/**
 * The files of a node that understudy gives up. They are ordinary configuration already; what is said at their heads, and what counted on an
 * agent, is not true any more. Can be done twice.
 */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Outcome } from '../ports/postgres.ts'
import { REPLICATION_FILE } from './configuration.ts'
import { readTextIfPresent, writeFileIfDifferent } from './durable.ts'
import type { NodeLayout } from './layout.ts'
import { DONE, fileFailure } from './outcome.ts'

export async function releaseFiles({ confDir }: NodeLayout): Promise<Outcome> {
  try {
    for (const name of (await readdir(confDir)).filter((each) => each.endsWith('.conf'))) {
      const file = join(confDir, name)
      const text = await readTextIfPresent(file)
      if (text !== null) await writeFileIfDifferent(file, releasedText(name, text), { durable: true })
    }
    return DONE
  } catch (error) {
    return fileFailure(error, confDir)
  }
}

/** Pure. */
export function releasedText(name: string, text: string): string {
  const yours = text.replace(
    /^# Written by understudy.*$/m,
    '# Written by understudy, which manages this server no more: the file is yours.',
  )
  // An agent had started it again after the crash of a backend; now PostgreSQL does that itself.
  return name === REPLICATION_FILE
    ? yours.replace(/^restart_after_crash = 'off'$/m, "restart_after_crash = 'on'")
    : yours
}
