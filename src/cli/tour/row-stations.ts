/** The stations that write a row of their own: the proof that it replicates, and what waiting for a standby costs. */
import type pg from 'pg'
import { ACKS_REASON } from '../../core/primacy.ts'
import { renderSettings } from '../../postgres/base-configuration.ts'
import { replicationSettings } from '../../postgres/configuration.ts'
import { nodeLayout } from '../../postgres/layout.ts'
import { LOOK_WALSENDERS } from '../by-hand/looks.ts'
import { inputFor, replicationOf, synchronousNamesOf } from '../by-hand/scene.ts'
import { enumerate, humanDuration } from '../humanise.ts'
import { measureRow, within } from '../local/proof.ts'
import { TOUR_SQL, withProofTable } from './proof-table.ts'
import type { Sight } from './sight.ts'
import { LOOKS_ONLY, type Station } from './station.ts'

const DEADLINE_MS = 15_000
/** Enough for a median that one hiccup of a disk does not move. */
const COMMITS = 15

export function rowStations(sight: Sight): readonly Station[] {
  return [verification(sight), synchronous(sight)]
}

function verification(sight: Sight): Station {
  return {
    id: 'verification',
    title: 'Verification by a row',
    tell: async () => {
      const { primary, standbys } = await sight.scene()
      return {
        why: [
          'That a standby streams does not prove that what is written arrives: a row does. It is written into a schema of its own, which is removed again.',
          'The delay is what a person who reads from a standby sees: from the acknowledgement of the commit until the row is there.',
        ],
        typed: [
          ...[...TOUR_SQL.create, TOUR_SQL.write.replace('$1', 'gen_random_uuid()')].map(
            (text) => ({ kind: 'sql', on: primary.name, text: `${text};` }) as const,
          ),
          ...standbys
            .slice(0, 1)
            .map(
              ({ name }) =>
                ({ kind: 'sql', on: name, text: `${TOUR_SQL.read.replace('$1', "'…'")};` }) as const,
            ),
          { kind: 'sql', on: primary.name, text: `${TOUR_SQL.remove};` },
        ],
        look: [
          'write_lag, flush_lag and replay_lag of pg_stat_replication say the same, as the primary has measured it: NULL when nothing was written lately.',
        ],
        ...LOOKS_ONLY,
      }
    },
    visit: async () => {
      const { primary, standbys } = await sight.scene()
      const { proof, lags } = await withProofTable(sight, primary.name, async (writer) => {
        const readers = await Promise.all(
          standbys.map(async ({ name }) => [name, await sight.open(name)] as const),
        )
        try {
          const measured = await within(DEADLINE_MS, measureRow(TOUR_SQL, writer, readers))
          return { proof: measured, lags: await sight.look(primary.name, LAGS) }
        } finally {
          await Promise.all(readers.map(([, client]) => client.end().catch(() => {})))
        }
      })
      const lines = [
        `${primary.name}: the commit was acknowledged after ${humanDuration(proof.commitMs)}`,
        ...proof.standbys.map(
          ({ node, delayMs }) => `${node}: the row is there ${humanDuration(delayMs)} later`,
        ),
      ]
      return { seen: [{ on: null, asked: `the row ${proof.id}`, rows: [], lines }, lags] }
    },
  }
}

const LAGS = `SELECT application_name, write_lag, flush_lag, replay_lag
  FROM pg_stat_replication ORDER BY application_name`

function synchronous(sight: Sight): Station {
  return {
    id: 'synchronous-replication',
    title: 'Synchronous replication',
    tell: async () => {
      const scene = await sight.scene()
      const { quorum } = await sight.status()
      const waits = quorum !== null && quorum.acks > 0
      const names = synchronousNamesOf(scene, scene.primary)
      const settings = replicationSettings(
        inputFor(scene, scene.primary),
        replicationOf(scene, scene.primary, names),
      ).filter(({ name }) => name === 'synchronous_standby_names')
      return {
        why: [
          'Without it a commit is acknowledged when the primary has it on disk, and what its standbys have not got yet is lost with it.',
          waits
            ? `Here each commit waits until ${quorum.acks} of ${enumerate(quorum.standbys)} ${quorum.acks === 1 ? 'has' : 'have'} it on disk. ${ACKS_REASON}`
            : `Here commits wait for nobody. ${ACKS_REASON} To have it all the same, type what follows.`,
          'It costs each commit one round trip and the flush of a standby. A session that can bear to lose its last commits need not wait: SET synchronous_commit = local.',
        ],
        typed: [
          {
            kind: 'file',
            on: scene.primary.name,
            path: `${nodeLayout(scene.primary.directory).confDir}/replication.conf`,
            text: renderSettings(settings),
          },
          { kind: 'sql', on: scene.primary.name, text: 'SELECT pg_reload_conf();' },
        ],
        look: [
          'sync_state of pg_stat_replication: quorum for who is counted, async for who is not.',
          'A commit that hangs, wait_event SyncRep in pg_stat_activity: too few standbys acknowledge.',
        ],
        ...LOOKS_ONLY,
      }
    },
    visit: async () => {
      const { primary } = await sight.scene()
      const { waiting, alone } = await withProofTable(sight, primary.name, async (writer) => ({
        waiting: await within(DEADLINE_MS, medianCommitMs(writer, 'on')),
        alone: await within(DEADLINE_MS, medianCommitMs(writer, 'local')),
      }))
      const lines = [
        `synchronous_commit = on:     ${humanDuration(waiting)} (median of ${COMMITS} commits)`,
        `synchronous_commit = local:  ${humanDuration(alone)}`,
      ]
      return {
        seen: [
          await sight.look(primary.name, 'SHOW synchronous_standby_names'),
          await sight.look(primary.name, LOOK_WALSENDERS.sql),
          { on: primary.name, asked: 'how long a commit takes', rows: [], lines },
        ],
      }
    },
  }
}

async function medianCommitMs(writer: pg.Client, synchronousCommit: 'on' | 'local'): Promise<number> {
  await writer.query(`SET synchronous_commit = ${synchronousCommit}`)
  const times: number[] = []
  for (let count = 0; count < COMMITS; count++) {
    const beganAtMs = performance.now()
    await writer.query(TOUR_SQL.write.replace('$1', 'gen_random_uuid()'))
    times.push(performance.now() - beganAtMs)
  }
  return times.sort((a, b) => a - b)[Math.floor(COMMITS / 2)] ?? 0
}
