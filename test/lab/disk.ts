/** Disks that can be filled: a small file system in memory for each node, where root may mount one. */
import { rmSync, statfsSync } from 'node:fs'
import path from 'node:path'
import { attempt, run } from './shell.ts'

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

/** The directory exists. False: this process may not mount. */
export function mountMemory({ name, directory, sizeMb, user }: MountOptions): Promise<boolean> {
  const options = `size=${sizeMb}m,mode=0700,uid=${user.uid},gid=${user.gid}`
  return attempt('mount', ['-t', 'tmpfs', '-o', options, name, directory])
}

const FILLER = 'filler'

/** Takes what is free, but for `leaveBytes`. Whatever is freed afterwards is free again, as on a real disk. */
export async function fillDisk(directory: string, leaveBytes = 0): Promise<void> {
  const { bavail, bsize } = statfsSync(directory)
  const bytes = bavail * bsize - leaveBytes
  if (bytes > 0) await run('fallocate', ['-l', String(bytes), path.join(directory, FILLER)])
}

export function freeDisk(directory: string): void {
  rmSync(path.join(directory, FILLER), { force: true })
}
