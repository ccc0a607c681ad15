/** One timed base backup, by pg_basebackup or by our worker, with its peak memory and CPU time as /proc sees them. */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { startClone } from '../../src/replication/clone.ts'
import type { BenchPrimary } from './basebackup-primary.ts'

export interface BackupRun {
  readonly seconds: number
  readonly peakRssMb: number
  /** User and system time of the client; the server's is not in it. */
  readonly cpuSeconds: number
}

const SAMPLE_MS = 20
const TICKS_PER_SECOND = 100

export async function runPgBasebackup(
  primary: BenchPrimary,
  target: string,
  options: readonly string[],
): Promise<BackupRun> {
  const conninfo = [
    `host=127.0.0.1 port=${primary.port} user=${primary.user}`,
    `sslmode=verify-full sslrootcert=${primary.caFile} passfile=${primary.passfile}`,
  ].join(' ')
  const args = ['-d', conninfo, '-D', target, '-X', 'stream', '-c', 'fast', '--no-password', ...options]
  const startedAt = performance.now()
  const child = spawn(join(primary.binDirectory, 'pg_basebackup'), args, {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: primary.environment,
    ...(primary.runAs ?? {}),
  })
  const sampler = sample(child.pid)
  const exitCode = await new Promise((resolve) => child.once('exit', resolve))
  const seconds = (performance.now() - startedAt) / 1000
  if (exitCode !== 0) throw new Error(`pg_basebackup ended with ${exitCode}`)
  return { seconds, ...sampler.end() }
}

export async function runUnderstudy(
  primary: BenchPrimary,
  target: string,
  manifestChecksums: 'SHA256' | 'CRC32C',
): Promise<BackupRun> {
  const startedAt = performance.now()
  const clone = startClone(
    {
      address: { host: '127.0.0.1', port: primary.port },
      user: primary.user,
      passfile: primary.passfile,
      tls: { mode: 'verify-full', caPem: readFileSync(primary.caFile, 'utf8') },
      applicationName: 'understudy_bench',
      targetDirectory: target,
      finalFiles: [{ name: 'standby.signal', content: '' }],
      manifestChecksums,
    },
    { env: primary.environment, ...(primary.runAs ?? {}) },
  )
  const sampler = sample(clone.pid)
  const outcome = await clone.result
  const seconds = (performance.now() - startedAt) / 1000
  if (outcome.kind === 'failed') throw new Error(`${outcome.code}: ${outcome.message}`)
  return { seconds, ...sampler.end() }
}

/** Looks at /proc until the process is gone; the high-water mark and the times only ever grow, so the last look counts. */
function sample(pid: number | undefined): {
  end(): { readonly peakRssMb: number; readonly cpuSeconds: number }
} {
  let peakRssMb = 0
  let cpuSeconds = 0
  const timer = setInterval(() => {
    try {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8')
      peakRssMb = Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? peakRssMb * 1024) / 1024
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) /, '')
        .split(' ')
      cpuSeconds = (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
    } catch {
      // It has ended.
    }
  }, SAMPLE_MS)
  return {
    end: () => {
      clearInterval(timer)
      return { peakRssMb, cpuSeconds }
    },
  }
}
