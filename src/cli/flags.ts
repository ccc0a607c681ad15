/** Flags that several commands share, and the checks that turn a flag's text into its value. */
import { type Command, InvalidArgumentError, Option } from 'commander'

export interface ClusterFlags {
  readonly data?: string
  readonly config?: string
}

/** Node names become port numbers above --port-base, and P+32 is the proxy's: a local cluster stays well below that. */
const MAX_LOCAL_NODES = 7

/** The highest offset from --port-base that a local cluster uses (the embedded store). */
const HIGHEST_PORT_OFFSET = 91

export function clusterFlags(command: Command): Command {
  return command
    .addOption(dataFlag())
    .addOption(new Option('--config <file>', 'the configuration file of a cluster').conflicts('data'))
}

export function dataFlag(): Option {
  return new Option(
    '--data <dir>',
    'the directory of the local cluster (default: $UNDERSTUDY_DATA, or .understudy here)',
  ).argParser(notEmpty)
}

export function jsonFlag(): Option {
  return new Option('--json', 'print JSON')
}

export function durabilityFlag(): Option {
  return new Option('--durability <mode>', 'whether commits wait for a standby (default: quorum)').choices([
    'quorum',
    'async',
  ])
}

export function rtoFlag(): Option {
  return new Option(
    '--rto <duration>',
    "how soon the primary's silence counts as death (default: 3s)",
  ).argParser(duration)
}

export function wholeNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN
    if (value >= least && value <= most) return value
    throw new InvalidArgumentError(`It is a whole number from ${least} to ${most}.`)
  }
}

export const nodeCount = wholeNumber(1, MAX_LOCAL_NODES)
export const portBase = wholeNumber(1, 65_535 - HIGHEST_PORT_OFFSET)
export const port = wholeNumber(1, 65_535)

export function duration(text: string): string {
  if (/^\d+(\.\d+)?(ms|s|m|h|d)$/.test(text)) return text
  throw new InvalidArgumentError('A duration is a number and ms, s, m, h or d: 3s.')
}

export function notEmpty(text: string): string {
  if (text.trim() !== '') return text
  throw new InvalidArgumentError('It is empty.')
}

/** "a,b,c"; blanks around the commas do not count. */
export function list(text: string): readonly string[] {
  const words = text.split(',').map((word) => word.trim())
  if (words.every((word) => word !== '')) return words
  throw new InvalidArgumentError('It is a list with commas between its words.')
}

/** "0/4": which of how many; the proxy itself writes it. */
export function workerPlace(text: string): { readonly worker: number; readonly workers: number } {
  const [, worker, workers] = /^(\d{1,3})\/(\d{1,3})$/.exec(text) ?? []
  if (worker !== undefined && Number(worker) < Number(workers))
    return { worker: Number(worker), workers: Number(workers) }
  throw new InvalidArgumentError('It is NUMBER/NUMBER, the first one from 0.')
}
