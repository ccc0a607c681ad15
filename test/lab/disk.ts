/** Disks that can be filled: a small file system in memory for each node, where root may mount one. */
import { spawnSync } from 'node:child_process'
import { rmSync, statfsSync, statSync } from 'node:fs'
import path from 'node:path'
import { attempt } from './shell.ts'

export interface Disk {
  /** null: this is a plain directory on the machine's disk, which nobody fills. */
  readonly sizeMb: number | null
}

export interface MountOptions {
  /** Stands in /proc/mounts: how a leftover is known. */
  readonly name: string
  readonly directory: string
  readonly sizeMb: number
  readonly user: { readonly uid: number; readonly gid: number }
}

/** Whether this process may mount: it asks the kernel, in a namespace that goes away with the answer. */
export function mayMount(): boolean {
  return spawnSync('unshare', ['--mount', 'mount', '-t', 'tmpfs', 'lab', '/mnt']).status === 0
}

/** The directory exists. False: this process may not mount. */
export function mountMemory({ name, directory, sizeMb, user }: MountOptions): Promise<boolean> {
  const options = `size=${sizeMb}m,mode=0700,uid=${user.uid},gid=${user.gid}`
  return attempt('mount', ['-t', 'tmpfs', '-o', options, name, directory])
}

const FILLER = 'filler'

/** Others write, too, between the look and the taking. */
const ATTEMPTS = 50

/** Takes what is free, but for `leaveBytes`. Whatever is freed afterwards is free again, as on a real disk. */
export async function fillDisk(directory: string, leaveBytes = 0): Promise<void> {
  const file = path.join(directory, FILLER)
  for (let attempts = 0; attempts < ATTEMPTS; attempts++) {
    const { bavail, bsize } = statfsSync(directory)
    const bytes = bavail * bsize - leaveBytes
    if (bytes <= 0) return
    const taken = statSync(file, { throwIfNoEntry: false })?.size ?? 0
    await attempt('fallocate', ['--offset', String(taken), '--length', String(bytes), file])
  }
  throw new Error(`${directory} cannot be filled: it has ${statfsSync(directory).bavail} blocks left`)
}

export function freeDisk(directory: string): void {
  rmSync(path.join(directory, FILLER), { force: true })
}
