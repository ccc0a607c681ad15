/** Reads the process and socket lists of Linux (proc(5)). Parsing is pure; elsewhere the lists are empty. */
import { readdir, readFile, readlink } from 'node:fs/promises'

export interface ProcessSeen {
  readonly pid: number
  readonly parentPid: number
  readonly args: readonly string[]
}

/** Inodes of the sockets that listen on `port`, from the text of /proc/net/tcp or tcp6. Pure. */
export function listeningInodes(text: string, port: number): string[] {
  const LISTEN = '0A'
  return text.split('\n').flatMap((line) => {
    const fields = line.trim().split(/\s+/)
    const [, local = '', , state] = fields
    const hexPort = local.split(':')[1] ?? ''
    const inode = fields[9]
    const listens = state === LISTEN && Number.parseInt(hexPort, 16) === port
    return listens && inode !== undefined ? [inode] : []
  })
}

/** Whoever listens on the port, as far as this user may see; null: nobody visible. */
export async function listenerOf(port: number): Promise<ProcessSeen | null> {
  const texts = await Promise.all(
    ['/proc/net/tcp', '/proc/net/tcp6'].map((file) => readFile(file, 'latin1').catch(() => '')),
  )
  const inodes = new Set(texts.flatMap((text) => listeningInodes(text, port)))
  if (inodes.size === 0) return null
  for (const pid of await listPids()) {
    const files = await readdir(`/proc/${pid}/fd`).catch(() => [])
    for (const file of files) {
      const target = await readlink(`/proc/${pid}/fd/${file}`).catch(() => '')
      const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1]
      if (inode !== undefined && inodes.has(inode)) return readProcess(pid)
    }
  }
  return null
}

export async function listProcesses(): Promise<ProcessSeen[]> {
  const all = await Promise.all((await listPids()).map(readProcess))
  return all.filter((process) => process !== null)
}

async function readProcess(pid: number): Promise<ProcessSeen | null> {
  const [commandLine, status] = await Promise.all([
    readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => ''),
    readFile(`/proc/${pid}/stat`, 'latin1').catch(() => ''),
  ])
  if (commandLine === '') return null
  const parentPid = Number(status.slice(status.lastIndexOf(')') + 2).split(' ')[1] ?? 0)
  return { pid, parentPid, args: commandLine.split('\0').filter((arg) => arg !== '') }
}

async function listPids(): Promise<number[]> {
  const names = await readdir('/proc').catch(() => [])
  return names.filter((name) => /^\d+$/.test(name)).map(Number)
}

/** Whether one of its arguments is the directory or lies in it: postgres, agent and store are all started with such a path. Pure. */
export function belongsTo(directory: string, args: readonly string[]): boolean {
  return args.some((arg) => arg === directory || arg.startsWith(`${directory}/`))
}

/** Names of the abstract sockets, from the text of /proc/net/unix, where @ stands for the zero byte (also for padding). Pure. */
export function abstractSockets(text: string): Set<string> {
  return new Set(text.split('\n').flatMap((line) => / @(\S+?)@*$/.exec(line)?.slice(1) ?? []))
}
