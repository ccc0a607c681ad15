/** The node's directory beside the data: a link to the data, and the state that says whose it is. */
import { chown, lchown, mkdir, readlink, rm, symlink } from 'node:fs/promises'
import path from 'node:path'
import { StateDirectory } from '../../../agent/state-directory.ts'
import { UnderstudyError } from '../../../errors/codes.ts'
import { fsyncDirectory } from '../../../postgres/durable.ts'
import { fileError } from '../../local/prepare.ts'
import { writeService } from '../service.ts'
import type { Step, StepContext } from './step.ts'

export const nodeStep: Step = {
  id: 'node',
  title: ({ journal }) => `${journal.nodeDirectory}, with a link to ${journal.server.dataDirectory}`,
  async carryOut(context) {
    const { nodeDirectory, server, role } = context.journal
    const { uid, gid } = server.owner
    try {
      // Of directories above it, as /var/lib/understudy, everybody may go through.
      await mkdir(path.dirname(nodeDirectory), { recursive: true, mode: 0o755 })
      for (const directory of ['', 'log', 'state']) {
        const made = path.join(nodeDirectory, directory)
        await mkdir(made, { recursive: true, mode: 0o700 })
        await chown(made, uid, gid)
      }
      await linkData(context)
      await lchown(path.join(nodeDirectory, 'data'), uid, gid)
      const state = path.join(nodeDirectory, 'state')
      const opened = await StateDirectory.open(state)
      // By this the agent knows that the data directory is what the cluster begins with (rule bootstrap-claim).
      if (role === 'primary' && opened.initialized === null)
        await opened.rememberInitialized(server.systemIdentifier)
      for (const name of ['state.json', 'reserve'])
        await chown(path.join(state, name), uid, gid).catch(() => undefined)
      await fsyncDirectory(nodeDirectory)
      await writeService(context.journal)
    } catch (error) {
      throw fileError(error, nodeDirectory)
    }
  },
  async undo({ journal }) {
    // The link goes with it, and what it leads to stays.
    await rm(journal.nodeDirectory, { recursive: true, force: true })
  },
}

async function linkData({ journal }: StepContext): Promise<void> {
  const { dataDirectory } = journal.server
  const link = path.join(journal.nodeDirectory, 'data')
  const present = await readlink(link).catch(() => null)
  if (present === dataDirectory) return
  if (present !== null)
    throw new UnderstudyError('foreign-data', `${link} leads to ${present}, not to ${dataDirectory}`)
  await symlink(dataDirectory, link)
}
