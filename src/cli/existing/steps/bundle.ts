/** This node's bundle, unpacked where its agent reads it. */
import { chown, mkdir, readdir, rm, rmdir } from 'node:fs/promises'
import path from 'node:path'
import { fsyncDirectory, writeFileAtomic } from '../../../postgres/durable.ts'
import { fileError } from '../../local/prepare.ts'
import { bundleFiles } from '../../machines/bundle.ts'
import { etcdNodes } from '../../machines/plan.ts'
import type { Step } from './step.ts'

export const bundleStep: Step = {
  id: 'bundle',
  title: ({ journal }) => `bundle of ${journal.node} in ${journal.bundleDirectory}`,
  async carryOut({ journal, layout, config, node }) {
    const { owner } = journal.server
    const base = journal.bundleDirectory
    const etcd = etcdNodes(config.store, layout.authority.certificate, config.nodes)
    const files = await bundleFiles({ layout, config, node, etcd, createdAt: new Date(journal.startedAt) })
    try {
      await mkdir(base, { recursive: true, mode: 0o700 })
      await chown(base, owner.uid, owner.gid)
      for (const { path: name, content } of files) {
        const file = path.join(base, name)
        if (name.endsWith('/')) await mkdir(file, { recursive: true, mode: 0o700 })
        else await writeFileAtomic(file, content.toString('utf8'), { durable: true })
        await chown(file, owner.uid, owner.gid)
      }
      await fsyncDirectory(base)
    } catch (error) {
      throw fileError(error, base)
    }
  },
  async undo({ journal }) {
    const base = journal.bundleDirectory
    for (const name of [
      'understudy.yaml',
      'bundle.json',
      'tls',
      'secrets',
      'store',
      'incoming',
      'incoming.part',
      'binaries',
    ])
      await rm(path.join(base, name), { recursive: true, force: true })
    // Whatever else is there is somebody's.
    const left = await readdir(base).catch(() => ['?'])
    if (left.length === 0) await rmdir(base)
  },
}
