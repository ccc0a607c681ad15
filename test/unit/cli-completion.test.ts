/** Completion scripts come from the command tree, so no command or flag can be missing from them. */
import { describe, expect, it } from 'vitest'
import { completionScript, completionTree, SHELLS } from '../../src/cli/completion.ts'
import { createProgram } from '../../src/cli/program.ts'

const program = createProgram({ version: '0', passthrough: [], onExit: () => {} })
const tree = completionTree(program)

describe('the tree', () => {
  it('has every visible command with its flags, and what their values are', () => {
    expect(tree.map(({ name }) => name)).toEqual(
      expect.arrayContaining([
        'up',
        'down',
        'status',
        'url',
        'psql',
        'why',
        'events',
        'doctor',
        'completion',
      ]),
    )
    expect(tree.map(({ name }) => name)).not.toContain('store')
    const up = Object.fromEntries(
      (tree.find(({ name }) => name === 'up')?.options ?? []).map((o) => [o.long, o.value]),
    )
    expect(up).toMatchObject({
      '--durability': ['quorum', 'async'],
      '--data': 'directory',
      '--nodes': 'word',
      '--detach': null,
      '--help': null,
    })
    const status = tree.find(({ name }) => name === 'status')
    expect(status?.options.find(({ long }) => long === '--config')?.value).toBe('file')
  })
})

describe.each(SHELLS)('the script of %s', (shell) => {
  const script = completionScript(shell, tree)

  it('mentions every command and every flag', () => {
    for (const { name, options } of tree) {
      expect(script).toContain(name)
      for (const { long } of options)
        expect(script).toContain(shell === 'fish' ? `-l ${long.slice(2)}` : long)
    }
  })

  it('quotes descriptions', () => {
    const [first] = tree
    if (first === undefined) throw new Error('empty tree')
    const nasty = completionScript(shell, [{ ...first, about: "it's $(rm -rf /) `x`", words: [] }])
    expect(nasty).not.toMatch(/"[^"]*\$\(rm/)
    if (shell !== 'bash') expect(nasty).toMatch(/'[^']*it('\\''|\\')s \$\(rm/)
  })
})
