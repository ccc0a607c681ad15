/**
 * A new bundle for a node that runs. All of it is looked at and written beside before one rename makes it count; from then on it is taken
 * into place, now or, when this process dies on the way, by the next agent before it reads anything.
 */
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import type { BundleAnswer } from '../../api/contract.ts'
import {
  nodeOf,
  parseConfig,
  type ResolvedConfig,
  type ResolvedNode,
  resolveConfig,
} from '../../config/load.ts'
import { toUnderstudyError } from '../../errors/codes.ts'
import type { Outcome } from '../../ports/postgres.ts'
import { certificateState } from '../../postgres/certificate-state.ts'
import { fsyncDirectory } from '../../postgres/durable.ts'
import { fileError } from '../local/prepare.ts'
import { BUNDLE_NAME, parseMark, readBundleMark } from './placement.ts'

const CONFIG_NAME = 'understudy.yaml'
const PATH = /^(understudy\.yaml|bundle\.json|(tls|secrets|store)\/[A-Za-z0-9][A-Za-z0-9._-]{0,80})$/

export interface StageOptions {
  readonly config: ResolvedConfig
  readonly node: ResolvedNode
  /** Path in the bundle → content, base64. */
  readonly files: Readonly<Record<string, string>>
  readonly dryRun: boolean
}

type Failure = Extract<Outcome, { kind: 'failed' }>

/** Nothing is changed by what is refused. After `ok`, `applyStaged` takes it into place. */
export async function stageBundle({
  config,
  node,
  files,
  dryRun,
}: StageOptions): Promise<Outcome<BundleAnswer>> {
  const base = path.dirname(config.file)
  if ((await readBundleMark(config.file)) === null)
    return refused('this node was not set up with a bundle', 'Change its files where they are.')
  const contents = new Map(Object.entries(files).map(([name, text]) => [name, Buffer.from(text, 'base64')]))
  const wrong = [...contents.keys()].find((name) => !PATH.test(name))
  if (wrong !== undefined) return refused(`${JSON.stringify(wrong)} is no file of a bundle`)
  const unfit = findUnfit(config, node, contents)
  if (unfit !== null) return unfit
  const changed: string[] = []
  for (const [name, content] of contents)
    if (name !== BUNDLE_NAME && !(await readIfPresent(path.join(base, name)))?.equals(content))
      changed.push(name)
  const answer = { changed, restarts: changed.some((name) => !isOwnPair(name, node.name)) }
  if (changed.length === 0) return { kind: 'ok', value: answer }
  try {
    const part = path.join(base, 'incoming.part')
    await rm(part, { recursive: true, force: true })
    await writeAll(part, contents)
    const state = await certificateOf(part, config, node)
    if (state !== null || dryRun) await rm(part, { recursive: true, force: true })
    if (state !== null) return state
    if (dryRun) return { kind: 'ok', value: answer }
    await applyStaged(config.file)
    await rename(part, path.join(base, 'incoming'))
    await fsyncDirectory(base)
    return { kind: 'ok', value: answer }
  } catch (error) {
    const { code, message } = toUnderstudyError(fileError(error, base))
    return { kind: 'failed', code, reason: message }
  }
}

/** Does nothing when nothing waits. Can be called twice. */
export async function applyStaged(configFile: string): Promise<void> {
  const base = path.dirname(path.resolve(configFile))
  const incoming = path.join(base, 'incoming')
  const names = await readdir(incoming, { recursive: true, withFileTypes: true }).catch(() => null)
  if (names === null) return
  const files = names
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(incoming, path.join(entry.parentPath, entry.name)))
  for (const name of files) {
    await mkdir(path.dirname(path.join(base, name)), { recursive: true, mode: 0o700 })
    await rename(path.join(incoming, name), path.join(base, name))
  }
  for (const directory of new Set(files.map((name) => path.dirname(path.join(base, name)))))
    await fsyncDirectory(directory)
  await rm(incoming, { recursive: true, force: true })
}

function findUnfit(
  config: ResolvedConfig,
  node: ResolvedNode,
  contents: ReadonlyMap<string, Buffer>,
): Failure | null {
  const mark = parseMark(contents.get(BUNDLE_NAME)?.toString('utf8') ?? '')
  if (mark === null) return failure('wrong-bundle', `there is no ${BUNDLE_NAME} in it`)
  if (mark.node !== node.name || mark.cluster !== config.cluster)
    return failure(
      'wrong-bundle',
      `it is the bundle of ${mark.node} of the cluster ${mark.cluster}, not of ${node.name} of ${config.cluster}`,
    )
  try {
    const next = resolveConfig(
      parseConfig(contents.get(CONFIG_NAME)?.toString('utf8') ?? '', config.file),
      config.file,
    )
    if (next.cluster !== config.cluster)
      return failure('wrong-bundle', `its configuration is of ${next.cluster}`)
    if (nodeOf(next, node.name).directory !== node.directory)
      return refused(`the directory of ${node.name} cannot change: its data is in ${node.directory}`)
  } catch (error) {
    const { code, message } = toUnderstudyError(error)
    return failure(code, message)
  }
  return null
}

async function certificateOf(
  part: string,
  config: ResolvedConfig,
  node: ResolvedNode,
): Promise<Failure | null> {
  const inPart = (file: string): string => path.join(part, path.relative(path.dirname(config.file), file))
  const state = await certificateState(inPart(config.tls.certFile(node.name)), {
    key: inPart(config.tls.keyFile(node.name)),
    authority: inPart(config.tls.caFile),
  })
  if (state.kind === 'failed') return state
  const { value } = state
  if (value.kind === 'valid' || value.kind === 'expiring') return null
  return failure(
    'tls-failed',
    `its certificate cannot be used: ${value.kind === 'mismatch' ? value.reason : value.kind}`,
  )
}

async function writeAll(directory: string, contents: ReadonlyMap<string, Buffer>): Promise<void> {
  await mkdir(directory, { mode: 0o700 })
  for (const [name, content] of contents) {
    const file = path.join(directory, name)
    await mkdir(path.dirname(file), { recursive: true, mode: 0o700 })
    const handle = await open(file, 'wx', 0o600)
    try {
      await handle.writeFile(content)
      await handle.sync()
    } finally {
      await handle.close()
    }
  }
  for (const each of new Set([...contents.keys()].map((name) => path.dirname(path.join(directory, name)))))
    await fsyncDirectory(each)
}

/** What the API and PostgreSQL take over while they run. */
function isOwnPair(name: string, node: string): boolean {
  return name === `tls/${node}.crt` || name === `tls/${node}.key`
}

async function readIfPresent(file: string): Promise<Buffer | null> {
  return readFile(file).catch(() => null)
}

function failure(code: Failure['code'], reason: string): Failure {
  return { kind: 'failed', code, reason }
}

function refused(reason: string, hint?: string): Failure {
  return { kind: 'failed', code: 'refused', reason, ...(hint !== undefined && { hint }) }
}
