/**
 * The unit of systemd under which a server ran before understudy did. When its server ends, systemd does for it what it says: Debian's would
 * stop whatever runs in the data directory by then, one with Restart= would start the server anew. While the agent replaces the server, the
 * unit is kept from both, by a drop-in that a reboot forgets.
 */
import { mkdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { hasSystemd, systemctl, unitProperty } from '../machines/systemctl.ts'

export interface OldUnit {
  readonly name: string
  /** It starts at boot by itself. Debian's does by start.conf instead. */
  readonly isEnabled: boolean
}

const RUNTIME_DIRECTORY = '/run/systemd/system'
const DROP_IN = 'understudy.conf'
/** It has nothing to do but to see that its process has ended. */
const END_DEADLINE_MS = 10_000
const LOOK_AGAIN_MS = 50

/** null: it was started by hand, or by something else than systemd. */
export async function unitOf(pid: number): Promise<OldUnit | null> {
  if (!hasSystemd()) return null
  const name = unitIn(await readFile(`/proc/${pid}/cgroup`, 'utf8').catch(() => ''))
  if (name === null) return null
  return { name, isEnabled: (await unitProperty(name, 'UnitFileState')) === 'enabled' }
}

/** Of the text of /proc/PID/cgroup (cgroups(7)), where systemd's own hierarchy is the unified one or the named one. Pure. */
export function unitIn(text: string): string | null {
  // A service of a user's own systemd, or a session, is not started by the machine's.
  const places = [...text.matchAll(/^(?:0:|\d+:name=systemd):(\/system\.slice\/.*)$/gm)]
  return (
    places.flatMap(([, place = '']) => place.split('/')).find((part) => part.endsWith('.service')) ?? null
  )
}

/** Can be done twice. Errors: refused. */
export async function holdUnit({ name }: OldUnit): Promise<void> {
  const directory = dropInDirectory(name)
  await mkdir(directory, { recursive: true })
  await writeFile(
    path.join(directory, DROP_IN),
    `# Of understudy, while its agent replaces the server of this unit; taken away right after.
[Service]
ExecStop=
ExecStopPost=
Restart=no
RuntimeDirectoryPreserve=yes
`,
  )
  await systemctl('daemon-reload')
}

/** Once it has seen that its server has ended, where that has; can be done twice. Errors: refused. */
export async function letGoOfUnit({ name }: OldUnit, serverHasEnded: boolean): Promise<void> {
  const deadline = performance.now() + END_DEADLINE_MS
  while (serverHasEnded && performance.now() < deadline) {
    if (ENDED.has(await unitProperty(name, 'ActiveState'))) break
    await sleep(LOOK_AGAIN_MS)
  }
  const directory = dropInDirectory(name)
  await rm(path.join(directory, DROP_IN), { force: true })
  // Others may have drop-ins there.
  await rmdir(directory).catch(() => {})
  await systemctl('daemon-reload')
}

const ENDED = new Set(['inactive', 'failed'])

function dropInDirectory(name: string): string {
  return path.join(RUNTIME_DIRECTORY, `${name}.d`)
}
