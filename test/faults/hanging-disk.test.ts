/** Stories of a disk that takes no writes, and does not say so: everything that only reads goes on, so nobody else can see it. */
import { describe, expect } from 'vitest'
import { request } from '../../src/api/request.ts'
import { nodeOf } from '../../src/config/load.ts'
import { mayFreeze } from '../lab/disk.ts'
import type { Scene } from './stage.ts'
import { hasDebian, kindsOf, newPrimary, nothingHappens, since, stage, writesGoOn } from './stage.ts'

const RTO_MS = 1_000
const canFreeze = mayFreeze()

/** What a load balancer is told that asks for the primary there. */
function healthOf({ lab }: Scene, node: string): Promise<number | undefined> {
  const { host, apiPort: port } = nodeOf(lab.config, node)
  return new Promise((resolve, reject) => {
    const { caFile } = lab.files
    request({ host, port, caFile, unverified: true, path: '/primary', agent: false })
      .on('response', (response) => resolve(response.resume().statusCode))
      .on('error', reject)
      .end()
  })
}

async function takenOver(scene: Scene): Promise<void> {
  const { lab, primary } = scene
  await lab.node(primary).freezeDisk()
  expect(await newPrimary(scene)).not.toBe(primary)
  await writesGoOn(scene)
  // It still hangs, and nothing of it can be ended. But nobody is led to it.
  expect(await healthOf(scene, primary)).toBe(503)
  await lab.node(primary).thawDisk()
}

describe.skipIf(!hasDebian || !canFreeze)('a disk that hangs (apt install postgresql-15)', () => {
  const { story } = stage({ pg: '15', rtoMs: RTO_MS, canFreezeDisk: true })

  story('of the primary: one whose disk writes takes over, and the old one comes back', takenOver)

  story('of the primary, for less than rto: nothing happens but that writes wait', async (scene) => {
    const { lab, primary } = scene
    await lab.node(primary).freezeDisk()
    await new Promise((resolve) => setTimeout(resolve, RTO_MS / 2))
    await lab.node(primary).thawDisk()
    await writesGoOn(scene)
    await nothingHappens(scene, RTO_MS)
  })

  story('of a standby: writes go on, and it is named', async (scene) => {
    const { lab, standbys } = scene
    const [standby = ''] = standbys
    const at = since()
    await lab.node(standby).freezeDisk()
    await writesGoOn(scene)
    await lab.waitFor('the problem', async () => {
      const status = await lab.status()
      return status?.problems.some(({ code, node }) => code === 'disk-hangs' && node === standby)
    })
    await nothingHappens(scene, 2 * RTO_MS)
    await lab.node(standby).thawDisk()
    expect(kindsOf(scene, standby, at)).not.toContain('cloned')
  })
})

describe.skipIf(!hasDebian || !canFreeze)('a disk that hangs where commits wait for nobody', () => {
  const { story } = stage({ pg: '15', rtoMs: RTO_MS, canFreezeDisk: true, durability: 'async' })

  // The agent hangs at the renewal of its lease, which stops PostgreSQL before it runs out (I10).
  story('of the primary: one whose disk writes takes over, and the old one comes back', takenOver)
})
