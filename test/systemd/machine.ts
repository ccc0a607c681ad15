/**
 * Machines that systemd boots: each a Debian server with namespaces of its own, joined to the others by a link. They keep what they have
 * written from one boot to the next. A machine ends with the test that booted it, also when that is killed, and after a while in any case.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmdirSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type Claim, claimLab } from '../lab/claim.ts'
import { run } from '../lab/shell.ts'
import { cgroupRoot, debianRoot, programLayer } from './debian.ts'

const LONGEST_LIFE_S = 1_200
const BOOT_DEADLINE_MS = 90_000
const COMMAND_DEADLINE_MS = 180_000
const BOOT = fileURLToPath(new URL('boot.sh', import.meta.url))

export interface Said {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export class Machines {
  readonly #claim: Claim
  readonly #machines: readonly Machine[]

  private constructor(claim: Claim, machines: readonly Machine[]) {
    this.#claim = claim
    this.#machines = machines
  }

  /** Booted, with an empty directory for what they write. */
  static async boot(...names: readonly string[]): Promise<Machines> {
    const root = debianRoot()
    const claim = await claimLab()
    try {
      const layers = [programLayer(path.join(claim.directory, 'program')), root].join(':')
      await layCables(claim, names)
      const machines = names.map(
        (name, index) => new Machine({ name, claim, layers, address: addressOf(claim, index) }),
      )
      const all = new Machines(claim, machines)
      await Promise.all(machines.map((machine) => machine.boot())).catch(async (error: unknown) => {
        await all.close()
        throw error
      })
      return all
    } catch (error) {
      await claim.release()
      throw error
    }
  }

  get(name: string): Machine {
    const found = this.#machines.find((each) => each.name === name)
    if (found === undefined) throw new Error(`there is no machine ${name}`)
    return found
  }

  async close(): Promise<void> {
    for (const machine of this.#machines) await machine.cutPower()
    await this.#claim.release()
  }
}

interface MachineOptions {
  readonly name: string
  readonly claim: Claim
  readonly layers: string
  readonly address: string
}

export class Machine {
  readonly name: string
  readonly address: string
  readonly #options: MachineOptions
  #process: ChildProcess | null = null
  /** Of its first process, as this machine counts. */
  #first = 0

  constructor(options: MachineOptions) {
    this.#options = options
    this.name = options.name
    this.address = options.address
  }

  async boot(): Promise<void> {
    const { name, claim, layers } = this.#options
    const directory = path.join(claim.directory, name)
    mkdirSync(directory, { recursive: true })
    const log = openSync(path.join(claim.directory, `${name}.log`), 'a')
    const dieWithMe = ['setpriv', '--pdeathsig', 'KILL']
    const words = [
      ...[...dieWithMe, 'timeout', '--signal=KILL', String(LONGEST_LIFE_S), ...dieWithMe],
      ...['nsenter', `--net=/run/netns/${claim.name}-${name}`],
      ...[BOOT, name, directory, layers, process.execPath, this.#cgroup],
    ]
    const [program = '', ...args] = words
    const child = spawn(program, args, { stdio: ['ignore', log, log] })
    closeSync(log)
    this.#process = child
    const deadline = performance.now() + BOOT_DEADLINE_MS
    for (;;) {
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(
          `${name} did not boot:\n${readFileSync(path.join(claim.directory, `${name}.log`), 'utf8')}`,
        )
      this.#first = firstInside(child.pid ?? 0) ?? 0
      const state =
        this.#first === 0 ? '' : (await this.exec(['systemctl', 'is-system-running'])).stdout.trim()
      if (['running', 'degraded'].includes(state)) return
      if (performance.now() > deadline)
        throw new Error(`${name} is still ${state || 'silent'}:\n${await this.tell()}`)
      await sleep(100)
    }
  }

  /** In order, as a person does it. */
  async reboot(): Promise<void> {
    const ended = this.#ended()
    await this.exec(['systemctl', 'reboot', '--no-block'])
    await Promise.race([ended, sleep(BOOT_DEADLINE_MS, 'late', { ref: false })]).then((how) => {
      if (how === 'late') throw new Error(`${this.name} does not go down`)
    })
    await this.#swept()
    await this.boot()
  }

  /** Everything on it ends at once. What it has written stays: its disk has no cache that could be lost. */
  async cutPower(): Promise<void> {
    const ended = this.#ended()
    if (this.#first !== 0) killIfThere(this.#first)
    else this.#process?.kill('SIGKILL')
    await ended
    this.#process = null
    this.#first = 0
    await this.#swept()
  }

  /** As root. Never throws for what the command says. */
  exec(words: readonly string[], { input = '', deadlineMs = COMMAND_DEADLINE_MS } = {}): Promise<Said> {
    const into = ['--target', String(this.#first), '--mount', '--uts', '--ipc', '--net', '--pid', '--cgroup']
    const clean = [
      'env',
      '-i',
      'HOME=/srv',
      'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      'LANG=C.UTF-8',
    ]
    const child = spawn('nsenter', [...into, '--', ...clean, ...words], {
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: deadlineMs,
      killSignal: 'SIGKILL',
    })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
    })
    child.stdin.on('error', () => {})
    child.stdin.end(input)
    return new Promise((resolve, reject) => {
      child.on('error', reject)
      child.on('close', (code) => resolve({ code, stdout, stderr }))
    })
  }

  /** Standard output. Throws with everything that was said when it ends with another code than 0. */
  async run(...words: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.exec(words)
    if (code === 0) return stdout
    throw new Error(`${this.name}: ${words.join(' ')} ended with ${code}:\n${stdout}${stderr}`)
  }

  /** As `run`, with a shell. */
  sh(script: string): Promise<string> {
    return this.run('sh', '-euc', script)
  }

  /** As `postgres` through the socket: rows, without headings. */
  async sql(statement: string): Promise<string> {
    const words = ['psql', '-XAtqd', 'postgres', '-v', 'ON_ERROR_STOP=1', '-c', statement]
    return (
      await this.run('setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups', ...words)
    ).trim()
  }

  /** What the machine has written there, also while it does something else; null: nothing. */
  peek(file: string): string | null {
    try {
      return readFileSync(path.join(this.#options.claim.directory, this.name, 'written', file), 'utf8')
    } catch {
      return null
    }
  }

  /** A property of a unit, as systemd has it. */
  async show(unit: string, property: string): Promise<string> {
    return (await this.run('systemctl', 'show', '--property', property, '--value', unit)).trim()
  }

  /** What went on there, for who looks at a failure. */
  async tell(): Promise<string> {
    const failed = await this.exec(['systemctl', '--no-pager', '--failed'])
    const journal = await this.exec([
      'journalctl',
      '--no-pager',
      '--lines',
      '80',
      '--output',
      'short-precise',
    ])
    return `${failed.stdout}\n${journal.stdout}`
  }

  get #cgroup(): string {
    return path.join(cgroupRoot() ?? '', `${this.#options.claim.name}-${this.name}`)
  }

  async #ended(): Promise<void> {
    const child = this.#process
    if (child === null || child.exitCode !== null || child.signalCode !== null) return
    await once(child, 'exit')
  }

  /** The kernel lets go of a group a moment after its last process. */
  async #swept(): Promise<void> {
    const deadline = performance.now() + 10_000
    while (!sweep(this.#cgroup)) {
      if (performance.now() > deadline)
        throw new Error(`something of ${this.name} does not end: ${this.#cgroup}`)
      await sleep(50)
    }
  }
}

function addressOf({ number }: Claim, index: number): string {
  return `198.18.${number}.${index + 1}`
}

/** A namespace for each and a bridge between them: addresses belong to the cable, not to the machine, and are there when it boots. */
async function layCables(claim: Claim, names: readonly string[]): Promise<void> {
  const hub = `${claim.name}-hub`
  await run('ip', ['netns', 'add', hub])
  await run('ip', ['-n', hub, 'link', 'add', 'lab', 'type', 'bridge', 'forward_delay', '0'])
  await run('ip', ['-n', hub, 'link', 'set', 'lab', 'up'])
  for (const [index, name] of names.entries()) {
    const own = `${claim.name}-${name}`
    await run('ip', ['netns', 'add', own])
    await run('ip', [
      '-n',
      hub,
      'link',
      'add',
      `p${index}`,
      'type',
      'veth',
      'peer',
      'name',
      'eth0',
      'netns',
      own,
    ])
    await run('ip', ['-n', hub, 'link', 'set', `p${index}`, 'master', 'lab', 'up'])
    await run('ip', ['-n', own, 'addr', 'add', `${addressOf(claim, index)}/24`, 'dev', 'eth0'])
    for (const link of ['lo', 'eth0']) await run('ip', ['-n', own, 'link', 'set', link, 'up'])
  }
}

/** The descendant that is the first process of a namespace; null: not yet. */
function firstInside(pid: number): number | null {
  for (let each: number | undefined = pid; each !== undefined && each !== 0; ) {
    const ids = /^NSpid:\s+(.*)$/m.exec(readOf(each, 'status'))?.[1]?.split(/\s+/) ?? []
    if (ids.length > 1 && ids.at(-1) === '1') return /systemd/.test(readOf(each, 'comm')) ? each : null
    each = readOf(each, `task/${each}/children`).split(' ').map(Number)[0]
  }
  return null
}

function readOf(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8')
  } catch {
    return ''
  }
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended by itself.
  }
}

/** Groups below it first. false: there is still something in it. */
function sweep(group: string): boolean {
  let inside: readonly string[]
  try {
    inside = readdirSync(group, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name)
  } catch {
    return true
  }
  if (!inside.map((name) => sweep(path.join(group, name))).every(Boolean)) return false
  try {
    rmdirSync(group)
    return true
  } catch {
    return false
  }
}
