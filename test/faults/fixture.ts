/** Laboratories for test files: each is closed when the file has ended, and says what it knows when a test of it has failed. */
import { existsSync } from 'node:fs'
import { afterAll, afterEach } from 'vitest'
import { Workload } from '../lab/clients/workload.ts'
import { Lab, type LabOptions } from '../lab/lab.ts'
import { ensureBuilt } from '../support/built.ts'

/** scripts/requirements.mjs says at the end of a run what to install. */
export const hasDebian = existsSync('/usr/lib/postgresql/15/bin/postgres')

const labs = new Set<Lab>()
const workloads = new Set<Workload>()

/** Healthy. */
export async function openLab(options: LabOptions = {}): Promise<Lab> {
  ensureBuilt()
  const lab = await Lab.start(options)
  labs.add(lab)
  await lab.healthy()
  return lab
}

/** Before the end of the file, when it is not needed any more. */
export async function closeLab(lab: Lab): Promise<void> {
  labs.delete(lab)
  await lab.close()
}

/** Clients of the lab that write since now. */
export async function openWorkload(lab: Lab, options: { readonly writers?: number } = {}): Promise<Workload> {
  const workload = new Workload({
    nodes: lab.nodes.map(({ name }) => name),
    connectionOf: (node) => lab.connectionOf(node, false),
    superuserOf: (node) => lab.superuserOf(node),
    ...options,
  })
  workloads.add(workload)
  await workload.begin()
  return workload
}

afterEach(async ({ task }) => {
  if (task.result?.state === 'fail')
    for (const lab of labs)
      console.error(await lab.explain(`a test of the lab in ${lab.directory} has failed`))
})

afterAll(async () => {
  for (const workload of workloads) await workload.close()
  for (const lab of labs) await lab.close()
})
