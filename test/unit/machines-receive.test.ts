/** A bundle that comes to a node that runs: all of it or nothing, and only what is for that node. */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { withNode, withoutNode } from '../../src/cli/machines/edit.ts'
import { applyStaged, type StageOptions, stageBundle } from '../../src/cli/machines/receive.ts'
import { loadConfig, nodeOf } from '../../src/config/load.ts'
import { issueCertificate, makeCa } from '../support/certificates.ts'

const place = mkdtempSync(path.join(tmpdir(), 'understudy-receive-'))
const base = path.join(place, 'bundle')
const configFile = path.join(base, 'understudy.yaml')
afterAll(() => rmSync(place, { recursive: true, force: true }))

const CONFIG = `store: { endpoints: [https://10.0.0.9:2379] }
rto: 3s
nodes:
  alpha: { host: 10.0.0.1 } # the old one
  bravo: { host: 10.0.0.2 }
`
const mark = (node: string, cluster = 'main'): string =>
  JSON.stringify({ version: 1, cluster, node, createdAt: new Date().toISOString() })

let files: Record<string, string>
beforeAll(() => {
  const ca = makeCa(path.join(place, 'ca'))
  const { certificateFile, keyFile } = issueCertificate(ca, 'alpha', { names: ['IP:10.0.0.1'] })
  files = {
    'bundle.json': mark('alpha'),
    'understudy.yaml': CONFIG,
    'secrets/agent': 'one\n',
    'tls/ca.crt': ca.caPem,
    'tls/alpha.crt': readFileSync(certificateFile, 'utf8'),
    'tls/alpha.key': readFileSync(keyFile, 'utf8'),
  }
})

beforeEach(() => {
  rmSync(base, { recursive: true, force: true })
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(base, name)), { recursive: true })
    writeFileSync(path.join(base, name), text)
  }
})

async function stage(
  changes: Readonly<Record<string, string>>,
  dryRun = false,
): ReturnType<typeof stageBundle> {
  const config = await loadConfig(configFile)
  const all = Object.entries({ ...files, ...changes })
  const options: StageOptions = {
    ...{ config, node: nodeOf(config, 'alpha'), dryRun },
    files: Object.fromEntries(all.map(([name, text]) => [name, Buffer.from(text).toString('base64')])),
  }
  return stageBundle(options)
}

const content = (name: string): string => readFileSync(path.join(base, name), 'utf8')

describe('a bundle for a node that runs', () => {
  test('counts as a whole, and says whether the agent has to start anew', async () => {
    expect(await stage({})).toEqual({ kind: 'ok', value: { changed: [], restarts: false } })
    const changes = { 'understudy.yaml': CONFIG.replace('3s', '2s'), 'secrets/agent': 'two\n' }
    const staged = await stage(changes)
    expect(staged).toEqual({ kind: 'ok', value: { changed: Object.keys(changes), restarts: true } })
    expect(content('secrets/agent')).toBe('one\n')
    await applyStaged(configFile)
    await applyStaged(configFile)
    expect(content('secrets/agent')).toBe('two\n')
    expect(content('understudy.yaml')).toContain('2s')
    expect(readdirSync(base).filter((name) => name.startsWith('incoming'))).toEqual([])
  })

  test('is completed by the next agent when this one died in the middle of taking it', async () => {
    await stage({ 'secrets/agent': 'two\n', 'secrets/api-token': 'three\n' })
    renameSync(path.join(base, 'incoming/secrets/agent'), path.join(base, 'secrets/agent'))
    await applyStaged(configFile)
    expect([content('secrets/agent'), content('secrets/api-token')]).toEqual(['two\n', 'three\n'])
  })

  test('is only looked at for a dry run', async () => {
    expect(await stage({ 'secrets/agent': 'two\n' }, true)).toMatchObject({ value: { restarts: true } })
    await applyStaged(configFile)
    expect(content('secrets/agent')).toBe('one\n')
  })

  test.each<readonly [string, Record<string, string>, string]>([
    ['another node’s', { 'bundle.json': mark('bravo') }, 'wrong-bundle'],
    ['another cluster’s', { 'bundle.json': mark('alpha', 'other') }, 'wrong-bundle'],
    ['without this node', { 'understudy.yaml': CONFIG.replace(/^ {2}alpha.*\n/m, '') }, 'unknown-node'],
    ['with a misspelt key', { 'understudy.yaml': `rtto: 3s\n${CONFIG}` }, 'config-invalid'],
    [
      'with another directory',
      { 'understudy.yaml': CONFIG.replace('10.0.0.1 }', '10.0.0.1, directory: /x }') },
      'refused',
    ],
    ['with a file elsewhere', { '../../etc/passwd': 'x' }, 'refused'],
    ['with a hidden file', { 'tls/.netrc': 'x' }, 'refused'],
    ['with half a certificate', { 'tls/alpha.crt': 'no certificate' }, 'tls-failed'],
  ])('%s is refused, and nothing is changed', async (_, changes, code) => {
    expect(await stage(changes)).toMatchObject({ kind: 'failed', code })
    await applyStaged(configFile)
    for (const [name, text] of Object.entries(files)) expect(content(name)).toBe(text)
    expect(readdirSync(base).filter((name) => name.startsWith('incoming'))).toEqual([])
  })

  test('is refused where no bundle was unpacked', async () => {
    unlinkSync(path.join(base, 'bundle.json'))
    expect(await stage({ 'secrets/agent': 'two\n' })).toMatchObject({ kind: 'failed', code: 'refused' })
  })
})

describe('understudy.yaml after `add` and `remove`', () => {
  test('has what a person wrote around it', () => {
    const added = withNode(CONFIG, { name: 'charlie', host: 'fd00::3', port: 5433, apiPort: undefined })
    expect(added).toContain('# the old one')
    expect(added).toMatch(/charlie:\n {4}host: fd00::3\n {4}port: 5433\n/)
    expect(withoutNode(added, 'charlie')).toBe(withoutNode(CONFIG, 'charlie'))
    expect(withoutNode(added, 'bravo')).not.toContain('10.0.0.2')
  })
})
