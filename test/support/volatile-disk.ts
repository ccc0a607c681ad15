/**
 * A disk in memory that forgets what was not synced, as a real one does when the power goes; and that fails on command. A crash keeps, of
 * what was written since the last sync, any sectors; of names that were changed, any first part.
 */
import type { Disk, DiskFile } from '../../src/store/embedded/disk.ts'

const SECTOR = 512

interface Inode {
  /** What survives. */
  durable: Buffer
  /** What a reader sees. */
  current: Buffer
  /** Written since the last sync. */
  dirty: { readonly from: number; readonly to: number }[]
}

export type DiskCall =
  | 'write'
  | 'sync'
  | 'truncate'
  | 'create'
  | 'rename'
  | 'remove'
  | 'syncNames'
  | 'read'
  | 'list'

/** May return an error (by its system name) that a call shall fail with. `name`: the file that it is about. */
export type Fault = (call: DiskCall, name: string) => string | null

export class VolatileDisk implements Disk {
  #names: Map<string, Inode>
  #durableNames: Map<string, Inode>
  /** Changes of names since the last syncNames, in order. */
  #journal: ((names: Map<string, Inode>) => void)[] = []
  #fault: Fault = () => null
  #hold: (call: DiskCall) => Promise<void> = () => Promise.resolve()
  /** Bytes that all files together may have. */
  #capacity = Number.POSITIVE_INFINITY
  #off = false

  constructor(files: ReadonlyMap<string, Buffer> = new Map()) {
    const inodes = [...files].map(([name, content]): [string, Inode] => [
      name,
      { durable: content, current: Buffer.from(content), dirty: [] },
    ])
    this.#names = new Map(inodes)
    this.#durableNames = new Map(inodes)
  }

  failWith(fault: Fault): void {
    this.#fault = fault
  }

  /** Calls wait for what this returns. */
  holdBack(hold: (call: DiskCall) => Promise<void>): void {
    this.#hold = hold
  }

  /** No file grows beyond what all of them take now, and `more` bytes. */
  limit(more: number): void {
    this.#capacity = this.#size() + more
  }

  /** The power goes: every further call fails, and this is what the disk holds when it comes back. */
  crash(random: () => number): VolatileDisk {
    this.#off = true
    const names = new Map(this.#durableNames)
    const kept = Math.floor(random() * (this.#journal.length + 1))
    for (const change of this.#journal.slice(0, kept)) change(names)
    return new VolatileDisk(new Map([...names].map(([name, inode]) => [name, survivors(inode, random)])))
  }

  async list(): Promise<readonly string[]> {
    await this.#call('list', '')
    return [...this.#names.keys()]
  }

  async read(name: string): Promise<Buffer | null> {
    await this.#call('read', name)
    return this.#names.get(name)?.current ?? null
  }

  async create(name: string): Promise<DiskFile> {
    await this.#call('create', name)
    const inode: Inode = { durable: Buffer.alloc(0), current: Buffer.alloc(0), dirty: [] }
    this.#change((names) => names.set(name, inode))
    return {
      write: async (data, position) => {
        await this.#call('write', name)
        const growth = Math.max(0, position + data.length - inode.current.length)
        if (growth > 0 && this.#size() + growth > this.#capacity) throw systemError('ENOSPC', `write ${name}`)
        inode.current = Buffer.concat([
          inode.current.subarray(0, position),
          Buffer.alloc(Math.max(0, position - inode.current.length)),
          data,
          inode.current.subarray(position + data.length),
        ])
        inode.dirty.push({ from: position, to: position + data.length })
      },
      sync: async () => {
        // What is written while a sync is under way may or may not be in it; here it is not.
        const synced = Buffer.from(inode.current)
        const count = inode.dirty.length
        await this.#call('sync', name)
        inode.durable = synced
        inode.dirty.splice(0, count)
      },
      truncate: async (size) => {
        await this.#call('truncate', name)
        inode.current = inode.current.subarray(0, size)
      },
      close: async () => {},
    }
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#call('rename', from)
    this.#change((names) => {
      const inode = names.get(from)
      if (inode !== undefined) names.set(to, inode)
      names.delete(from)
    })
  }

  async remove(name: string): Promise<void> {
    await this.#call('remove', name)
    this.#change((names) => names.delete(name))
  }

  async syncNames(): Promise<void> {
    const synced = new Map(this.#names)
    const count = this.#journal.length
    await this.#call('syncNames', '')
    this.#durableNames = synced
    this.#journal.splice(0, count)
  }

  #size(): number {
    return [...this.#names.values()].reduce((sum, { current }) => sum + current.length, 0)
  }

  #change(change: (names: Map<string, Inode>) => void): void {
    change(this.#names)
    this.#journal.push(change)
  }

  /** Takes its time, like a disk: others get their turn in between. */
  async #call(call: DiskCall, name: string): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve))
    await this.#hold(call)
    const code = this.#off ? 'EIO' : this.#fault(call, name)
    if (code !== null) throw systemError(code, `${call} ${name}`)
  }
}

function systemError(code: string, what: string): Error {
  return Object.assign(new Error(`${code}: ${what}`), { code })
}

/** A file after a crash: of each sector that was written since the last sync, the old or the new content; its end may be missing. */
function survivors(inode: Inode, random: () => number): Buffer {
  const content = Buffer.from(inode.durable)
  let result = content
  for (const { from, to } of inode.dirty) {
    for (let sector = Math.floor(from / SECTOR) * SECTOR; sector < to; sector += SECTOR) {
      if (random() < 0.5) continue
      const end = Math.min(sector + SECTOR, inode.current.length)
      if (result.length < end) result = Buffer.concat([result, Buffer.alloc(end - result.length)])
      inode.current.copy(result, sector, sector, end)
    }
  }
  return result
}
