/**
 * The cloner of the composition root: a clone worker fills a directory beside the data directory, and only a whole copy gets the
 * final name. Interrupted anywhere it leaves a directory with an unfinished name, which the next start of the agent removes.
 */
import { randomBytes } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { ERRORS } from '../errors/codes.ts'
import type { CloneRequest, Cloner, Passfiles } from '../ports/cloner.ts'
import type { Outcome } from '../ports/postgres.ts'
import { fsyncDirectory } from '../postgres/durable.ts'
import { MARKER_VARIABLE, REPLICATION_ROLE, UNFINISHED_PREFIX } from '../postgres/layout.ts'
import { readSecret, writePassfile } from '../postgres/secrets.ts'
import { startClone } from '../replication/clone.ts'

export interface ClonerOptions {
  readonly node: string
  readonly nodeDirectory: string
  readonly caFile: string
  readonly replicationPasswordFile: string
}

export function createCloner(options: ClonerOptions): Cloner {
  return {
    async clone(request, onProgress, signal) {
      const startedAtMs = performance.now()
      const target = path.join(options.nodeDirectory, `${UNFINISHED_PREFIX}${randomBytes(4).toString('hex')}`)
      const passfile = await clonePassfile(options, request)
      if (passfile.kind !== 'ok') return passfile
      const running = startClone(
        {
          address: { host: request.host, port: request.port },
          user: REPLICATION_ROLE,
          passfile: passfile.value,
          tls: { mode: 'verify-full', caPem: await readFile(options.caFile, 'utf8') },
          applicationName: `clone of ${options.node}`,
          targetDirectory: target,
          expectedSystemIdentifier: request.systemIdentifier,
          // postgresql.auto.conf comes with the copy; what is harmful in it is taken out when the node is configured.
          finalFiles: [{ name: 'standby.signal', content: '' }],
          checkpoint: 'fast',
        },
        {
          env: { ...process.env, [MARKER_VARIABLE]: options.nodeDirectory },
          onProgress: ({ phase, bytesDone, bytesTotal }) => onProgress({ phase, bytesDone, bytesTotal }),
        },
      )
      const abort = (): void => running.abort()
      signal.addEventListener('abort', abort, { once: true })
      const outcome = await running.result
      signal.removeEventListener('abort', abort)
      await rm(passfile.value, { force: true })
      if (outcome.kind === 'failed') {
        await rm(target, { recursive: true, force: true }).catch(() => {})
        return { kind: 'failed', code: outcome.code, reason: outcome.message, hint: outcome.hint }
      }
      const room = await request.makeRoom()
      if (room.kind !== 'ok') return room
      const placed = await putInPlace(target, path.join(options.nodeDirectory, 'data'))
      if (placed.kind !== 'ok') return placed
      return {
        kind: 'ok',
        value: { bytes: outcome.bytes, durationMs: Math.round(performance.now() - startedAtMs) },
      }
    },
  }
}

/** rename(2) replaces an empty directory and refuses one with contents, which is what must happen. */
async function putInPlace(target: string, data: string): Promise<Outcome> {
  try {
    await rename(target, data)
    await fsyncDirectory(path.dirname(data))
    return { kind: 'ok', value: null }
  } catch (error) {
    const reason = `the clone could not be put in place as ${data}: ${(error as Error).message}`
    return { kind: 'failed', code: 'clone-failed', reason, hint: ERRORS['clone-failed'].hint }
  }
}

async function clonePassfile(options: ClonerOptions, request: CloneRequest): Promise<Outcome<string>> {
  return writeFor(options, path.join(options.nodeDirectory, 'secrets', 'clone.passfile'), request)
}

async function writeFor(
  options: ClonerOptions,
  file: string,
  upstream: { readonly host: string; readonly port: number },
): Promise<Outcome<string>> {
  const password = await readSecret(options.replicationPasswordFile)
  if (password.kind !== 'ok') return password
  await mkdir(path.dirname(file), { recursive: true, mode: 0o700 })
  const written = await writePassfile(file, [
    {
      host: upstream.host,
      port: upstream.port,
      database: 'replication',
      user: REPLICATION_ROLE,
      password: password.value,
    },
  ])
  return written.kind === 'ok' ? { kind: 'ok', value: file } : written
}

/** One passfile per epoch: a fence removes it, and a walreceiver that tries once more finds no password (I3). */
export function createPassfiles(options: ClonerOptions): Passfiles {
  const directory = path.join(options.nodeDirectory, 'secrets')
  const fileOf = (epoch: number): string => path.join(directory, `upstream-${epoch}.passfile`)
  return {
    write: (epoch, upstream) => writeFor(options, fileOf(epoch), upstream),
    async keepOnly(epoch) {
      await removeOthers(directory, epoch === null ? null : path.basename(fileOf(epoch)))
    },
  }
}

async function removeOthers(directory: string, kept: string | null): Promise<void> {
  const entries = await readdir(directory).catch(() => [])
  const others = entries.filter((entry) => /^upstream-\d+\.passfile$/.test(entry) && entry !== kept)
  await Promise.all(others.map((entry) => rm(path.join(directory, entry), { force: true })))
}
