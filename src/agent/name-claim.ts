/**
 * A node's name is its vote (I2, I3): two agents under one name could vote for each other's promises. So an agent acts only after it has
 * claimed its name in the store, bound to its lease. A restarted agent takes its predecessor's claim over at once, because on one machine
 * the kernel lets only one agent into a node's directory; whoever comes from another directory, or with a copy of it from another machine,
 * waits for the claim to end, and is refused when it does not.
 */
import { randomBytes } from 'node:crypto'
import { link, mkdir, readFile, stat, unlink } from 'node:fs/promises'
import { hostname } from 'node:os'
import path from 'node:path'
import type { Clock } from '../ports/clock.ts'
import type { ClusterStore, NameClaim } from '../ports/cluster-store.ts'
import { writeSynced } from './durable-file.ts'

export type Standing =
  /** The store was not reached, or the lease is not granted yet. */
  | { readonly kind: 'unclaimed' }
  | { readonly kind: 'ours' }
  /** Somebody else's claim, which may be that of a machine that is just gone. */
  | { readonly kind: 'waiting'; readonly rival: NameClaim }
  /** Somebody else lives under this name, or nobody may any more. */
  | { readonly kind: 'taken'; readonly rival: NameClaim }

export interface NameClaimOptions {
  readonly store: Pick<ClusterStore, 'readNameClaim' | 'claimName'>
  readonly clock: Clock
  readonly node: string
  readonly claim: NameClaim
  /** How long a claim outlives its agent. */
  readonly leaseMs: number
}

/** A lease ends a moment later than it says: the store counts from when it has heard of it. */
const GRACE_MS = 3_000

export class NameHolder {
  readonly #options: NameClaimOptions
  #standing: Standing = { kind: 'unclaimed' }
  #heldWith: bigint | null = null
  #checkedAtMs = Number.NEGATIVE_INFINITY
  #waitingSinceMs: number | null = null

  constructor(options: NameClaimOptions) {
    this.#options = options
  }

  /** Cheap while nothing has changed; looks again with a new lease, and a few times in the life of each. */
  async hold(leaseId: bigint | null): Promise<Standing> {
    if (leaseId === null || this.#standing.kind === 'taken' || this.#isFresh(leaseId)) return this.#standing
    const { store, node, claim, clock } = this.#options
    const read = await store.readNameClaim(node)
    if (read.kind !== 'ok') return this.#standing
    const found = read.value
    if (found !== null && !isOwn(found.value, claim)) return this.#meet(found.value)
    const isHeld = found?.value.session === claim.session && this.#heldWith === leaseId
    if (!isHeld) {
      const swapped = await store.claimName(node, claim, found?.revision ?? null, leaseId)
      // Somebody was faster, or the answer was lost: the next look tells.
      if (swapped.kind !== 'ok' || !swapped.value) return this.#standing
    }
    this.#heldWith = leaseId
    this.#checkedAtMs = clock.nowMs()
    this.#waitingSinceMs = null
    this.#standing = { kind: 'ours' }
    return this.#standing
  }

  #isFresh(leaseId: bigint): boolean {
    const { clock, leaseMs } = this.#options
    return this.#heldWith === leaseId && clock.nowMs() - this.#checkedAtMs < leaseMs / 3
  }

  /** A claim that is still there when any lease without an agent has ended is somebody's who lives. */
  #meet(rival: NameClaim): Standing {
    const now = this.#options.clock.nowMs()
    this.#heldWith = null
    this.#waitingSinceMs ??= now
    const mayEnd = rival.removed === undefined && this.#standing.kind !== 'ours'
    const patienceMs = !mayEnd ? 0 : this.#options.leaseMs + GRACE_MS
    const kind = now - this.#waitingSinceMs >= patienceMs ? 'taken' : 'waiting'
    this.#standing = { kind, rival }
    return this.#standing
  }
}

/** Of the very same directory since the machine's last boot: that agent is this one's predecessor, or this one. */
function isOwn(found: NameClaim, mine: NameClaim): boolean {
  return found.instance === mine.instance && found.machine === mine.machine
}

/** `directory` is the node's state directory: its instance is made once and stays. */
export async function makeNameClaim(directory: string, session: string): Promise<NameClaim> {
  const instance = await ensureInstance(directory)
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => 'unknown')
  // Containers on one host have one boot, and copies of a machine one host name: a copied directory is another file all the same.
  const { dev, ino } = await stat(directory)
  return { instance, machine: `${hostname()} ${boot.trim()} ${dev}:${ino}`, session }
}

async function ensureInstance(directory: string): Promise<string> {
  const file = path.join(directory, 'instance')
  const known = await readFile(file, 'utf8').catch(() => '')
  if (/^[0-9a-f]{16}\n$/.test(known)) return known.trim()
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const instance = randomBytes(8).toString('hex')
  const temporary = `${file}.${instance}`
  await writeSynced(temporary, `${instance}\n`)
  if (known !== '') await unlink(file)
  await link(temporary, file)
  await unlink(temporary)
  return instance
}
