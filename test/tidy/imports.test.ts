/** Who may import whom (ARCHITECTURE.md, "Import directions"), no cycles, no barrels, no default exports. */
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { codeFiles, expectNone, type ProjectFile } from './support/tree.ts'

/**
 * What the files of a folder of src may import: other folders (or single files) of src, and packages, `node:` ones included. The own
 * folder is always allowed.
 */
const MAY_IMPORT: Readonly<
  Record<string, { readonly folders: readonly string[]; readonly packages: RegExp }>
> = {
  errors: { folders: [], packages: /^$/ },
  // No node: imports, no clock, no randomness: the same view gives the same decision. Of errors, only the list itself.
  core: { folders: ['errors'], packages: /^$/ },
  // Bytes in, messages out; hashing is the one thing of Node that it needs.
  protocol: { folders: ['core', 'errors'], packages: /^node:crypto$/ },
  ports: { folders: ['core', 'errors'], packages: /^$/ },
  config: { folders: ['errors'], packages: /./ },
  store: { folders: ['ports', 'core', 'protocol', 'errors'], packages: /./ },
  postgres: { folders: ['ports', 'core', 'protocol', 'errors'], packages: /./ },
  replication: { folders: ['ports', 'core', 'protocol', 'errors'], packages: /./ },
  archive: { folders: ['ports', 'core', 'protocol', 'errors'], packages: /./ },
  api: { folders: ['core', 'ports', 'protocol', 'errors', 'config'], packages: /./ },
  agent: { folders: ['core', 'ports', 'protocol', 'errors', 'config', 'api/contract.ts'], packages: /./ },
  proxy: { folders: ['core', 'ports', 'protocol', 'errors', 'config', 'api/contract.ts'], packages: /./ },
}

/** Joins the shells with the adapters, and is imported by nobody. */
const COMPOSITION_ROOT = 'cli'

/** The only values that core takes from errors; everything else of that file is for the outermost shell. */
const ERRORS_FOR_CORE = new Set(['ErrorCode', 'ERRORS'])

interface Import {
  readonly from: ProjectFile
  readonly line: number
  /** As written. */
  readonly specifier: string
  /** A file of ours, from the root; null for a package. */
  readonly target: string | null
  readonly names: readonly string[]
  readonly typesOnly: boolean
}

const IMPORT =
  /^(?:import|export)\s+(type\s+)?(\*(?: as \w+)?|[\w$]+|(?:[\w$]+,\s*)?\{[^}]*\})\s*from\s*'([^']+)'|^import '([^']+)'|\bimport\('([^']+)'\)/gm

function importsOf(file: ProjectFile): readonly Import[] {
  return [...file.text.matchAll(IMPORT)].map((match) => {
    const specifier = match[3] ?? match[4] ?? match[5] ?? ''
    const names = [...(match[2] ?? '').matchAll(/(type\s+)?([\w$]+)(?:\s+as\s+[\w$]+)?/g)]
    return {
      from: file,
      line: file.text.slice(0, match.index).split('\n').length,
      specifier,
      target: specifier.startsWith('.') ? path.posix.join(path.posix.dirname(file.name), specifier) : null,
      names: names.map((name) => name[2] ?? ''),
      typesOnly: match[1] !== undefined || (names.length > 0 && names.every((name) => name[1] !== undefined)),
    }
  })
}

const sources = codeFiles('src')
const imports = sources.flatMap(importsOf)

function folderOf(name: string): string {
  return name.split('/')[1] ?? ''
}

describe('imports', () => {
  test('are found at all', () => {
    expect(imports.length).toBeGreaterThan(200)
    expect(imports.some(({ target }) => target === 'src/core/lsn.ts')).toBe(true)
    expect(imports.some(({ specifier }) => specifier === 'node:path')).toBe(true)
  })

  test('go in the allowed direction', () => {
    expectNone(
      imports.flatMap(wrongDirection),
      'Turn the dependency round, or move the code to the folder that may have it.',
    )
  })

  test('of the core take only the error list from errors', () => {
    const found = imports
      .filter(
        ({ from, target }) => folderOf(from.name) === 'core' && target?.startsWith('src/errors/') === true,
      )
      .flatMap(({ from, line, names }) =>
        names
          .filter((name) => name !== 'type' && !ERRORS_FOR_CORE.has(name))
          .map((name) => `${from.name}:${line} imports ${name}`),
      )
    expectNone(found, 'In core an expected failure is a value; exceptions belong to the outermost shell.')
  })

  test('of the ports are types only', () => {
    const found = imports
      .filter(({ from, typesOnly }) => folderOf(from.name) === 'ports' && !typesOnly)
      .map(({ from, line, specifier }) => `${from.name}:${line} imports a value from ${specifier}`)
    expectNone(
      found,
      'A port says what is needed; use `import type`, and move code to an adapter or to core.',
    )
  })

  test('have no cycle', () => {
    const cycle = findCycle(imports.filter(({ target }) => target !== null))
    expectNone(cycle === null ? [] : [cycle.join(' -> ')], 'Move what both need into a file of its own.')
  })

  test('name their file with its suffix', () => {
    const known = new Set(sources.map(({ name }) => name))
    const found = imports
      .filter(({ target }) => target !== null && !known.has(target) && target !== 'package.json')
      .map(({ from, line, specifier }) => `${from.name}:${line} imports ${specifier}, which does not exist`)
    expectNone(found, 'Write the path of the .ts file itself.')
  })
})

describe('exports', () => {
  test('are named', () => {
    const found = codeFiles()
      .filter(({ text }) => /^export default\b|^export \{[^}]*\bas default\b/m.test(text))
      .map(({ name }) => name)
    expectNone(found, 'Export it by its name: then it has the same name everywhere.')
  })

  test('go through no barrel', () => {
    const barrels = sources
      .filter(({ name, text }) => path.posix.basename(name) === 'index.ts' || isBarrel(text))
      .map(({ name }) => name)
    expectNone(
      barrels,
      'Import from the file that has it; files that only re-export hide who depends on whom.',
    )
  })
})

/** Nothing but re-exports. A port that repeats a few type names of the core for its adapters has something of its own as well. */
function isBarrel(text: string): boolean {
  const exports = text.match(/^export\b.*$/gm) ?? []
  return exports.length > 0 && exports.every((line) => /^export (type )?(\*|\{)/.test(line))
}

function wrongDirection({ from, line, specifier, target }: Import): string[] {
  const folder = folderOf(from.name)
  if (folder === COMPOSITION_ROOT) return []
  const allowed = MAY_IMPORT[folder]
  if (allowed === undefined) return [`${from.name}: src/${folder}/ is not in this test's table: add it`]
  const where = `${from.name}:${line}`
  if (target === null) {
    const isFine = allowed.packages.test(specifier)
    return isFine ? [] : [`${where} imports the package ${specifier}, which src/${folder}/ may not`]
  }
  if (target === 'package.json' || folderOf(target) === folder) return []
  const isFine = allowed.folders.some(
    (place) => target === `src/${place}` || target.startsWith(`src/${place}/`),
  )
  return isFine
    ? []
    : [`${where} imports ${target}, and src/${folder}/ may only import ${allowed.folders.join(', ')}`]
}

/** The files of one cycle, first and last the same; null when there is none. */
function findCycle(edges: readonly Import[]): readonly string[] | null {
  const targets = new Map<string, string[]>()
  for (const { from, target } of edges) {
    if (target !== null) targets.set(from.name, [...(targets.get(from.name) ?? []), target])
  }
  const done = new Set<string>()
  const visit = (name: string, trail: readonly string[]): readonly string[] | null => {
    const at = trail.indexOf(name)
    if (at !== -1) return [...trail.slice(at), name]
    if (done.has(name)) return null
    for (const next of targets.get(name) ?? []) {
      const cycle = visit(next, [...trail, name])
      if (cycle !== null) return cycle
    }
    done.add(name)
    return null
  }
  for (const name of targets.keys()) {
    const cycle = visit(name, [])
    if (cycle !== null) return cycle
  }
  return null
}
