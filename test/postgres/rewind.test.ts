/**
 * A rewind between a promotion and the end of its first checkpoint, when pg_control still names the old timeline: on the side that is
 * rewound, and on the side that it is rewound to. Only Debian's package has pg_rewind.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Lsn } from '../../src/core/lsn.ts'
import type { StablePosition } from '../../src/ports/postgres.ts'
import { readControlFile } from '../../src/postgres/control-file.ts'
import { readHistory } from '../../src/postgres/position.ts'
import { eventually, PRIMARY, type TestNode, value, Workspace } from './fixture.ts'

const MAJOR = 15
const FENCED = { ...PRIMARY, role: 'standby' } as const
const CONTENT = "SELECT md5(string_agg(n || t, ',' ORDER BY n)) AS content FROM filled"

describe('a rewind right after a promotion', () => {
  let workspace: Workspace
  let alpha: TestNode
  let bravo: TestNode

  beforeAll(async () => {
    workspace = await Workspace.make('rw')
    alpha = await workspace.primary('alpha', MAJOR)
    await alpha.sql("CREATE TABLE filled AS SELECT n, 'alpha' AS t FROM generate_series(1, 20000) AS n")
    bravo = await workspace.standby('bravo', alpha)
    await eventually('bravo has it all', async () => (await stateOf(alpha)).walsenders[0]?.replayLsn != null)
    await alpha.sql('CHECKPOINT')
  })

  afterAll(() => workspace.end())

  async function stateOf(node: TestNode) {
    return value(await node.postgres.observe(5_000))
  }

  /** Without upstream, until everything on disk is replayed; then promoted. */
  async function promoteOnto(node: TestNode, timelineId: number): Promise<void> {
    const stable = await fencedPosition(node)
    const postmaster = await node.postgres.inspectPostmaster()
    if (postmaster.kind !== 'running') throw new Error('it does not run')
    value(
      await node.postgres.promote({
        fromTimelineId: stable.position.timelineId,
        timelineId,
        postmasterPid: postmaster.pid,
        deadlineMs: 20_000,
        mayBegin: () => true,
        signal: new AbortController().signal,
      }),
    )
  }

  async function fencedPosition(node: TestNode): Promise<StablePosition> {
    value(await node.postgres.configure(FENCED))
    if ((await node.postgres.inspectPostmaster()).kind === 'stopped') value(await node.postgres.start(30_000))
    else value(await node.postgres.reload())
    let stable: StablePosition | null = null
    await eventually('its position is stable', async () => {
      const directory = await node.postgres.inspectDirectory()
      const postmaster = await node.postgres.inspectPostmaster()
      const looked = await node.postgres.stablePosition({ directory, postmaster, deadlineMs: 2_000 })
      stable = looked.kind === 'ok' ? looked.value : null
      return stable?.position.complete === true
    })
    if (stable === null) throw new Error('it has no position')
    return stable
  }

  async function controlTimeline(node: TestNode): Promise<number> {
    return value(await readControlFile(node.dataDir)).timelineId
  }

  test('leaves nothing of the lost timeline behind', async () => {
    // alpha is gone for now; bravo is promoted, changes every block, and dies before its first checkpoint has ended.
    await alpha.sql("UPDATE filled SET t = 'before'")
    await eventually('bravo has that', async () => {
      return (
        (await bravo.sql("SELECT count(*)::int AS n FROM filled WHERE t = 'before'"))[0]?.['n'] === 20_000
      )
    })
    value(await alpha.postgres.stop('immediate', 10_000))
    await promoteOnto(bravo, 2)
    await bravo.sql("UPDATE filled SET t = 'bravo'")
    const postmaster = await bravo.postgres.inspectPostmaster()
    if (postmaster.kind === 'running') process.kill(postmaster.pid, 'SIGKILL')
    expect(await controlTimeline(bravo)).toBe(1)

    // alpha knows nothing of it, and goes on with another timeline; its recovery left much to be written by its first checkpoint.
    await promoteOnto(alpha, 3)
    await alpha.sql("INSERT INTO filled VALUES (0, 'later')")
    const lsn = await switchpointOf(alpha)

    // bravo finds the end of its WAL, sees that it has diverged, and is rewound while alpha's pg_control still names timeline 1.
    const held = await fencedPosition(bravo)
    expect(held.position.timelineId).toBe(2)
    value(await bravo.postgres.stop('fast', 10_000))
    expect(await controlTimeline(alpha)).toBe(1)
    const { host, port } = alpha.member
    const rewound = await bravo.postgres.rewind(
      { host, port },
      { timelineId: 2, divergence: { timelineId: 1, lsn } },
      new AbortController().signal,
    )
    value(rewound)
    value(await alpha.postgres.createSlot('understudy_bravo'))
    value(await bravo.postgres.configure(await workspace.following(alpha)))
    value(await bravo.postgres.start(30_000))
    await eventually('bravo streams', async () => (await stateOf(bravo)).walreceiver?.status === 'streaming')
    const [there] = await alpha.sql(CONTENT)
    await eventually('bravo has the same', async () => {
      const [here] = await bravo.sql(CONTENT)
      return here?.['content'] === there?.['content']
    })
    expect(await bravo.sql("SELECT count(*)::int AS n FROM filled WHERE t = 'bravo'")).toEqual([{ n: 0 }])
  })

  test('is not believed when it began elsewhere than where the histories part', async () => {
    await promoteOnto(bravo, 4)
    await bravo.sql("UPDATE filled SET t = 'again'")
    value(await bravo.postgres.stop('fast', 10_000))
    const { host, port } = alpha.member
    const rewound = await bravo.postgres.rewind(
      { host, port },
      { timelineId: 4, divergence: { timelineId: 2, lsn: await switchpointOf(alpha) } },
      new AbortController().signal,
    )
    expect(rewound).toMatchObject({ kind: 'failed', code: 'rewind-failed' })
  })

  /** Where its timeline has left the one before. */
  async function switchpointOf(node: TestNode): Promise<Lsn> {
    const history = await readHistory(node.dataDir, (await stateOf(node)).timelineId)
    const last = history?.ancestors.at(-1)
    if (last === undefined) throw new Error('its timeline has no ancestor')
    return last.switchpointLsn
  }
})
