/** The files of the project as they lie here: read once, without git, so that the same holds for a file that is not committed yet. */
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('../../..', import.meta.url))

/** What .gitignore leaves out, and git itself. */
const LEFT_OUT = new Set(['node_modules', 'dist', '.git', '.understudy', 'coverage'])

export interface ProjectFile {
  /** From the root, with slashes. */
  readonly name: string
  readonly text: string
}

/** Files below the folders (or files of these names), in a stable order. */
export function projectFiles(...places: readonly string[]): readonly ProjectFile[] {
  const names = namesBelow('')
  const wanted = (name: string): boolean =>
    places.some((place) => name === place || name.startsWith(`${place}/`))
  return names
    .filter((name) => places.length === 0 || wanted(name))
    .map((name) => ({ name, text: readFileSync(path.join(ROOT, name), 'utf8') }))
}

/** TypeScript of src, test, bench, sim and torture, and the scripts. */
export function codeFiles(...places: readonly string[]): readonly ProjectFile[] {
  const folders = places.length === 0 ? ['src', 'test', 'bench', 'sim', 'torture', 'scripts'] : places
  return projectFiles(...folders).filter(({ name }) => /\.(ts|mjs)$/.test(name))
}

function namesBelow(folder: string): string[] {
  return readdirSync(path.join(ROOT, folder), { withFileTypes: true })
    .filter((entry) => !LEFT_OUT.has(entry.name) && !/\.(tsbuildinfo|tgz)$/.test(entry.name))
    .flatMap((entry) => {
      const name = folder === '' ? entry.name : `${folder}/${entry.name}`
      if (entry.isDirectory()) return namesBelow(name)
      return entry.isFile() ? [name] : []
    })
    .sort()
}

/** One line per finding, each of which says what to do; fails with all of them at once. */
export function expectNone(findings: readonly string[], advice: string): void {
  if (findings.length === 0) return
  throw new Error(
    `${findings.length} to correct. ${advice}\n${findings.map((line) => `  ${line}`).join('\n')}`,
  )
}
