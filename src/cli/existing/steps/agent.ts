/** The node's agent. It finds a server that it may not touch yet, and waits: whatever keeps it from running is found before the outage. */
import { spawn } from 'node:child_process'
import { closeSync, fchownSync, openSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { UnderstudyError } from '../../../errors/codes.ts'
import { askNode } from '../../api-client.ts'
import { listProcesses } from '../../doctor/proc.ts'
import { reachableProgram } from '../../local/privileges.ts'
import { hasSystemd, systemctl } from '../../machines/systemctl.ts'
import { agentUnitName } from '../../machines/units.ts'
import type { Journal } from '../journal.ts'
import type { Step, StepContext } from './step.ts'
import { isInstalled, unitNames } from './units.ts'

const ANSWER_DEADLINE_MS = 60_000
/** As long as a stop in order of PostgreSQL may take (the unit's TimeoutStopSec). */
const END_DEADLINE_MS = 150_000
const LOOK_AGAIN_MS = 100

export const agentStep: Step = {
  id: 'agent',
  title: ({ journal }) => `agent of ${journal.node}`,
  async carryOut(context) {
    if ((await askNode(context.node)).kind !== 'ok') await startAgent(context)
    await waitUntilReady(context)
  },
  async undo({ journal }) {
    // Its unit stays enabled until the service of before is: a boot in between starts the server, by one of them.
    if (hasSystemd() && isInstalled(agentUnitName(journal))) await systemctl('stop', agentUnitName(journal))
    await endAgent(journal)
  },
}

async function startAgent({ journal, say }: StepContext): Promise<void> {
  if (hasSystemd()) {
    // An etcd is ready only with a majority of its members, which may be elsewhere.
    for (const unit of unitNames(journal).filter(isInstalled)) await systemctl('start', '--no-block', unit)
    return
  }
  if ((await agentPids(journal)).length > 0) return
  const { owner } = journal.server
  const { node, program } = await reachableProgram({ ...owner, home: journal.nodeDirectory })
  const file = path.join(journal.nodeDirectory, 'log', 'agent.log')
  const log = openSync(file, 'a', 0o600)
  try {
    if (process.getuid?.() === 0) fchownSync(log, owner.uid, owner.gid)
    const child = spawn(node, [program, ...agentWords(journal)], {
      ...(process.getuid?.() === 0 && { uid: owner.uid, gid: owner.gid }),
      cwd: '/',
      detached: true,
      stdio: ['ignore', log, log],
      env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin', HOME: journal.nodeDirectory, LC_ALL: 'C' },
    })
    child.on('error', (error) => say(`the agent could not be started: ${error.message}`))
    child.unref()
  } finally {
    closeSync(log)
  }
}

export function agentWords({ bundleDirectory, node }: Journal): readonly string[] {
  return ['agent', '--config', path.join(bundleDirectory, 'understudy.yaml'), '--node', node]
}

export async function agentPids(journal: Journal): Promise<readonly number[]> {
  const words = agentWords(journal).join('\0')
  const found = await listProcesses()
  return found.filter(({ args }) => args.join('\0').endsWith(words)).map(({ pid }) => pid)
}

/** It serves its API and reads the store. Errors: timeout, with what it says itself. */
async function waitUntilReady({ node, journal }: StepContext): Promise<void> {
  const deadline = performance.now() + ANSWER_DEADLINE_MS
  for (;;) {
    const answer = await askNode(node)
    if (answer.kind === 'ok' && answer.value.storeReachable && READY.has(answer.value.decision.rule)) return
    if (performance.now() > deadline) {
      const why = answer.kind === 'ok' ? answer.value.decision.reason : answer.reason
      throw new UnderstudyError('timeout', `the agent of ${journal.node} does not become ready: ${why}`, {
        hint: `Its log says more (journalctl -u ${agentUnitName(journal)}, or ${path.join(journal.nodeDirectory, 'log', 'agent.log')}). The server runs as before, but its service of before would not start it: run the same command again, or \`understudy init --undo\`.`,
      })
    }
    await sleep(LOOK_AGAIN_MS)
  }
}

/** It waits for the server to be given to it, or has gone on from there before an interruption. */
const READY = new Set(['postmaster-foreign', 'replace-existing', 'keep-running'])

/** SIGTERM stops what it has started in order; a server that it was not given goes on. Errors: timeout. */
async function endAgent(journal: Journal): Promise<void> {
  const deadline = performance.now() + END_DEADLINE_MS
  for (const pid of await agentPids(journal)) process.kill(pid, 'SIGTERM')
  for (;;) {
    const left = await agentPids(journal)
    if (left.length === 0) return
    if (performance.now() > deadline)
      throw new UnderstudyError('timeout', `the agent (process ${left.join(', ')}) does not end`, {
        hint: 'End it yourself, then run the same command again.',
      })
    await sleep(LOOK_AGAIN_MS)
  }
}
