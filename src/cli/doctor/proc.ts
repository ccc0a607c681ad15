/** Reads the process and socket lists of Linux (proc(5)). Parsing is pure; elsewhere the lists are empty. */
import { readdir, readFile, readlink } from 'node:fs/promises'
import { isIP, SocketAddress } from 'node:net'
import { endianness } from 'node:os'

export interface ProcessSeen {
  readonly pid: number
  readonly parentPid: number
  readonly args: readonly string[]
}

/**
 * Inodes of the sockets that listen on `port` at the address `host`, or at all of them, from the text of /proc/net/tcp or tcp6. What is no
 * address is not compared: one machine may have a server at each of its addresses, and a name may mean any. Pure.
 */
export function listeningInodes(text: string, port: number, host = '*'): string[] {
  const LISTEN = '0A'
  const address = addressOf(host)
  return text.split('\n').flatMap((line) => {
    const fields = line.trim().split(/\s+/)
    const [, local = '', , state] = fields
    const [hexAddress = '', hexPort = ''] = local.split(':')
    const inode = fields[9]
    const isThere = address === null || EVERYWHERE.test(hexAddress) || addressFromHex(hexAddress) === address
    const listens = state === LISTEN && Number.parseInt(hexPort, 16) === port && isThere
    return listens && inode !== undefined ? [inode] : []
  })
}

const EVERYWHERE = /^0+$/

/** As it is written shortest; null: every address, or a name. */
function addressOf(host: string): string | null {
  const family = isIP(host)
  if (family === 0) return null
  const address = new SocketAddress({ address: host, family: family === 4 ? 'ipv4' : 'ipv6' }).address
  return EVERYWHERE.test(address.replace(/[.:]/g, '0')) ? null : address
}

/** Of words of four bytes, each in this machine's order (proc(5)). An address of the old family may stand in one of the new. */
function addressFromHex(hex: string): string {
  const words = hex.match(/.{8}/g) ?? []
  const bytes = words.flatMap((word) => {
    const inOrder = (word.match(/../g) ?? []).map((byte) => Number.parseInt(byte, 16))
    return endianness() === 'LE' ? inOrder.toReversed() : inOrder
  })
  if (bytes.length === 4) return bytes.join('.')
  const groups = Array.from({ length: 8 }, (_, index) =>
    (((bytes[2 * index] ?? 0) << 8) | (bytes[2 * index + 1] ?? 0)).toString(16),
  )
  const address = new SocketAddress({ address: groups.join(':'), family: 'ipv6' }).address
  return address.replace(/^::ffff:(?=\d+\.)/, '')
}

/** Whoever listens on the port at that address, as far as this user may see; null: nobody visible. */
export async function listenerOf(port: number, host = '*'): Promise<ProcessSeen | null> {
  const texts = await Promise.all(
    ['/proc/net/tcp', '/proc/net/tcp6'].map((file) => readFile(file, 'latin1').catch(() => '')),
  )
  const inodes = new Set(texts.flatMap((text) => listeningInodes(text, port, host)))
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
