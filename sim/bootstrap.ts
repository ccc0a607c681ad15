/** The first data directory of the modelled world, and the transactions around it. */
import type { Action } from '../src/core/decision.ts'
import { succeeding } from '../src/core/knowledge.ts'
import type { SimAgent } from './agent.ts'
import { Disk, type SimNode } from './node.ts'
import { append } from './wal.ts'
import type { World } from './world.ts'

export function makeDirectory(disk: Disk, systemIdentifier: string): void {
  disk.present = true
  disk.systemIdentifier = systemIdentifier
  append(disk.wal, 1, 1_000, 'first')
  disk.flushed = disk.wal.length
  disk.checkpoint = 1
  disk.state = 'shutDown'
}

/** Another directory than before: what was outside of it stays. */
export function freshDisk(old: Disk): Disk {
  const disk = new Disk()
  disk.passfiles = old.passfiles
  return disk
}

export function moveAside(node: SimNode): void {
  node.disk = freshDisk(node.disk)
}

export const initialize = {
  write(
    world: World,
    agent: SimAgent,
    action: Extract<Action, { kind: 'claimBootstrap' | 'publishCluster' }>,
    done: (ok: boolean) => void,
  ): void {
    const { store } = world
    agent.request(
      () => {
        const current = store.liveClaim()
        if (store.stale !== null) return false
        if (action.kind === 'claimBootstrap') {
          if ((current?.revision ?? null) !== action.expected) return false
          store.claim = {
            value: action.claim,
            revision: store.nextRevision(),
            untilMs: world.loop.now + 10_000,
          }
        } else {
          if (store.primacy !== null || current?.revision !== action.claim) return false
          const primacy = succeeding(action.primacy, String(world.nextId()))
          store.primacy = { value: primacy, revision: store.nextRevision() }
          store.identity = action.identity
          world.checks.begun(primacy)
        }
        store.tellWatchers('primacy')
        return true
      },
      (ok) => done(ok === true),
    )
  },
}
