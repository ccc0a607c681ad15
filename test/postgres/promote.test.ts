/** A promotion that does not come to its end is told at once: somebody else may be waiting for the next one. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { childrenOf } from '../../src/postgres/processes.ts'
import { eventually, MAJORS, type TestNode, value, Workspace } from './fixture.ts'

describe.each(MAJORS)('a promotion of PostgreSQL %i', (major) => {
  let workspace: Workspace
  let bravo: TestNode

  beforeAll(async () => {
    workspace = await Workspace.make(`pr${major}`)
    bravo = await workspace.standby('bravo', await workspace.primary('alpha', major))
  })

  afterAll(() => workspace.end())

  test('has failed as soon as the postmaster has died in it', async () => {
    value(await bravo.postgres.configure({ role: 'standby', upstream: null, synchronousStandbyNames: '' }))
    value(await bravo.postgres.reload())
    const fenced = async (): Promise<boolean> =>
      value(await bravo.postgres.observe(5_000)).walreceiver === null
    await eventually('it is fenced', fenced)
    const postmaster = await bravo.postgres.inspectPostmaster()
    if (postmaster.kind !== 'running') throw new Error('bravo does not run')
    const startup = (await childrenOf(postmaster.pid)).find(({ title }) => title.includes(': startup'))
    if (startup === undefined) throw new Error('bravo replays nothing')
    // So that it is not over before its postmaster is.
    process.kill(startup.pid, 'SIGSTOP')
    const beganAtMs = performance.now()
    const promoted = bravo.postgres.promote({
      fromTimelineId: 1,
      timelineId: 2,
      postmasterPid: postmaster.pid,
      deadlineMs: 60_000,
      mayBegin: () => true,
      signal: new AbortController().signal,
    })
    await new Promise((resolve) => setTimeout(resolve, 200))
    process.kill(postmaster.pid, 'SIGKILL')
    process.kill(startup.pid, 'SIGKILL')
    expect(await promoted).toMatchObject({ kind: 'failed', code: 'postgres-failed' })
    expect(performance.now() - beganAtMs).toBeLessThan(30_000)
  })
})
