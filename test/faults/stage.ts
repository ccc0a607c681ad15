/**
 * Where the stories of a file are told: one lab, clients that write during all of them, and the same end for each: everything is mended, the
 * cluster becomes whole by itself, and every write is accounted for (P1, P2).
 */
import { existsSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Primacy } from '../../src/core/primacy.ts'
import { isBroken } from '../lab/clients/checker.ts'
import { checkRound } from '../lab/clients/final.ts'
import { Workload } from '../lab/clients/workload.ts'
import { Lab, type LabOptions } from '../lab/lab.ts'
import { Sight } from '../lab/sight.ts'
import { ensureBuilt } from '../support/built.ts'

/** scripts/requirements.mjs says at the end of a run what to install. */
export const hasDebian = existsSync('/usr/lib/postgresql/15/bin/postgres')

/** What a story begins with: a cluster that is whole, and clients that write to its primary. */
export interface Scene {
  readonly lab: Lab
  readonly sight: Sight
  readonly clients: Workload
  readonly primary: string
  readonly standbys: readonly string[]
  readonly epoch: number
}

export type Play = (scene: Scene) => Promise<void>

export interface Stage {
  story(name: string, play: Play): void
  /** Only where the lab can do it: root mounts small disks, libfaketime steps clocks. */
  storyIf(possible: boolean, name: string, play: Play): void
}

interface Props {
  readonly lab: Lab
  readonly sight: Sight
  readonly clients: Workload
}

export function stage(options: LabOptions): Stage {
  let props: Props | null = null
  beforeAll(async () => {
    props = await setUp(options)
  })
  afterAll(async () => {
    if (props !== null) await takeDown(props)
  })
  const tell = async (play: Play): Promise<void> => {
    // A story that failed has left a cluster in which the next one would fail, too.
    const own = props ?? (await setUp(options))
    props = null
    try {
      await perform(own, play)
      props = own
    } catch (error) {
      await own.lab.mend().catch(() => {})
      const kept = mkdtempSync(path.join(tmpdir(), 'understudy-story-'))
      own.lab.keepLogs(kept)
      await takeDown(own)
      console.error(`logs of the lab: ${kept}`)
      throw error
    }
  }
  return {
    story: (name, play) => test(name, () => tell(play)),
    storyIf: (possible, name, play) => test.skipIf(!possible)(name, () => tell(play)),
  }
}

async function setUp(options: LabOptions): Promise<Props> {
  ensureBuilt()
  const lab = await Lab.start(options)
  try {
    await lab.healthy()
    const clients = new Workload({
      nodes: lab.nodes.map(({ name }) => name),
      connectionOf: (node) => lab.connectionOf(node, false),
      superuserOf: (node) => lab.superuserOf(node),
    })
    return { lab, clients, sight: await Sight.open(lab) }
  } catch (error) {
    await lab.close()
    throw error
  }
}

async function takeDown({ lab, sight, clients }: Props): Promise<void> {
  sight.close()
  await clients.close()
  await lab.close()
}

/** Less than after what a standby that gets no WAL is cloned anew: no story may need that. */
const WHOLE_WITHIN_MS = 25_000

async function perform(props: Props, play: Play): Promise<void> {
  const { lab, sight, clients } = props
  await clients.begin()
  const { primary, epoch } = await sight.until(
    'a steady primary',
    ({ primacy }) => primacy?.phase === 'steady' && primacy,
  )
  const standbys = lab.nodes.map(({ name }) => name).filter((name) => name !== primary)
  await play({ ...props, primary, standbys, epoch })
  await lab.mend()
  await lab.healthy(WHOLE_WITHIN_MS)
  await clients.end()
  expect((await checkRound(lab, clients)).violations.filter(isBroken)).toEqual([])
  expect(lab.unexpectedEnds).toEqual([])
  lab.removeAside()
}

/** A later epoch whose primary is in office. */
export function newPrimary({ sight, epoch }: Scene): Promise<string> {
  return sight.until(
    'a new primary',
    ({ primacy }) => isLater(primacy, epoch) && primacy.phase === 'steady' && primacy.primary,
  )
}

export function isLater(primacy: Primacy | null, epoch: number): primacy is Primacy {
  return primacy !== null && primacy.epoch > epoch
}

const STREAK = 10
const LOOK_EVERY_MS = 20

/** Several that began after now were acknowledged; by that node, where one is named. */
export async function writesGoOn({ lab, clients }: Scene, node: string | null = null): Promise<void> {
  const since = performance.now()
  const isOne = (each: Workload['operations'][number]): boolean =>
    each.outcome === 'acknowledged' && each.startedAtMs > since && (node === null || each.node === node)
  await lab.waitFor(
    `acknowledged writes${node === null ? '' : ` on ${node}`}`,
    () => clients.operations.filter(isOne).length >= STREAK,
  )
}

/** Nothing that began after now is acknowledged for so long. */
export async function writesWait({ clients }: Scene, ms: number): Promise<void> {
  const since = performance.now()
  for (let left = ms; left > 0; left -= LOOK_EVERY_MS) {
    await sleep(LOOK_EVERY_MS)
    const done = clients.operations.filter(
      (each) => each.outcome === 'acknowledged' && each.startedAtMs > since,
    )
    expect(done).toEqual([])
  }
}

/** For so long nobody is elected, and at its end everything is as it was. */
export async function nothingHappens({ sight, epoch, primary }: Scene, ms: number): Promise<void> {
  await sleep(ms)
  expect(sight.now.primacy).toMatchObject({ epoch, primary, phase: 'steady' })
}

/** The lines of that node's events since a moment by its clock, as `since()` gives it. */
export function kindsOf({ lab }: Scene, node: string, sinceAt: string): readonly string[] {
  return lab
    .events()
    .filter((event) => event.node === node && event.at >= sinceAt)
    .map(({ kind }) => kind)
}

export function since(): string {
  return new Date().toISOString()
}
