/** What happens to nodes behind the agents' back: a standby that somebody promotes by hand, a primary whose data directory breaks. */
import { truncateSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  DEBIAN,
  EMBEDDED,
  hasDebian,
  said,
  startCluster,
  type TestCluster,
} from '../support/cluster-harness.ts'
import { signal } from '../support/cluster-processes.ts'
import type { Writer } from '../support/cluster-writer.ts'

const VERSIONS = [EMBEDDED, ...(hasDebian ? [DEBIAN] : [])]

describe.each(VERSIONS)('PostgreSQL %s', (pg) => {
  let cluster: TestCluster
  let writer: Writer

  beforeAll(async () => {
    cluster = await startCluster({ pg })
    writer = cluster.writer().start()
  })

  afterAll(async () => {
    await writer.stop()
    await cluster.remove()
  })

  test('a standby that somebody promotes by hand is a standby again, and nothing of it comes to others', async () => {
    const before = await cluster.healthy()
    const written = writer.acknowledged.length
    await cluster.sql('bravo', 'SELECT pg_promote(false)')
    await cluster.waitFor('its end as primary', () =>
      cluster
        .events()
        .some(({ node, kind }) => node === 'bravo' && (kind === 'rewind' || kind === 'clone-done')),
    )
    expect(await cluster.healthy()).toMatchObject({
      epoch: before.epoch,
      primary: before.primary,
      timelineId: 1,
    })
    await cluster.waitFor('writes after it', () => writer.acknowledged.length > written + 10)
    await cluster.checkAllPresent(writer)
  })

  test('a primary that cannot use its data directory gives the office up, and reinit makes it a standby', async () => {
    // Seen to fail: without the rule the agent waits for ever, and answers, so that nobody else would act.
    const { primary } = await cluster.healthy()
    const lost = primary ?? ''
    const postmaster = cluster.postmasterPid(lost)
    cluster.withAgentFrozen(lost, () => {
      signal(postmaster, 'SIGKILL')
      truncateSync(path.join(cluster.dataDirectory(lost), 'global', 'pg_control'), 100)
    })
    await cluster.waitFor('another primary', async () => {
      const status = await cluster.status()
      return status?.phase === 'steady' && status.primary !== lost
    })
    await cluster.waitFor('the reason to be told', () => cluster.problem('data-damaged', lost))
    const written = writer.acknowledged.length
    await cluster.waitFor('writes after it', () => writer.acknowledged.length > written)
    const reinit = await cluster.run(['reinit', lost, '--yes'])
    expect(reinit.code, said(reinit)).toBe(0)
    await cluster.healthy()
    await cluster.checkAllPresent(writer)
  })
})
