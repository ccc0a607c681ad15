/**
 * Disks that can be filled or can hang, where root may mount them: a small file system in memory for each node, or one of blocks in a file,
 * because only such a one can be frozen (fsfreeze(8)): writes to it wait, uninterruptibly, and reading goes on.
 */
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, statfsSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
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

/** Whether this process may mount: it asks the kernel, in a namespace that goes away with the answer. */
export function mayMount(): boolean {
  return spawnSync('unshare', ['--mount', 'mount', '-t', 'tmpfs', 'lab', '/mnt']).status === 0
}

/** The directory exists. False: this process may not mount. */
export function mountMemory({ name, directory, sizeMb, user }: MountOptions): Promise<boolean> {
  const options = `size=${sizeMb}m,mode=0700,uid=${user.uid},gid=${user.gid}`
  return attempt('mount', ['-t', 'tmpfs', '-o', options, name, directory])
}

/** Whether this process may freeze a disk: it makes one, in a namespace that goes away with it. */
export function mayFreeze(): boolean {
  const place = mkdtempSync(path.join(tmpdir(), 'may-freeze-'))
  const steps = [
    `truncate -s 8M ${place}/image`,
    `mkfs.ext4 -q -F ${place}/image`,
    `mount -o loop ${place}/image /mnt`,
    'fsfreeze -f /mnt',
    'fsfreeze -u /mnt',
    'umount /mnt',
  ]
  const env = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` }
  const { status } = spawnSync('unshare', ['--mount', 'sh', '-c', steps.join(' && ')], { env })
  rmSync(place, { recursive: true, force: true })
  return status === 0
}

/** The directory exists; its image lies beside it, and goes with the lab's directory. */
export async function mountBlocks({ directory, sizeMb, user }: Omit<MountOptions, 'name'>): Promise<void> {
  const image = `${directory}.image`
  const owner = `root_owner=${user.uid}:${user.gid}`
  await run('truncate', ['-s', `${sizeMb}M`, image])
  await run('mkfs.ext4', ['-q', '-F', '-m', '0', '-E', owner, image])
  await run('mount', ['-o', 'loop', image, directory])
  rmSync(path.join(directory, 'lost+found'), { recursive: true })
}

/** Longer than any story: nothing that waits for such a disk can be ended, not even by SIGKILL. */
const THAWED_AFTER_S = 60

/** Whatever becomes of this process, the disk goes on after a while. */
export async function freezeDisk(directory: string): Promise<void> {
  const guard = `sleep ${THAWED_AFTER_S}; fsfreeze -u "$0"`
  spawn('sh', ['-c', guard, directory], { detached: true, stdio: 'ignore', cwd: '/' }).unref()
  await run('fsfreeze', ['-f', directory])
}

/** Does nothing when it is not frozen. */
export async function thawDisk(directory: string): Promise<void> {
  await attempt('fsfreeze', ['-u', directory])
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
