/** How the person started this program, for the commands that we suggest to type next. Pure. */
import path from 'node:path'

/** "understudy" when it is on the PATH; in a clone, and under npm, it takes npx to find it. */
export function programName(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): string {
  const direct = path.basename(argv[1] ?? '') === 'understudy' && env['npm_command'] === undefined
  return direct ? 'understudy' : 'npx understudy'
}
