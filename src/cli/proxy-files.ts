/**
 * What changes in a proxy's files while it runs: its certificate, who the nodes are, and its settings. They are looked at now and then, and at
 * once when somebody asks; whatever cannot be used is told once, and the last that could stays in force.
 */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createSecureContext, type SecureContext } from 'node:tls'
import { loadConfig, type ResolvedConfig, type ResolvedNode } from '../config/load.ts'
import type { ProxyConfig } from '../config/sections/proxy.ts'
import { toUnderstudyError, UnderstudyError } from '../errors/codes.ts'
import type { Log } from '../ports/log.ts'
import type { Reloaded } from '../ports/proxy-view.ts'
import { differences } from './proxy-keys.ts'

export interface ProxyFilesOptions {
  readonly config: ResolvedConfig
  /** Name of its certificate and key in tls/. */
  readonly certificate: string
  readonly log: Log
  readonly onNodes: (nodes: readonly ResolvedNode[]) => void
  /** Of keys that can be taken over. */
  readonly onSettings: (config: ResolvedConfig) => void
}

const EVERY_MS = 5_000

interface Certificate {
  readonly context: SecureContext
  readonly fingerprint: string
}

export class ProxyFiles {
  readonly #options: ProxyFilesOptions
  #certificate: Certificate
  #config: ResolvedConfig
  #timer: NodeJS.Timeout | null = null
  #looking: Promise<Reloaded> | null = null
  #complained = ''
  /** Keys that wait for a restart, as they were told last. */
  #toldRestart = ''

  private constructor(options: ProxyFilesOptions, certificate: Certificate) {
    this.#options = options
    this.#certificate = certificate
    this.#config = options.config
  }

  /** Errors: tls-failed. */
  static async open(options: ProxyFilesOptions): Promise<ProxyFiles> {
    return new ProxyFiles(options, await readCertificate(options))
  }

  get secureContext(): SecureContext {
    return this.#certificate.context
  }

  get nodes(): readonly ResolvedNode[] {
    return this.#config.nodes
  }

  /** As the file has them now; keys that need a restart are not in force. */
  get settings(): ProxyConfig | null {
    return this.#config.proxy
  }

  start(): void {
    this.#timer = setInterval(() => void this.look(), EVERY_MS)
    this.#timer.unref()
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
  }

  /** Takes over what has changed. One look at a time: whoever asks during one waits for it, and then for another. */
  async look(): Promise<Reloaded> {
    while (this.#looking !== null) await this.#looking
    this.#looking = this.#look()
    try {
      return await this.#looking
    } finally {
      this.#looking = null
    }
  }

  async #look(): Promise<Reloaded> {
    try {
      const certificate = await readCertificate(this.#options)
      const config = await loadConfig(this.#options.config.file)
      this.#complained = ''
      return this.#takeOver(certificate, config)
    } catch (error) {
      // Half of a renewal does not fit together; the next look sees the whole of it.
      const { message } = toUnderstudyError(error)
      if (message !== this.#complained)
        this.#options.log.warn('what has changed in its files cannot be used', { reason: message })
      this.#complained = message
      return { kind: 'refused', reason: message }
    }
  }

  #takeOver(certificate: Certificate, config: ResolvedConfig): Reloaded {
    const { log, onNodes, onSettings } = this.#options
    const changed: string[] = []
    const before = this.#config
    this.#config = config
    if (certificate.fingerprint !== this.#certificate.fingerprint) {
      this.#certificate = certificate
      changed.push('the certificate')
    }
    if (JSON.stringify(config.nodes) !== JSON.stringify(before.nodes)) {
      changed.push('the nodes')
      onNodes(config.nodes)
    }
    const settings = differences(before.proxy, config.proxy, 'reload')
    if (settings.length > 0 && config.proxy !== null) onSettings(config)
    changed.push(...settings)
    if (changed.length > 0) log.info(`taken over: ${changed.join(', ')}`)
    // Of what it was started with, for these are the ones that it has.
    const needsRestart = differences(this.#options.config.proxy, config.proxy, 'proxy')
    const words = needsRestart.join(', ')
    if (words !== this.#toldRestart && words !== '')
      log.warn(`counts when the proxy is started again: ${words}`)
    this.#toldRestart = words
    return { kind: 'done', changed, needsRestart }
  }
}

async function readCertificate({ config, certificate }: ProxyFilesOptions): Promise<Certificate> {
  const certFile = config.tls.certFile(certificate)
  try {
    const [cert, key] = await Promise.all([readFile(certFile), readFile(config.tls.keyFile(certificate))])
    return {
      context: createSecureContext({ cert, key, minVersion: 'TLSv1.2' }),
      fingerprint: createHash('sha256').update(cert).update('\0').update(key).digest('hex'),
    }
  } catch (error) {
    throw new UnderstudyError(
      'tls-failed',
      `${certFile} and its key cannot be used: ${(error as Error).message}`,
      {
        cause: error,
      },
    )
  }
}
