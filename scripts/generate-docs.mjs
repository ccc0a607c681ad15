/** `npm run docs`: writes the reference pages that come from the program. test/tidy/docs.test.ts says when they are out of step. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { prepare, ROOT } from './prepare.mjs'
import { renderCli, renderConfiguration, renderErrors } from './render-reference.mjs'

await prepare()
const { ERRORS } = await import('../dist/src/errors/codes.js')
const { createProgram } = await import('../dist/src/cli/program.js')
const { configKeys, jsonSchema } = await import('../dist/src/config/keys.js')

write('errors.md', renderErrors(ERRORS, readFileSync(path.join(ROOT, 'src', 'errors', 'codes.ts'), 'utf8')))
write('cli.md', renderCli(createProgram({ version: '', passthrough: [], onExit: () => {} })))
write('configuration.md', renderConfiguration(configKeys()))
write('understudy.schema.json', `${JSON.stringify(jsonSchema(), null, 2)}\n`)

function write(name, text) {
  const file = path.join(ROOT, 'docs', 'reference', name)
  mkdirSync(path.dirname(file), { recursive: true })
  writeFileSync(file, text)
  console.log(path.relative(ROOT, file))
}
