/** `understudy doctor`: what a start needs on this machine, and for each thing that is missing the command that mends it. */
import { type Finding, runChecks } from '../doctor/check.ts'
import { MACHINE_CHECKS } from '../doctor/machine.ts'
import { MEMBER_CHECKS } from '../doctor/members.ts'
import { PLACE_CHECKS } from '../doctor/place.ts'
import { PROXY_CHECKS } from '../doctor/proxy.ts'
import { connectReadOnly } from '../doctor/replication/connect.ts'
import { readReplication } from '../doctor/replication/facts.ts'
import { judgeReplication } from '../doctor/replication/judge.ts'
import { RUNNING_CHECKS } from '../doctor/running.ts'
import { buildScene, type SceneFlags } from '../doctor/scene.ts'
import { plural } from '../humanise.ts'
import { colourFor, EXIT, print, printJson, widthOf } from '../output.ts'
import { type Paint, paintFor, type Style, wantsUnicode } from '../paint.ts'
import { padEnd, wrap } from '../text.ts'

export interface DoctorOptions extends SceneFlags {
  readonly json?: boolean
  /** A primary of somebody else: its replication is looked at, and nothing of this machine. */
  readonly url?: string
}

export async function run(options: DoctorOptions): Promise<number> {
  const findings = await (options.url === undefined ? examineHere(options) : examineServer(options.url))
  const failed = findings.some((finding) => finding.status === 'failed')
  if (options.json) printJson({ ok: !failed, checks: findings })
  else
    print(
      renderFindings(findings, {
        width: widthOf(process.stdout),
        paint: paintFor(colourFor(process.stdout)),
        unicode: wantsUnicode(process.env),
      }),
    )
  return failed ? EXIT.unhealthy : EXIT.done
}

async function examineHere(options: DoctorOptions): Promise<readonly Finding[]> {
  const scene = await buildScene(options)
  const several = scene.cluster !== null && scene.cluster.local === null
  const proxied = scene.cluster !== null && scene.cluster.config.proxy !== null
  const checks = [
    ...[...MACHINE_CHECKS, ...PLACE_CHECKS, ...RUNNING_CHECKS],
    ...(several ? MEMBER_CHECKS : []),
    ...(proxied ? PROXY_CHECKS : []),
  ]
  return runChecks(checks, scene)
}

/** Errors: usage, unreachable, auth-failed. */
async function examineServer(url: string): Promise<readonly Finding[]> {
  const client = await connectReadOnly(url)
  try {
    return judgeReplication(await readReplication(client))
  } finally {
    await client.end().catch(() => {})
  }
}

export interface FindingsScreen {
  readonly width: number
  readonly paint: Paint
  readonly unicode: boolean
}

const STYLES: Readonly<Record<Finding['status'], Style>> = { ok: 'green', warning: 'yellow', failed: 'red' }

/** Pure. */
export function renderFindings(findings: readonly Finding[], screen: FindingsScreen): string[] {
  const { width, paint, unicode } = screen
  const icons = unicode ? { ok: '✓', warning: '!', failed: '✗' } : { ok: '+', warning: '!', failed: 'x' }
  const column = Math.max(...findings.map(({ title }) => title.length)) + 2
  const room = Math.max(20, width - column - 2)
  const lines = findings.flatMap(({ status, title, message, hint }) => {
    const said = wrap(message, room)
    const mend = hint === null ? [] : wrap(`HINT: ${hint}`, room)
    const margin = ' '.repeat(column + 2)
    return [
      `${paint(STYLES[status], icons[status])} ${paint('bold', padEnd(title, column))}${said[0] ?? ''}`,
      ...said.slice(1).map((line) => margin + line),
      ...mend.map((line) => margin + paint('dim', line)),
    ]
  })
  return [...lines, '', summary(findings)]
}

function summary(findings: readonly Finding[]): string {
  const count = (status: Finding['status']): number =>
    findings.filter((finding) => finding.status === status).length
  return `${count('ok')} ok, ${plural(count('warning'), 'warning')}, ${count('failed')} failed`
}
