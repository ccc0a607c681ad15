/**
 * The file system of a bare Debian 12 server with PostgreSQL and etcd from its packages, and this program as `npm install --global` puts it
 * there. The first is built once and kept, read-only: it takes minutes, and Debian's packages.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { attempt, run } from '../lab/shell.ts'

const PACKAGES = [
  ...['systemd', 'systemd-sysv', 'dbus', 'procps', 'iproute2', 'openssl', 'libstdc++6'],
  ...['postgresql-15', 'postgresql-client-15', 'etcd-server', 'etcd-client'],
]
const KEPT_IN = process.env['UNDERSTUDY_TEST_IMAGES'] ?? '/var/cache/understudy-tests'
const BUILD_DEADLINE_MS = 900_000

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** Why no machine can be booted here, and what helps; null when one can. */
export async function machinesMissing(): Promise<string | null> {
  if (process.getuid?.() !== 0) return 'only root boots machines'
  for (const [program, debianPackage] of [
    ['ip', 'iproute2'],
    ['unshare', 'util-linux'],
    ['setpriv', 'util-linux'],
    ['mmdebstrap', 'mmdebstrap'],
  ] as const)
    if (!(await attempt('which', [program])))
      return `${program} is not installed (apt install ${debianPackage})`
  if (cgroupRoot() === null) return 'no cgroup2 is mounted (mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified)'
  const tried = await run('unshare', [
    '--pid',
    '--mount',
    '--uts',
    '--ipc',
    '--cgroup',
    '--net',
    '--fork',
    'true',
  ]).catch((error: Error) => error.message)
  return tried === '' ? null : `no namespaces can be made here: ${tried}`
}

/** Where the second version of control groups is mounted: everything of it, or beside the first version. */
export function cgroupRoot(): string | null {
  const lines = readFileSync('/proc/self/mounts', 'utf8').split('\n')
  return lines.map((line) => line.split(' ')).find(([, , type]) => type === 'cgroup2')?.[1] ?? null
}

/** The root of the bare server. */
export function debianRoot(): string {
  const digest = createHash('sha256').update(PACKAGES.join(' ')).digest('hex').slice(0, 12)
  const target = path.join(KEPT_IN, `debian-12-${digest}`)
  if (existsSync(target)) return target
  mkdirSync(KEPT_IN, { recursive: true })
  const part = `${target}.part-${process.pid}`
  try {
    execFileSync(
      'mmdebstrap',
      ['--quiet', '--variant=minbase', `--include=${PACKAGES.join(',')}`, 'bookworm', part],
      {
        stdio: ['ignore', 'ignore', 'inherit'],
        timeout: BUILD_DEADLINE_MS,
      },
    )
    renameSync(part, target)
  } finally {
    rmSync(part, { recursive: true, force: true })
  }
  return target
}

/** What is laid over it, in `directory`: the program, and no service of the package etcd-server, which would take the ports. */
export function programLayer(directory: string): string {
  const installed = path.join(directory, 'usr/local/lib/node_modules/pg-understudy')
  for (const each of [
    installed,
    path.join(directory, 'usr/local/bin'),
    path.join(directory, 'etc/systemd/system'),
  ])
    mkdirSync(each, { recursive: true, mode: 0o755 })
  cpSync(path.join(ROOT, 'package.json'), path.join(installed, 'package.json'))
  cpSync(path.join(ROOT, 'dist/src'), path.join(installed, 'dist/src'), { recursive: true })
  for (const module of runtimeModules())
    cpSync(path.join(ROOT, module), path.join(installed, module), { recursive: true, verbatimSymlinks: true })
  chmodSync(path.join(installed, 'dist/src/cli/main.js'), 0o755)
  symlinkSync(
    '../lib/node_modules/pg-understudy/dist/src/cli/main.js',
    path.join(directory, 'usr/local/bin/understudy'),
  )
  // Where Node is put when the machine boots.
  writeFileSync(path.join(directory, 'usr/local/bin/node'), '')
  symlinkSync('/dev/null', path.join(directory, 'etc/systemd/system/etcd.service'))
  return directory
}

/** Those that the lock file calls neither optional nor for development. */
function runtimeModules(): readonly string[] {
  const { packages } = JSON.parse(readFileSync(path.join(ROOT, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { dev?: boolean; optional?: boolean; devOptional?: boolean }>
  }
  return Object.entries(packages)
    .filter(([name, { dev, optional, devOptional }]) => name !== '' && !dev && !optional && !devOptional)
    .map(([name]) => name)
    .filter((name) => !name.slice('node_modules/'.length).includes('/node_modules/'))
}
