/** The error list is whole and used, and what the documentation says of names and files is so. */
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { createProgram } from '../../src/cli/program.ts'
import { configKeys, jsonSchema, type KeyInfo } from '../../src/config/keys.ts'
import { RULES } from '../../src/core/decide.ts'
import { ERRORS, type ErrorCode } from '../../src/errors/codes.ts'
import { codeFiles, expectNone, projectFiles } from './support/tree.ts'

interface Renderer {
  renderErrors(errors: typeof ERRORS, source: string): string
  renderCli(program: ReturnType<typeof createProgram>): string
  renderConfiguration(keys: readonly KeyInfo[]): string
}

const renderer = (await import(
  new URL('../../scripts/render-reference.mjs', import.meta.url).href
)) as Renderer

const CODES = Object.keys(ERRORS) as readonly ErrorCode[]

describe('the error list', () => {
  test('has a hint for every code, in whole sentences', () => {
    const found = CODES.filter((code) => !/^[A-Z`\W].{15,}[.?]$/.test(ERRORS[code].hint))
    expectNone(found, 'Say in a sentence what to do about it.')
  })

  test('holds no code that nothing uses', () => {
    const text = codeFiles('src')
      .filter(({ name }) => name !== 'src/errors/codes.ts')
      .map((file) => file.text)
      .join('\n')
    const unused = CODES.filter((code) => !text.includes(`'${code}'`) && !text.includes(`ERRORS.${code}`))
    expectNone(unused, 'Remove it from src/errors/codes.ts until something can go wrong in that way.')
  })
})

describe('the reference', () => {
  test('of errors is in step with the code', () => {
    expect(page('docs/reference/errors.md'), 'run `npm run docs`').toBe(
      renderer.renderErrors(ERRORS, page('src/errors/codes.ts')),
    )
  })

  test('of the command line is in step with the code', () => {
    const program = createProgram({ version: '', passthrough: [], onExit: () => {} })
    expect(page('docs/reference/cli.md'), 'run `npm run docs`').toBe(renderer.renderCli(program))
  })

  test('of the configuration is in step with the schema', () => {
    expect(page('docs/reference/configuration.md'), 'run `npm run docs`').toBe(
      renderer.renderConfiguration(configKeys()),
    )
  })

  test('of the configuration for editors is in step with the schema', () => {
    expect(page('docs/reference/understudy.schema.json'), 'run `npm run docs`').toBe(
      `${JSON.stringify(jsonSchema(), null, 2)}\n`,
    )
  })

  test('of the configuration says of every key what it means and when a change counts', () => {
    const found = configKeys()
      .filter(
        ({ type, description, takesEffect }) =>
          description === '' || (type !== 'section' && takesEffect === null),
      )
      .map(({ path }) => path.join('.'))
    expectNone(
      found,
      'Give the key a description and takesEffect with `documented`, as the last call (src/config/fields.ts).',
    )
  })

  test('of decisions names every rule', () => {
    const text = page('docs/concepts.md')
    const missing = RULES.map(({ id }) => id).filter((id) => !text.includes(`\`${id}\``))
    expectNone(missing, 'Describe the rule in docs/concepts.md.')
  })

  test('of the HTTP API names every path', () => {
    const source = page('src/api/server.ts') + page('src/api/controls.ts')
    const paths = [...source.matchAll(/app\.(?:get|post|delete)\('([^']+)'/g)].map((match) => match[1] ?? '')
    expect(paths.length).toBeGreaterThan(3)
    const text = page('docs/reference/http-api.md')
    expectNone(
      paths.filter((each) => !text.includes(each)),
      'Describe the path in docs/reference/http-api.md.',
    )
  })
})

describe('the documentation', () => {
  const pages = projectFiles().filter(({ name }) => name.endsWith('.md'))

  test('links to files that exist', () => {
    const known = new Set(projectFiles().flatMap(({ name }) => [name, ...foldersOf(name)]))
    const found = pages.flatMap(({ name, text }) =>
      [...text.matchAll(/\]\((?!https?:)([^)#\s]*)(?:#[^)]*)?\)/g)]
        .map((match) => match[1] ?? '')
        .filter(
          (link) =>
            link !== '' && !known.has(path.posix.join(path.posix.dirname(name), link).replace(/\/$/, '')),
        )
        .map((link) => `${name}: ${link}`),
    )
    expectNone(found, 'Correct the link.')
  })

  test('names source files that exist', () => {
    const known = new Set(projectFiles().flatMap(({ name }) => [name, ...foldersOf(name)]))
    const found = pages.flatMap(({ name, text }) =>
      [...text.matchAll(/`((?:src|test|scripts|bench|sim|torture|docs)\/[\w./-]+)`/g)]
        .map((match) => (match[1] ?? '').replace(/\/$/, ''))
        .filter((each) => !known.has(each))
        .map((each) => `${name}: ${each}`),
    )
    expectNone(found, 'Correct the path; it was moved or never made.')
  })

  test('explains every folder of src in the source map', () => {
    const map = page('ARCHITECTURE.md')
    const folders = new Set(codeFiles('src').map(({ name }) => name.split('/').slice(0, 2).join('/')))
    expectNone(
      [...folders].filter((folder) => !map.includes(`${folder}/`)),
      'Add the folder to the source map of ARCHITECTURE.md.',
    )
  })
})

function page(name: string): string {
  return projectFiles(name)[0]?.text ?? ''
}

function foldersOf(name: string): readonly string[] {
  const parts = name.split('/')
  return parts.slice(1).map((_, index) => parts.slice(0, index + 1).join('/'))
}
