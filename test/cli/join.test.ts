/** `understudy join` that was interrupted: what is left of it is told before it is done. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ensureBuilt } from '../support/built.ts'
import { runCli } from '../support/cli.ts'
import { makeWorkspace } from '../support/postgres-server.ts'

const workspace = makeWorkspace('join')

beforeAll(ensureBuilt)
afterAll(workspace.remove)

// Seen to fail: it went on with the steps, the restart included.
test('--dry-run says what is left, and does none of it', async () => {
  const config = path.join(workspace.path, 'understudy.yaml')
  const nodeDirectory = path.join(workspace.path, 'node')
  const nodes = `alpha: { host: 10.0.0.1 }, bravo: { host: 10.0.0.2, directory: ${nodeDirectory} }`
  const configText = `cluster: main\nstore: { endpoints: [http://127.0.0.1:2379] }\nnodes: { ${nodes} }\n`
  writeFileSync(config, configText)
  const journalFile = path.join(workspace.path, 'existing.json')
  const journal = JSON.stringify({
    ...{ version: 1, startedAt: '2026-01-01T00:00:00.000Z', cluster: 'main', node: 'bravo', role: 'standby' },
    ...{ configText, nodeDirectory, bundleDirectory: workspace.path, done: [], undoing: false },
    ...{ server: { dataDirectory: '/srv/data', owner: { name: 'postgres', uid: 0, gid: 0 } } },
  })
  writeFileSync(journalFile, journal)
  const words = ['join', '--config', config, '--from', 'postgresql:///postgres', '--dry-run', '--json']
  const result = await runCli(words)
  expect(result).toMatchObject({ code: 0 })
  expect(JSON.parse(result.stdout)).toMatchObject({
    done: [],
    left: ['node', 'units', 'guard', 'agent', 'restart'],
  })
  expect(readFileSync(journalFile, 'utf8')).toBe(journal)
  expect(existsSync(nodeDirectory)).toBe(false)
})
