/** On a real terminal (a pseudo-terminal made by script(1)): what is redrawn, and that the terminal is given back as it was. */
import { spawn, spawnSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type CliResult, cliEnvironment, collect, MAIN } from '../support/cli.ts'
import { type FakeCluster, startFakeCluster } from '../support/fake-cluster.ts'

const SHOW_CURSOR = '\u001b[?25h'
const HIDE_CURSOR = '\u001b[?25l'
const FIRST_SCREEN = '\u001b[?1049l'
const hasScript = spawnSync('script', ['--version']).status === 0

let cluster: FakeCluster
beforeEach(async () => {
  cluster = await startFakeCluster()
})
afterEach(() => cluster.stop())

/** Types `keys` when `when` was printed; the exit code is the program's. */
function onTerminal(
  command: string,
  typing?: { readonly when: string; readonly keys: string },
): Promise<CliResult> {
  const child = spawn('script', ['-qec', `stty cols 90 rows 24; ${command}`, '/dev/null'], {
    env: cliEnvironment({ TERM: 'xterm-256color' }),
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  let text = ''
  child.stdout.on('data', (chunk: string) => {
    const before = text
    text += chunk
    if (typing !== undefined && text.includes(typing.when) && !before.includes(typing.when))
      child.stdin.write(typing.keys)
  })
  return collect(child)
}

const quoted = (text: string): string => `'${text}'`

describe.skipIf(!hasScript)('status --watch (needs script: apt install bsdutils)', () => {
  it.each([
    ['q', 'q'],
    ['Ctrl-C', '\u0003'],
  ])('redraws in place until %s, and leaves the last board behind', async (_name, keys) => {
    const command = `node ${quoted(MAIN)} status --watch --data ${quoted(cluster.directory)}`
    const { code, stdout } = await onTerminal(command, { when: 'q leaves\u001b[K\u001b[J\u001b[H', keys })
    expect(code).toBe(0)
    const [second = '', first = ''] = stdout.split(FIRST_SCREEN)
    expect(second).toContain('\u001b[?1049h')
    expect(second).toContain('Healthy.')
    expect(first).toMatch(new RegExp(`^${SHOW_CURSOR.replace(/[[?]/g, '\\$&')}`))
    expect(first).toContain('Healthy.')
  })
})

describe.skipIf(!hasScript)('the live view (needs script: apt install bsdutils)', () => {
  const program = async (ending: string): Promise<string> => {
    const steps = path.join(path.dirname(MAIN), 'steps.js')
    const file = path.join(cluster.directory, 'view.mjs')
    const lines = [
      `import { createStepView } from ${JSON.stringify(steps)}`,
      'const view = createStepView({ stream: process.stderr })',
      "view.step('a', 'alpha starts')",
      'setInterval(() => {}, 1000)',
      `setTimeout(() => { ${ending} }, 350)`,
    ]
    await writeFile(file, lines.join('\n'))
    return `node ${quoted(file)}`
  }

  it('draws each frame over the one before', async () => {
    const { stdout, code } = await onTerminal(await program("view.done('a'); view.close(); process.exit(0)"))
    expect(code).toBe(0)
    expect(stdout.split('\u001b[1A\r').length).toBeGreaterThan(2)
    expect(stdout.indexOf(HIDE_CURSOR)).toBeLessThan(stdout.indexOf('alpha starts'))
    expect(stdout.trimEnd().endsWith(SHOW_CURSOR)).toBe(true)
  })

  it.each([
    ['an exception', "throw new Error('boom')", undefined, 1],
    ['an exit', 'process.exit(7)', undefined, 7],
    ['Ctrl-C', '', { when: 'alpha starts', keys: '\u0003' }, 130],
  ] as const)('gives the cursor back after %s', async (_what, ending, typing, expected) => {
    const { stdout, code } = await onTerminal(await program(ending), typing)
    expect(code).toBe(expected)
    expect(stdout.lastIndexOf(SHOW_CURSOR)).toBeGreaterThan(stdout.lastIndexOf(HIDE_CURSOR))
    expect(stdout).toContain(HIDE_CURSOR)
  })
})
