/** The operator's directory: configuration, secrets, authority, certificates, bundles. */
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { jsonSchema } from '../../../config/keys.ts'
import { ensureSecrets, keepCopy, makeHomeDirectories, writePrivately } from '../../machines/home.ts'
import { publish } from '../../machines/publish.ts'
import type { Step } from './step.ts'

export const homeStep: Step = {
  id: 'home',
  title: ({ layout }) => `configuration, secrets and bundles in ${layout.directory}`,
  async carryOut({ journal, layout, config }) {
    await makeHomeDirectories(layout)
    for (const [name, content] of Object.entries(journal.given))
      await keepCopy(path.join(layout.store, name), content)
    await writePrivately(layout.configFile, journal.configText)
    await writePrivately(layout.schemaFile, `${JSON.stringify(jsonSchema(), null, 2)}\n`)
    await ensureSecrets(layout)
    await publish({ layout, config, format: 'tar', owner: journal.server.owner.name })
  },
  async undo({ layout }) {
    for (const name of ['bundles', 'store', 'tls', 'secrets', 'authority'])
      await rm(path.join(layout.directory, name), { recursive: true, force: true })
    await rm(layout.schemaFile, { force: true })
    await rm(layout.configFile, { force: true })
  },
}
