/** `understudy proxy`: one address for clients, in the foreground. SIGTERM lets transactions end, then the sessions. */
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { loadConfig, type ResolvedConfig } from '../../config/load.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { findUser } from '../../postgres/run-as.ts'
import { composeProxy } from '../compose-proxy.ts'
import { isRoot, runAs } from '../local/privileges.ts'
import { EXIT } from '../output.ts'

export interface ProxyFlags {
  readonly config: string
}

const DRAIN_MS = 5_000

export async function run(flags: ProxyFlags): Promise<number> {
  const config = await loadConfig(flags.config)
  if (isRoot()) return runAsOwner(config, flags)
  const composed = await composeProxy(config)
  const ended = new Promise<void>((resolve) => {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => resolve())
  })
  // The terminal went away: the proxy belongs to its supervisor, not to a terminal.
  process.on('SIGHUP', () => {})
  await composed.start()
  await ended
  await composed.stop(DRAIN_MS)
  return EXIT.done
}

/** The configuration's owner is who the cluster was made for, and who may read its secrets. */
async function runAsOwner(config: ResolvedConfig, flags: ProxyFlags): Promise<number> {
  const { uid } = await stat(config.file)
  const user = uid === 0 ? await findUser('postgres') : await findUser(uid)
  if (user === null || user.uid === 0) {
    throw new UnderstudyError(
      'no-unprivileged-user',
      `${config.file} belongs to root, and there is no user postgres`,
    )
  }
  return runAs(user, ['proxy', '--config', path.resolve(flags.config)], config.file)
}
