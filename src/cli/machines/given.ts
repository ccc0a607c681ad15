/** What `understudy init` was asked for, and the files that were named for the store. */
import { readFile } from 'node:fs/promises'
import { UnderstudyError } from '../../errors/codes.ts'
import type { BundleFormat } from './bundle.ts'
import type { InitFlags } from './plan.ts'

export interface InitOptions extends InitFlags {
  readonly dir?: string
  readonly storeCa?: string
  readonly storeCert?: string
  readonly storeKey?: string
  readonly storePasswordFile?: string
  /** Who shall own a bundle's files when root unpacks it. */
  readonly owner?: string
  readonly format: BundleFormat
  /** A server that runs already: the cluster begins with it. */
  readonly from?: string
  /** With --from: this machine's node; left out: the first. */
  readonly node?: string
  /** With --from: where this node's bundle goes. */
  readonly bundleDirectory?: string
  readonly endArchiving?: true
  readonly undo?: true
  readonly yes?: true
  readonly dryRun?: true
  readonly json?: true
}

/** Name in store/ → content. Errors: usage, not-found, no-permission. */
export async function readGiven(options: InitOptions): Promise<ReadonlyMap<string, string>> {
  const { storeCa, storeCert, storeKey, storePasswordFile, storeUser, storeOn, store } = options
  const clash = (message: string, hint: string): never => {
    throw new UnderstudyError('usage', message, { hint })
  }
  if (store !== undefined && storeOn !== undefined)
    clash(
      '--store and --store-on exclude each other',
      'The store is either there already, or set up on nodes.',
    )
  if ((storeCert === undefined) !== (storeKey === undefined))
    clash('--store-cert and --store-key belong together', 'Give both, or neither.')
  if ((storeUser === undefined) !== (storePasswordFile === undefined))
    clash('--store-user and --store-password-file belong together', 'Give both, or neither.')
  const files = {
    'ca.crt': storeCa,
    'client.crt': storeCert,
    'client.key': storeKey,
    password: storePasswordFile,
  }
  const given = Object.entries(files).filter((entry): entry is [string, string] => entry[1] !== undefined)
  if (storeOn !== undefined && given.length > 0)
    clash(
      '--store-on makes its own certificates',
      'Leave out --store-ca, --store-cert, --store-key and --store-password-file.',
    )
  return new Map(
    await Promise.all(given.map(async ([name, file]) => [name, await readFileGiven(file)] as const)),
  )
}

async function readFileGiven(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOENT')
      throw new UnderstudyError('not-found', `there is no file ${file}`, { hint: 'Name a file that exists.' })
    throw new UnderstudyError('no-permission', `cannot read ${file}`)
  }
}
