/**
 * Which cluster a command means: --config FILE names a configured one, --data DIR (or UNDERSTUDY_DATA, or .understudy here) a local
 * one. A local directory that the unprivileged user could not reach holds only `location.json`, which says where its data is.
 */
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { loadConfig, type ResolvedConfig } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'

/** What `up` remembers of its flags; a later `up` with other ones is refused. */
export interface LocalSettings {
  readonly version: 1
  readonly nodes: number
  readonly portBase: number
  /** As asked for with --pg; null: what was found. */
  readonly pg: string | null
  /** What understudy.yaml names: a directory, or the major version when the embedded binaries are used. */
  readonly binaries: string
  readonly major: number
  readonly durability: 'quorum' | 'async'
  readonly rto: string
  /** The user that runs everything when `up` is started by root; null: the user who started it. */
  readonly runAs: string | null
  readonly createdAt: string
}

export interface OpenCluster {
  readonly directory: string
  readonly configFile: string
  readonly config: ResolvedConfig
  /** null for a cluster that was named by its configuration file. */
  readonly local: LocalSettings | null
}

export interface ClusterChoice {
  readonly data?: string | undefined
  readonly config?: string | undefined
}

export const CONFIG_NAME = 'understudy.yaml'
export const SETTINGS_NAME = 'local.json'
export const LOCATION_NAME = 'location.json'

/** The directory as the person named it, absolute. */
export function namedDirectory(choice: ClusterChoice): string {
  return path.resolve(choice.data ?? process.env['UNDERSTUDY_DATA'] ?? '.understudy')
}

/** Follows location.json: the directory that really holds the cluster. */
export async function realDirectory(named: string): Promise<string> {
  const text = await readText(path.join(named, LOCATION_NAME))
  if (text === null) return named
  const directory = (JSON.parse(text) as { directory?: unknown }).directory
  if (typeof directory !== 'string' || !path.isAbsolute(directory)) {
    throw new UnderstudyError('foreign-data', `${path.join(named, LOCATION_NAME)} names no directory`)
  }
  return directory
}

export async function readSettings(directory: string): Promise<LocalSettings | null> {
  const text = await readText(path.join(directory, SETTINGS_NAME))
  return text === null ? null : (JSON.parse(text) as LocalSettings)
}

/** Where the configuration is, whatever may be wrong with it. Errors: not-found. */
export async function configFileOf(choice: ClusterChoice): Promise<string> {
  if (choice.config !== undefined) return path.resolve(choice.config)
  const named = namedDirectory(choice)
  const directory = await realDirectory(named)
  const file = path.join(directory, CONFIG_NAME)
  if ((await readText(file)) === null)
    throw new UnderstudyError('not-found', `there is no cluster in ${named}`)
  return file
}

export async function openCluster(choice: ClusterChoice): Promise<OpenCluster> {
  if (choice.config !== undefined) {
    const config = await loadConfig(choice.config)
    return { directory: path.dirname(config.file), configFile: config.file, config, local: null }
  }
  const named = namedDirectory(choice)
  const directory = await realDirectory(named)
  const local = await readSettings(directory)
  if (local === null) throw new UnderstudyError('not-found', `there is no cluster in ${named}`)
  const configFile = path.join(directory, CONFIG_NAME)
  return { directory, configFile, config: await loadConfig(configFile), local }
}

async function readText(file: string): Promise<string | null> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOENT' || code === 'ENOTDIR') return null
    if (code === 'EACCES') throw new UnderstudyError('no-permission', `cannot read ${file}`)
    throw error
  }
}
