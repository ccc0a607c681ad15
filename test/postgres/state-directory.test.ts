/** What a node must not forget, on a disk without space: it must still be able to promise, or it could neither fence itself nor vote (I3). */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { StateDirectory } from '../../src/agent/state-directory.ts'
import { succeeding } from '../../src/core/knowledge.ts'
import { IDENTITY, primacy, rule } from '../support/views.ts'

const canMount = process.getuid?.() === 0

describe('the state directory', () => {
  let workspace: string
  let disk: string
  let mounted = false

  beforeAll(() => {
    workspace = mkdtempSync(path.join(realpathSync(tmpdir()), 'sd-'))
    disk = path.join(workspace, 'disk')
    mkdirSync(disk)
    if (!canMount) return
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', disk])
    mounted = true
  })

  afterAll(() => {
    if (mounted) execFileSync('umount', ['-l', disk])
    rmSync(workspace, { recursive: true, force: true })
  })

  function fill(): void {
    try {
      writeFileSync(path.join(disk, `filler-${Math.random()}`), Buffer.alloc(4 * 1024 * 1024))
    } catch {
      // That is the end of the disk.
    }
  }

  test('a promise is made on a full disk, again and again, and is there afterwards', async ({ skip }) => {
    if (!canMount) {
      console.warn('SKIPPED: a full disk needs a small tmpfs, and only root can mount one')
      skip('only root can mount a small tmpfs')
    }
    // Seen to fail: without the reserve the first promise ends with ENOSPC.
    const state = await StateDirectory.open(path.join(disk, 'state'))
    await state.promise(3)
    fill()
    expect(() => writeFileSync(path.join(disk, 'one more'), 'x'.repeat(4_096))).toThrow(/ENOSPC/)
    for (const epoch of [4, 5, 6]) await state.promise(epoch)
    expect((await StateDirectory.open(path.join(disk, 'state'))).promisedEpoch).toBe(6)
  })

  test('two that write at the same time undo nothing of each other', async () => {
    // Seen to fail: each wrote what it had begun with, and a promise that had been made was gone.
    const directory = path.join(workspace, 'together')
    const state = await StateDirectory.open(directory)
    await Promise.all([
      state.promise(4),
      state.rememberPromotion(77),
      state.promise(3),
      state.rememberFollowed(2),
    ])
    const opened = await StateDirectory.open(directory)
    const { promisedEpoch, promotionAskedPid, followedEpoch } = opened
    expect({ promisedEpoch, promotionAskedPid, followedEpoch }).toEqual({
      promisedEpoch: 4,
      promotionAskedPid: 77,
      followedEpoch: 2,
    })
  })

  test('what is known of the primary goes with every write, and by itself only when a rule is new', async () => {
    const directory = path.join(workspace, 'known')
    const file = path.join(directory, 'state.json')
    const state = await StateDirectory.open(directory)
    const first = primacy()
    state.learn({ primacy: first, identity: IDENTITY })
    await state.promise(1)
    expect((await StateDirectory.open(directory)).known).toEqual({ primacy: first, identity: IDENTITY })

    const before = readFileSync(file, 'utf8')
    state.learn({ primacy: succeeding(first, 'second'), identity: IDENTITY })
    await state.keepRules()
    expect(readFileSync(file, 'utf8')).toBe(before)

    const next = succeeding({ ...first, nextRule: rule(1, ['bravo']) }, 'third')
    state.learn({ primacy: next, identity: IDENTITY })
    await state.keepRules()
    expect((await StateDirectory.open(directory)).known?.primacy).toEqual(next)
  })

  test('a damaged file is no promise of nothing', async () => {
    const directory = path.join(workspace, 'damaged')
    const state = await StateDirectory.open(directory)
    await state.promise(7)
    const file = path.join(directory, 'state.json')
    writeFileSync(file, readFileSync(file, 'utf8').replace('"promisedEpoch":7', '"promised":7'))
    await expect(StateDirectory.open(directory)).rejects.toThrow(/damaged/)
  })
})
