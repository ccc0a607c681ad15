/** `understudy config`: is the file right, what is in effect, what follows from it, and its schema for editors. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { stringify } from 'yaml'
import { isLoopback } from '../../config/fields.ts'
import { readConfigText } from '../../config/findings.ts'
import { jsonSchema } from '../../config/keys.ts'
import { loadConfig, nodeOf, type ResolvedConfig } from '../../config/load.ts'
import { nearest } from '../../config/nearest.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { findBinaries } from '../../postgres/binaries.ts'
import { diskSize } from '../../postgres/configure.ts'
import type { ConfigAction } from '../config/actions.ts'
import { effectiveKeys, nested } from '../config/effective.ts'
import { type Explanation, explain } from '../config/explain.ts'
import { explanationLines } from '../config/explain-lines.ts'
import { readConfigFile, type Validation, validateConfig } from '../config/validate.ts'
import type { ClusterFlags } from '../flags.ts'
import { plural } from '../humanise.ts'
import { configFileOf } from '../local/open.ts'
import { colourFor, EXIT, note, print, printJson, widthOf } from '../output.ts'
import { paintFor } from '../paint.ts'
import { padEnd } from '../text.ts'

export interface ConfigOptions extends ClusterFlags {
  readonly action: ConfigAction
  /** explain: only timers, settings and keys with this in their name. */
  readonly name?: string
  readonly node?: string
  readonly json?: true
}

export async function run(options: ConfigOptions): Promise<number> {
  if (options.action === 'schema') {
    printJson(jsonSchema())
    return EXIT.done
  }
  const file = await configFileOf(options)
  if (options.action === 'validate') return validate(file, options)
  const config = await loadConfig(file)
  if (options.node !== undefined) nodeOf(config, options.node)
  return options.action === 'show' ? show(file, config, options) : showExplanation(config, options)
}

async function validate(file: string, options: ConfigOptions): Promise<number> {
  const validation = await withCache((cacheDir) => validateConfig(file, cacheDir))
  if (options.json) printJson(validation)
  else print(validationLines(validation))
  for (const each of options.json ? [] : validation.unchecked) note(`not checked: ${each}`)
  return validation.valid ? EXIT.done : EXIT.failed
}

function validationLines({ file, findings, valid }: Validation): string[] {
  const paint = paintFor(colourFor(process.stdout))
  const lines = findings.map(({ severity, line, key, message }) => {
    const word = paint(severity === 'error' ? 'red' : 'yellow', `${severity}:`)
    return `${file}:${line}: ${word} ${key === '' ? '' : `${key}: `}${message}`
  })
  const count = (severity: string): number => findings.filter((each) => each.severity === severity).length
  const counted = `${plural(count('error'), 'error')}, ${plural(count('warning'), 'warning')}`
  return [...lines, findings.length === 0 ? `${file}: valid` : `${valid ? 'valid' : 'not valid'}: ${counted}`]
}

async function show(file: string, config: ResolvedConfig, options: ConfigOptions): Promise<number> {
  const text = await readConfigFile(file)
  const all = effectiveKeys(text, config, readConfigText(text).lineOf)
  const keys = all.filter(
    ({ path: [section, name] }) => options.node === undefined || section !== 'nodes' || name === options.node,
  )
  if (options.json) {
    const origins = Object.fromEntries(
      keys.map(({ key, line }) => [key, line === null ? 'default' : `line ${line}`]),
    )
    printJson({ file, config: nested(keys), origins })
    return EXIT.done
  }
  const paint = paintFor(colourFor(process.stdout))
  const written = keys.map(({ key, value, line }) => ({
    text: `${key}: ${stringify(value, { collectionStyle: 'flow', lineWidth: 0 }).trimEnd()}`,
    origin: line === null ? 'default' : `line ${line}`,
  }))
  const column = Math.min(70, Math.max(...written.map((each) => each.text.length)))
  print([
    paint('dim', `# ${file}`),
    ...written.map(({ text: shown, origin }) => `${padEnd(shown, column)}  ${paint('dim', `# ${origin}`)}`),
  ])
  return EXIT.done
}

async function showExplanation(config: ResolvedConfig, options: ConfigOptions): Promise<number> {
  const major = await withCache(async (cacheDir) => {
    const found = await findBinaries({ request: config.postgres.binaries ?? undefined, cacheDir })
    return found.kind === 'ok' ? found.value.major : null
  })
  const disks = await disksOf(config)
  const whole = explain(config, { major: major ?? 18, diskBytes: (node) => disks.get(node.name) ?? null })
  const explanation = narrowed(whole, options)
  if (options.json) printJson(explanation)
  else
    print(
      explanationLines(explanation, {
        width: Math.min(110, widthOf(process.stdout)),
        paint: paintFor(colourFor(process.stdout)),
      }),
    )
  if (major === null && !options.json)
    note('No PostgreSQL was found on this machine: the settings are those of version 18.')
  return EXIT.done
}

/** Only the nodes of this machine have their disk here. */
async function disksOf(config: ResolvedConfig): Promise<ReadonlyMap<string, number>> {
  const here = config.nodes.filter(({ host }) => isLoopback(host))
  const sizes = await Promise.all(
    here.map(async ({ name, directory }) => [name, await diskSize(directory)] as const),
  )
  return new Map(sizes)
}

/** Errors: usage, when nothing has that name. */
function narrowed(whole: Explanation, { name, node }: ConfigOptions): Explanation {
  const ofNode = { ...whole, nodes: whole.nodes.filter((each) => node === undefined || each.node === node) }
  if (name === undefined) return ofNode
  const wanted = name.toLowerCase()
  const has = (each: { readonly name: string }): boolean => each.name.toLowerCase().includes(wanted)
  const result: Explanation = {
    ...ofNode,
    timers: ofNode.timers.filter(has),
    nodes: ofNode.nodes.map(({ groups, refused, ...each }) => ({
      ...each,
      groups: groups.flatMap((group) => {
        const settings = group.settings.filter(has)
        return settings.length === 0 ? [] : [{ ...group, settings }]
      }),
      refused: refused.filter(has),
    })),
  }
  const empty = result.nodes.every(({ groups, refused }) => groups.length + refused.length === 0)
  if (result.timers.length > 0 || !empty) return result
  const known = [
    ...whole.timers,
    ...whole.nodes.flatMap(({ groups }) => groups.flatMap(({ settings }) => settings)),
  ]
  const meant = nearest(name, [...new Set(known.map((each) => each.name))])
  throw new UnderstudyError('usage', `no timer and no setting of understudy’s is called ${name}`, {
    hint: meant === null ? '`understudy config explain` prints all of them.' : `Did you mean ${meant}?`,
  })
}

/** An embedded PostgreSQL that cannot be run where it lies is copied; looking must leave nothing behind. */
async function withCache<T>(look: (cacheDir: string) => Promise<T>): Promise<T> {
  const cacheDir = await mkdtemp(path.join(tmpdir(), 'understudy-config-'))
  try {
    return await look(cacheDir)
  } finally {
    await rm(cacheDir, { recursive: true, force: true })
  }
}
