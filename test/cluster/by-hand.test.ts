/**
 * The script of `--explain` does what it says: followed part by part with Debian's PostgreSQL, it ends with standbys that stream, have the
 * row, and acknowledge commits.
 */
import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import path from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { type Claim, claimLab } from '../lab/claim.ts'
import { namespacesMissing, openNamespaces } from '../lab/namespaces.ts'
import type { Network } from '../lab/network.ts'
import { ensureBuilt } from '../support/built.ts'
import { runCli } from '../support/cli.ts'
import { reservePorts } from '../support/cluster-ports.ts'
import { endAll } from '../support/cluster-processes.ts'
import { follow, inShell, type ScriptPart, splitScript, type Way } from '../support/hand.ts'

const DEBIAN = '/usr/lib/postgresql/15/bin'
const hasDebian = existsSync(`${DEBIAN}/pg_basebackup`)
const missing = await namespacesMissing()

const cleanups: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function explained(args: readonly string[]): Promise<readonly ScriptPart[]> {
  ensureBuilt()
  const { code, stdout, stderr } = await runCli(['up', '--explain', '--pg', '15', ...args])
  if (code !== 0) throw new Error(stderr)
  return splitScript(stdout)
}

const titled =
  (title: string) =>
  (part: ScriptPart): boolean =>
    part.title === title

describe.skipIf(!hasDebian)('the script of --explain (apt install postgresql-15)', () => {
  // Seen to fail: without the slot's part pg_basebackup ends with an error.
  test.skipIf(missing !== null)(
    `on two servers, each in a network and with files of its own (${missing ?? 'namespaces'})`,
    async () => {
      const servers = await openServers()
      const hosts = ['alpha', 'bravo'].map((each) => `${each}=${servers.addressOf(each)}`)
      const parts = await explained(['--on', hosts.join(',')])
      expect([...new Set(parts.map(({ as }) => as))]).toEqual(['root', 'postgres'])
      const said = follow(parts, servers.way, servers.env)

      const of = (title: string): string => said.find(({ part }) => part.title === title)?.output ?? ''
      expect(of('a copy of the primary')).toContain('backup successfully verified')
      expect(of('start the standby')).toMatch(/streaming \| 198\.18\.\d+\.1 .*understudy_bravo/)
      expect(of('read the row')).toMatch(/seen\s*\n-+\n t\n[\s\S]*standby\s*\n-+\n t\n/)
      expect(of('synchronous replication, in effect')).toMatch(
        /ANY 1 \("bravo"\)[\s\S]*bravo .* streaming \| quorum/,
      )
      expect(of('what to look at from now on')).toMatch(/understudy_replication\s*\|\s*Replication/)

      // Acknowledged, really: without bravo a commit waits until its client gives up, and with it again it does not.
      const remove = parts.find(titled('remove the row'))?.text ?? ''
      const commit = (table: string, givesUp: string): string => {
        const text = remove
          .replace(/^DROP SCHEMA.*$/m, `CREATE TABLE ${table} ();`)
          .replace(`${DEBIAN}/psql`, `${givesUp} ${DEBIAN}/psql`)
        return inShell(text, servers.way('alpha', 'postgres'), servers.env, table)
      }
      const stop = `${DEBIAN}/pg_ctl -D /var/lib/understudy/main/bravo/data -w -m fast stop`
      inShell(stop, servers.way('bravo', 'postgres'), servers.env, 'stop bravo')
      expect(commit('waits', '! timeout --signal=INT 1')).toContain(
        'The transaction has already committed locally',
      )
      follow(parts.filter(titled('start the standby')), servers.way, servers.env)
      expect(commit('goes_on', '')).not.toContain('WARNING')
    },
  )

  test('on one machine, as `up` would set it up: three nodes, of which two acknowledge', async () => {
    const directory = mkdtempSync(path.join(realpathSync(tmpdir()), 'h-'))
    chmodSync(directory, 0o755)
    cleanups.push(() => rmSync(directory, { recursive: true, force: true }))
    cleanups.push(() => endAll([directory]))
    const data = path.join(directory, 'c')
    const parts = await explained(['--data', data, '--port-base', String(await reservePorts())])
    const own = userInfo().username
    const way: Way = (_on, as) => (as === own ? ['env'] : ['setpriv', ...setprivOf(as)])
    const said = follow(parts, way, environment())
    const synchronous = said.find(({ part }) => part.title === 'synchronous replication, in effect')?.output
    expect(synchronous).toMatch(
      /ANY 1 \("bravo", "charlie"\)[\s\S]*bravo[^\n]*quorum[\s\S]*charlie[^\n]*quorum/,
    )
    // Explaining has made nothing itself, and nothing that `up` would take for a cluster.
    expect(existsSync(path.join(data, 'local.json'))).toBe(false)
  })
})

function setprivOf(user: string): readonly string[] {
  return [`--reuid=${user}`, `--regid=${user}`, '--clear-groups', '--']
}

function environment(over: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  return { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/', LC_ALL: 'C.UTF-8', ...over }
}

interface Servers {
  readonly addressOf: (node: string) => string
  readonly way: Way
  readonly env: NodeJS.ProcessEnv
}

/** Two namespaces joined by a bridge, each with an empty /var/lib of its own: what one server writes the other does not see. */
async function openServers(): Promise<Servers> {
  const claim = await claimLab()
  cleanups.push(() => claim.release())
  const network = await openNamespaces({
    ...{ number: claim.number, name: claim.name, places: ['alpha', 'bravo'] },
    ...{ services: [], local: [], canDelay: false, runAs: null },
  })
  cleanups.push(() => network.close())
  const alpha = await holdServer(claim, network, 'alpha')
  const bravo = await holdServer(claim, network, 'bravo')
  const enter = (pid: number): [string, ...string[]] => [
    'nsenter',
    `--target=${pid}`,
    '--mount',
    '--net',
    '--',
  ]
  // There is no ssh daemon here: the stand-in goes into the other server's namespaces.
  const ssh = path.join(claim.directory, 'ssh')
  writeFileSync(ssh, `#!/bin/sh\nshift\nexec ${enter(bravo).join(' ')} sh -c "$*"\n`, { mode: 0o755 })
  chmodSync(claim.directory, 0o755)
  return {
    addressOf: (node) => network.addressOf('alpha', node),
    way: (on, as) => {
      const server = enter(on === 'alpha' ? alpha : bravo)
      return as === 'root' ? server : [...server, 'setpriv', ...setprivOf(as)]
    },
    env: environment({ PATH: `${claim.directory}:/usr/sbin:/usr/bin:/sbin:/bin` }),
  }
}

/** The process that keeps a server's namespaces; ended, with all that runs in them, when the claim is released. */
async function holdServer(claim: Claim, network: Network, place: string): Promise<number> {
  const held = `mount -t tmpfs -o mode=0755 ${claim.name} /var/lib && echo ready && exec sleep 600`
  const [program = '', ...args] = network.at(place, ['unshare', '--mount', 'sh', '-c', held])
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code) => reject(new Error(`the server ${place} ended with ${code}`)))
    child.stdout.once('data', () => resolve())
  })
  const { pid } = child
  if (pid === undefined || spawnSync('test', ['-d', `/proc/${pid}`]).status !== 0)
    throw new Error(`the server ${place} has no process`)
  return pid
}
