/**
 * What an agent tells systemd (sd_notify(3)): that it is ready, that its loop runs, that it is stopping. Node has no datagram sockets of the
 * unix family, so the program systemd-notify says it; it waits until systemd has taken the message, so that its end is not a race.
 */
import { spawn } from 'node:child_process'
import type { Log } from '../../ports/log.ts'

export interface ServiceManagerOptions {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly log: Log
  /** How long ago the loop last went round, in milliseconds. */
  readonly loopAgeMs: () => number
}

export interface ServiceManager {
  ready(): void
  stopping(): void
  /** Can be called twice. */
  close(): void
}

const NOBODY: ServiceManager = { ready: () => {}, stopping: () => {}, close: () => {} }

/** Does nothing where no service manager waits for news. */
export function serviceManager({ env, log, loopAgeMs }: ServiceManagerOptions): ServiceManager {
  if ((env['NOTIFY_SOCKET'] ?? '') === '') return NOBODY
  let isMissing = false
  const tell = (...messages: readonly string[]): void => {
    const child = spawn('systemd-notify', messages, { stdio: 'ignore' })
    child.on('error', () => {
      if (!isMissing) log.warn('systemd-notify cannot be run: systemd hears nothing of this agent')
      isMissing = true
    })
    child.unref()
  }
  const watchdogMs = watchdogOf(env)
  let timer: NodeJS.Timeout | undefined
  return {
    ready: () => {
      tell('READY=1')
      if (watchdogMs === null) return
      timer = setInterval(() => {
        // An event loop that turns while the agent's own loop hangs is no sign of life.
        if (loopAgeMs() < watchdogMs) tell('WATCHDOG=1')
      }, watchdogMs / 3)
      timer.unref()
    },
    stopping: () => tell('STOPPING=1'),
    close: () => clearInterval(timer),
  }
}

/** Milliseconds; null: systemd asks for no signs of life, or not from this process. */
export function watchdogOf(env: Readonly<Record<string, string | undefined>>): number | null {
  const us = Number(env['WATCHDOG_USEC'] ?? '')
  const pid = env['WATCHDOG_PID']
  if (!Number.isSafeInteger(us) || us <= 0) return null
  return pid !== undefined && pid !== String(process.pid) ? null : us / 1000
}
