/** The service that has started the server so far must not start it again, at boot or by hand: two managers of one server are a split brain. */
import { chown, rename, stat } from 'node:fs/promises'
import path from 'node:path'
import { fsyncDirectory, readTextIfPresent, writeFileAtomic } from '../../../postgres/durable.ts'
import { fileError } from '../../local/prepare.ts'
import { hasSystemd, systemctl } from '../../machines/systemctl.ts'
import type { Journal } from '../journal.ts'
import { guardedName } from '../plan.ts'
import type { Step, StepContext } from './step.ts'

export const guardStep: Step = {
  id: 'guard',
  title: ({ journal }) =>
    journal.server.manager.kind === 'debian'
      ? `${journal.server.startFile}: disabled`
      : `${journal.server.startFile} moved aside`,
  async carryOut({ journal }) {
    const { manager, startFile } = journal.server
    try {
      if (manager.kind === 'debian') await writeLike(startFile, DISABLED, manager.directory)
      else await moveAside(journal)
    } catch (error) {
      throw fileError(error, startFile)
    }
    await tellSystemd('disable', journal)
  },
  async undo(context) {
    const { manager, startFile, startText } = context.journal.server
    try {
      if (manager.kind === 'debian') {
        if ((await readTextIfPresent(startFile)) === DISABLED)
          await writeLike(startFile, startText ?? 'auto\n', manager.directory)
      } else await moveBack(context)
    } catch (error) {
      throw fileError(error, startFile)
    }
    await tellSystemd('enable', context.journal)
  },
}

const DISABLED = `# This server is run by understudy: neither Debian's tools nor systemd start it. \`understudy init --undo\` gives it back.
disabled
`

/** Debian's units follow start.conf, which systemd reads when it is told to look again. */
async function tellSystemd(what: 'enable' | 'disable', { server }: Journal): Promise<void> {
  if (!hasSystemd()) return
  if (server.manager.kind === 'debian') await systemctl('daemon-reload')
  else if (server.unit?.isEnabled === true) await systemctl(what, server.unit.name)
}

async function moveAside({ server }: Journal): Promise<void> {
  const { startFile } = server
  if ((await readTextIfPresent(guardedName(startFile))) !== null) return
  await rename(startFile, guardedName(startFile))
  await fsyncDirectory(path.dirname(startFile))
}

async function moveBack({ journal }: StepContext): Promise<void> {
  const { startFile } = journal.server
  if ((await readTextIfPresent(guardedName(startFile))) === null) return
  await rename(guardedName(startFile), startFile)
  await fsyncDirectory(path.dirname(startFile))
}

/** With owner and mode of the file that it replaces, or the owner of its directory. */
async function writeLike(file: string, text: string, directory: string): Promise<void> {
  const before = await stat(file).catch(() => null)
  const { uid, gid } = before ?? (await stat(directory))
  await writeFileAtomic(file, text, { mode: (before?.mode ?? 0o644) & 0o777, durable: true })
  await chown(file, uid, gid)
}
