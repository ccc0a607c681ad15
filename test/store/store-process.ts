/** The process under test: the embedded store with the settings given as JSON, until SIGTERM. */
import { UnderstudyError } from '../../src/errors/codes.ts'
import type { EmbeddedStoreOptions } from '../../src/store/embedded-server.ts'
import { runStoreProcess } from '../../src/store/main.ts'

const ended = new AbortController()
process.once('SIGTERM', () => ended.abort())
try {
  await runStoreProcess(JSON.parse(process.argv[2] ?? '{}') as EmbeddedStoreOptions, ended.signal)
} catch (error) {
  process.stderr.write(`${error instanceof UnderstudyError ? error.code : 'internal'}: ${String(error)}\n`)
  process.exitCode = 1
}
