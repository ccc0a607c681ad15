/** The built program, which is what tests run. */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { MAIN } from './cli.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** Tests run the built program; what was changed since is built first. `npm test` has built already. */
export function ensureBuilt(): void {
  const stamp = statSync(path.join(ROOT, 'dist', '.tsbuildinfo'), { throwIfNoEntry: false })
  if (stamp !== undefined && existsSync(MAIN) && stamp.mtimeMs > newestSource(path.join(ROOT, 'src'))) return
  const compiler = path.join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc')
  const built = spawnSync(process.execPath, [compiler, '-b', 'tsconfig.build.json'], {
    cwd: ROOT,
    encoding: 'utf8',
  })
  if (built.status !== 0) throw new Error(`the build failed:\n${built.stdout}${built.stderr}`)
}

function newestSource(directory: string): number {
  const times = readdirSync(directory, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => statSync(path.join(entry.parentPath, entry.name)).mtimeMs)
  return Math.max(...times)
}
