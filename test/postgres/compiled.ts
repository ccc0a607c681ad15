/**
 * The compiled src, copied to where the user that runs PostgreSQL can read it: for tests that kill a process of ours. Import it before
 * fixture.ts, after which this process may no longer be able to read the checkout.
 */
import { chownSync, cpSync, mkdtempSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ordinaryUser } from '../support/as-user.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

function newest(directory: string, suffix: string): number {
  const times = readdirSync(directory)
    .filter((name) => name.endsWith(suffix))
    .map((name) => statSync(join(directory, name)).mtimeMs)
  return Math.max(0, ...times)
}

async function copyCompiled(): Promise<string> {
  const compiled = join(root, 'dist', 'src')
  // A test that runs yesterday's code proves nothing.
  const built = Math.max(
    newest(join(compiled, 'postgres'), '.js'),
    newest(join(root, 'dist'), '.tsbuildinfo'),
  )
  if (newest(join(root, 'src', 'postgres'), '.ts') > built) {
    throw new Error('src/postgres is newer than dist: run npx tsc -b first')
  }
  const target = mkdtempSync(join(tmpdir(), 'us-compiled-'))
  for (const part of ['postgres', 'protocol', 'ports', 'core', 'errors']) {
    cpSync(join(compiled, part), join(target, part), { recursive: true })
  }
  writeFileSync(join(target, 'package.json'), '{"type":"module"}')
  const user = await ordinaryUser()
  if (user !== null) {
    // So that it can be removed again.
    const below = readdirSync(target, { recursive: true, encoding: 'utf8' })
    for (const path of ['', ...below]) chownSync(join(target, path), user.uid, user.gid)
  }
  return target
}

/** To be removed by the test file. */
export const compiledDirectory = await copyCompiled()
