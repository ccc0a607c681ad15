/** The service that has started the server so far must not start it again, at boot or by hand: two managers of one server are a split brain. */
import { chown, rename, stat } from 'node:fs/promises'
import path from 'node:path'
import { fsyncDirectory, readTextIfPresent, writeFileAtomic } from '../../../postgres/durable.ts'
import { fileError } from '../../local/prepare.ts'
import { guardedName, startModeOf } from '../plan.ts'
import { writeService } from '../service.ts'
import type { Step, StepContext } from './step.ts'

export const guardStep: Step = {
  id: 'guard',
  title: ({ journal }) =>
    journal.server.manager.kind === 'debian'
      ? `${journal.server.startFile}: disabled`
      : `${journal.server.startFile} moved aside`,
  async carryOut({ journal }) {
    const { manager, startFile, startText } = journal.server
    try {
      await writeService(journal, startModeOf(startText))
      if (manager.kind === 'debian') return await writeLike(startFile, DISABLED, manager.directory)
      if ((await readTextIfPresent(guardedName(startFile))) !== null) return
      await rename(startFile, guardedName(startFile))
      await fsyncDirectory(path.dirname(startFile))
    } catch (error) {
      throw fileError(error, startFile)
    }
  },
  async undo(context) {
    const { manager, startFile, startText } = context.journal.server
    try {
      if (manager.kind === 'debian') {
        if ((await readTextIfPresent(startFile)) === DISABLED)
          await writeLike(startFile, startText ?? 'auto\n', manager.directory)
        return
      }
      await moveBack(context)
    } catch (error) {
      throw fileError(error, startFile)
    }
  },
}

const DISABLED = `# This server is run by understudy: neither Debian's tools nor systemd start it. \`understudy init --undo\` gives it back.
disabled
`

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
