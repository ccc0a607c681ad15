/**
 * `understudy up`: prepares the directory, starts or takes over the parts, shows the start as steps, proves replication, shows the
 * board, and stays until it is told to stop. With --detach the supervisor is a process of its own and this one only watches.
 */
import { readFile } from 'node:fs/promises'
import type { ClusterStatus } from '../../api/contract.ts'
import { UnderstudyError } from '../../errors/codes.ts'
import { connectionLines, renderBoard } from '../board.ts'
import { explainUp } from '../by-hand/explain.ts'
import { humanDuration } from '../humanise.ts'
import { followStart, type Readiness } from '../local/follow.ts'
import { logFile, supervisorPart } from '../local/layout.ts'
import { reloadPostgres } from '../local/leftovers.ts'
import { acquireLock, type Lock } from '../local/lock.ts'
import { namedDirectory, type OpenCluster } from '../local/open.ts'
import { refuseTakenPorts } from '../local/ports.ts'
import { prepareCluster, type UpFlags } from '../local/prepare.ts'
import { isRoot, prepareForUser, runAs } from '../local/privileges.ts'
import { findPart, isAlive, startPart } from '../local/processes.ts'
import { proveReplication } from '../local/proof.ts'
import { Supervisor } from '../local/supervisor.ts'
import { colourFor, EXIT, note, print, printJson, widthOf } from '../output.ts'
import { createStepView, type StepView } from '../steps.ts'

export interface UpOptions extends UpFlags {
  readonly data?: string
  readonly detach: boolean
  /** Nothing is started; what would be done is printed. */
  readonly explain?: true
  /** With explain: NAME=HOST of each server. */
  readonly on?: readonly string[]
  readonly json: boolean
}

export async function run(options: UpOptions): Promise<number> {
  if (options.explain === true) return explainUp(options)
  if (options.on !== undefined)
    throw new UnderstudyError('usage', '`up` starts a cluster on this machine only', {
      hint: '--on goes with --explain; `understudy init` is for several machines.',
    })
  const named = namedDirectory(options)
  if (isRoot()) {
    const { user, directory } = await prepareForUser(named)
    return runAs(user, argumentsOf(options, directory), named)
  }
  const { cluster, renewed } = await prepareCluster(named, options)
  await reloadPostgres(cluster, renewed)
  const lock = await acquireLock(cluster.directory, 'up')
  if (lock === null) return options.detach ? await watchRunning(cluster, options) : refuseSecond(cluster)
  return options.detach
    ? await startDetached(cluster, lock, options)
    : await runInForeground(cluster, lock, options)
}

/** The same command for the unprivileged user; only the directory may have another name for it. */
function argumentsOf(options: UpOptions, directory: string): readonly string[] {
  const valued: readonly (readonly [string, string | number | undefined])[] = [
    ['--nodes', options.nodes],
    ['--pg', options.pg],
    ['--port-base', options.portBase],
    ['--durability', options.durability],
    ['--rto', options.rto],
  ]
  return [
    'up',
    '--data',
    directory,
    ...valued.flatMap(([flag, value]) => (value === undefined ? [] : [flag, String(value)])),
    ...(options.detach ? ['--detach'] : []),
    ...(options.json ? ['--json'] : []),
  ]
}

function refuseSecond(cluster: OpenCluster): never {
  const pid = findPart(supervisorPart(cluster.directory))
  const who = pid === null ? 'another `understudy up`' : `process ${pid}`
  throw new UnderstudyError(
    'already-running',
    `the cluster in ${shownDirectory(cluster)} is already run by ${who}`,
  )
}

async function runInForeground(cluster: OpenCluster, lock: Lock, options: UpOptions): Promise<number> {
  const ended = new AbortController()
  listenForEnd(ended)
  await refuseTakenPorts(cluster)
  const view = stepView(options)
  const supervisor = new Supervisor(cluster, (message) => view.warn(message))
  supervisor.startAll()
  const watching = supervisor.watch(ended.signal)
  try {
    const readiness = await followStart(cluster.config, view, ended.signal)
    await tellReadiness(cluster, readiness, view, options)
    view.close()
    if (readiness.kind !== 'aborted' && !options.json)
      note('Ctrl-C stops the cluster in order; the data stays.')
    await watching
  } finally {
    view.close()
    ended.abort()
    await stopInOrder(supervisor, options)
    await lock.release()
  }
  return EXIT.done
}

async function stopInOrder(supervisor: Supervisor, options: UpOptions): Promise<void> {
  const view = stepView(options)
  const startedAtMs = performance.now()
  view.step('stop', 'stopping')
  try {
    await supervisor.stop((name) => view.detail('stop', name))
    view.done('stop', 'stopped: primary, standbys, store', performance.now() - startedAtMs)
  } finally {
    view.close()
  }
}

/** The lock goes over to the supervisor: it is let go here, right before that process takes it. */
async function startDetached(cluster: OpenCluster, lock: Lock, options: UpOptions): Promise<number> {
  await refuseTakenPorts(cluster)
  await lock.release()
  const part = supervisorPart(cluster.directory)
  const pid = startPart(part, logFile(cluster.directory, 'supervisor'))
  return watchRunning(cluster, options, pid)
}

async function watchRunning(
  cluster: OpenCluster,
  options: UpOptions,
  supervisorPid?: number,
): Promise<number> {
  const ended = new AbortController()
  listenForEnd(ended)
  const view = stepView(options)
  let watched = supervisorPid
  const guard =
    watched === undefined
      ? null
      : setInterval(() => {
          if (watched === undefined || isAlive(watched)) return
          // Of two that were started at once one gives way at once: the other one brings the cluster up.
          watched = findPart(supervisorPart(cluster.directory)) ?? undefined
          if (watched === undefined) ended.abort('died')
        }, 200)
  try {
    const readiness = await followStart(cluster.config, view, ended.signal)
    if (readiness.kind === 'aborted' && ended.signal.reason === 'died') throw await deathOf(cluster)
    await tellReadiness(cluster, readiness, view, options)
    return readiness.kind === 'stuck' ? EXIT.unhealthy : EXIT.done
  } finally {
    if (guard !== null) clearInterval(guard)
    view.close()
  }
}

async function deathOf(cluster: OpenCluster): Promise<UnderstudyError> {
  const file = logFile(cluster.directory, 'supervisor')
  const text = await readFile(file, 'utf8').catch(() => '')
  const last = text.trim().split('\n').slice(-3).join(' / ')
  return new UnderstudyError('internal', `the supervisor has ended: ${last}`, { hint: `Its log is ${file}.` })
}

async function tellReadiness(
  cluster: OpenCluster,
  readiness: Readiness,
  view: StepView,
  options: UpOptions,
): Promise<void> {
  if (readiness.kind === 'aborted') return
  if (readiness.kind === 'stuck') {
    view.close()
    tellStuck(cluster, readiness, options)
    return
  }
  await showProof(cluster, readiness.status, view)
  view.close()
  if (options.json) printJson(readiness.status)
  else showBoard(cluster, readiness.status)
}

/** What runs goes on: two of three nodes are worth more than none. Without a primary there is nothing to go on with. */
function tellStuck(
  cluster: OpenCluster,
  readiness: Extract<Readiness, { kind: 'stuck' }>,
  options: UpOptions,
): void {
  const { status, problem } = readiness
  if (status?.primary === null || status === null) {
    const message =
      problem === null
        ? 'the cluster did not become ready'
        : `${problem.node ?? 'cluster'}: ${problem.message}`
    throw new UnderstudyError('unhealthy', message, problem === null ? {} : { hint: problem.hint })
  }
  if (options.json) printJson(status)
  else showBoard(cluster, status)
}

async function showProof(cluster: OpenCluster, status: ClusterStatus, view: StepView): Promise<void> {
  if (status.primary === null || status.nodes.length < 2) return
  view.step('proof', 'proof: a row written on the primary is read on each secondary')
  const proof = await proveReplication(cluster.config, status.primary)
  const seen = proof.standbys.map(({ node, delayMs }) => `${node} after ${humanDuration(delayMs)}`).join(', ')
  view.done(
    'proof',
    `proof: a row committed on ${status.primary} in ${humanDuration(proof.commitMs)} is read on ${seen}`,
  )
}

function showBoard(cluster: OpenCluster, status: ClusterStatus): void {
  const connection = connectionLines({ program: 'npx understudy', data: dataFlag(cluster) })
  const options = { width: widthOf(process.stdout), colour: colourFor(process.stdout), connection }
  print(['', ...renderBoard(status, options), ''])
}

/** The directory as the person knows it, not as the unprivileged user does. */
function shownDirectory(cluster: OpenCluster): string {
  return process.env['UNDERSTUDY_SHOWN_DATA'] ?? cluster.directory
}

function dataFlag(cluster: OpenCluster): string | null {
  const shown = shownDirectory(cluster)
  return shown.endsWith('/.understudy') ? null : shown
}

function stepView(options: UpOptions): StepView {
  // With --json standard output belongs to the object.
  return createStepView({ stream: process.stderr, plain: options.json, colour: colourFor(process.stderr) })
}

/** A second Ctrl-C changes nothing: stopping in order is the fastest way that loses nothing. */
function listenForEnd(ended: AbortController): void {
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => ended.abort(name))
  // Started by root as somebody else: without that parent nobody can reach this process any more.
  if (process.connected) process.on('disconnect', () => process.exit(EXIT.failed))
}
