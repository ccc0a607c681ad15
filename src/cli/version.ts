/** The version of the package, from the nearest package.json above this file (in dist/ it is further away than in src/). */
import { readFileSync } from 'node:fs'

export function packageVersion(): string {
  for (const up of ['../../package.json', '../../../package.json']) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(up, import.meta.url), 'utf8')) as {
        name?: string
        version?: string
      }
      if (name === 'pg-understudy' && version !== undefined) return version
    } catch {
      // Not there: it is one level further up.
    }
  }
  return 'unknown'
}
