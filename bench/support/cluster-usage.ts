/** What a process, or a tree of them, uses: memory and processor time from /proc (proc(5)). */
import { readdirSync, readFileSync } from 'node:fs'

/** USER_HZ: 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100

export interface Usage {
  readonly rssMb: number
  /** Shared pages counted in parts: what the processes of one program really add. NaN where it may not be read. */
  readonly pssMb: number
  readonly cpuSeconds: number
  readonly writtenBytes: number
}

export function usageOf(pids: readonly number[]): Usage {
  const each = pids.map(usageOfOne)
  const sum = (pick: (usage: Usage) => number): number =>
    each.reduce((total, usage) => total + pick(usage), 0)
  return {
    rssMb: sum((usage) => usage.rssMb),
    pssMb: sum((usage) => usage.pssMb),
    cpuSeconds: sum((usage) => usage.cpuSeconds),
    writtenBytes: sum((usage) => usage.writtenBytes),
  }
}

function usageOfOne(pid: number): Usage {
  const stat = read(pid, 'stat')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const ticks = Number(fields[11]) + Number(fields[12])
  return {
    rssMb: kilobytes(read(pid, 'status'), 'VmRSS') / 1_024,
    pssMb: kilobytes(read(pid, 'smaps_rollup'), 'Pss') / 1_024,
    cpuSeconds: ticks / TICKS_PER_SECOND,
    writtenBytes: Number(/^write_bytes: (\d+)/m.exec(read(pid, 'io'))?.[1] ?? Number.NaN),
  }
}

/** The process and everything below it, as it is now. */
export function treeOf(root: number): readonly number[] {
  const parents = new Map<number, number>()
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const stat = read(Number(entry), 'stat')
    parents.set(Number(entry), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]))
  }
  const tree = [root]
  for (const pid of tree) for (const [child, parent] of parents) if (parent === pid) tree.push(child)
  return tree
}

function kilobytes(text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? Number.NaN)
}

function read(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'latin1')
  } catch {
    return ''
  }
}
