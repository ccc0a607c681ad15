/** Our reading of pg_control against PostgreSQL's own: pg_controldata where the package has it, its SQL functions everywhere. */
import { execFile } from 'node:child_process'
import { access } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { formatLsn } from '../../src/core/lsn.ts'
import { readControlFile } from '../../src/postgres/control-file.ts'
import { binariesOf, MAJORS, type TestNode, value, Workspace } from './fixture.ts'

describe.each(MAJORS)('pg_control of PostgreSQL %i', (major) => {
  let workspace: Workspace
  let alpha: TestNode
  let bravo: TestNode

  beforeAll(async () => {
    workspace = await Workspace.make(`ct${major}`)
    alpha = await workspace.primary('alpha', major)
    bravo = await workspace.standby('bravo', alpha)
  })
  afterAll(() => workspace.end())

  test.each(['alpha', 'bravo'])('of %s as the server reads it', async (name) => {
    const node = name === 'alpha' ? alpha : bravo
    if (name === 'bravo') {
      await alpha.sql('CHECKPOINT')
      await node.sql('CHECKPOINT')
    }
    const [row] = await node.sql(`
      SELECT s.system_identifier::text AS "systemIdentifier", c.timeline_id AS "timelineId", c.checkpoint_lsn::text AS "checkpointLsn",
             c.redo_lsn::text AS "redoLsn", r.min_recovery_end_lsn::text AS "minRecoveryLsn",
             r.min_recovery_end_timeline AS "minRecoveryTimelineId", i.data_page_checksum_version <> 0 AS "dataChecksums",
             i.bytes_per_wal_segment AS "walSegmentSize"
      FROM pg_control_system() s, pg_control_checkpoint() c, pg_control_recovery() r, pg_control_init() i`)
    const facts = value(await readControlFile(node.dataDir))
    expect({
      ...facts,
      checkpointLsn: formatLsn(facts.checkpointLsn),
      redoLsn: formatLsn(facts.redoLsn),
      minRecoveryLsn: formatLsn(facts.minRecoveryLsn),
    }).toEqual({ ...row, state: name === 'alpha' ? 'inProduction' : 'inArchiveRecovery' })
  })

  test('never torn while the server writes it', async () => {
    let done = false
    const writing = (async () => {
      for (let i = 0; i < 15; i++) await alpha.sql('CHECKPOINT')
      done = true
    })()
    let read = 0
    for (; !done; read++) value(await readControlFile(alpha.dataDir))
    await writing
    expect(read).toBeGreaterThan(50)
  })

  test.each(['shutDown', 'shutDownInRecovery'])(
    '%s, as pg_controldata says where there is one',
    async (state) => {
      const node = state === 'shutDown' ? alpha : bravo
      value(await node.postgres.stop('fast', 10_000))
      const facts = value(await readControlFile(node.dataDir))
      expect(facts.state).toBe(state)
      const program = join(binariesOf(major).binDir, 'pg_controldata')
      // The embedded package has none; of 15 it must be there.
      if (
        major !== 15 &&
        !(await access(program).then(
          () => true,
          () => false,
        ))
      )
        return
      const { stdout } = await promisify(execFile)(program, [node.dataDir], { env: { LC_ALL: 'C' } })
      const said = new Map(
        stdout
          .split('\n')
          .map((line) => [line.split(':')[0] ?? '', line.slice(line.indexOf(':') + 1).trim()]),
      )
      expect(said.get('Database cluster state')).toBe(
        state === 'shutDown' ? 'shut down' : 'shut down in recovery',
      )
      expect(said.get('Database system identifier')).toBe(facts.systemIdentifier)
      expect(said.get('Latest checkpoint location')).toBe(formatLsn(facts.checkpointLsn))
      expect(said.get("Latest checkpoint's REDO location")).toBe(formatLsn(facts.redoLsn))
      expect(said.get("Latest checkpoint's TimeLineID")).toBe(String(facts.timelineId))
      expect(said.get('Minimum recovery ending location')).toBe(formatLsn(facts.minRecoveryLsn))
      expect(said.get("Min recovery ending loc's timeline")).toBe(String(facts.minRecoveryTimelineId))
      expect(said.get('Bytes per WAL segment')).toBe(String(facts.walSegmentSize))
      expect(said.get('Data page checksum version')).toBe(facts.dataChecksums ? '1' : '0')
    },
  )
})
