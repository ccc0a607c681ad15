/**
 * What changes in a proxy's files while it runs: its certificate, and who the nodes are. It is looked at now and then; whatever cannot be used
 * is told once, and the last that could stays in force. Its other settings count when it is started again.
 */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createSecureContext, type SecureContext } from 'node:tls'
import { loadConfig, type ResolvedConfig, type ResolvedNode } from '../config/load.ts'
import { toUnderstudyError, UnderstudyError } from '../errors/codes.ts'
import type { Log } from '../ports/log.ts'

export interface ProxyFilesOptions {
  readonly config: ResolvedConfig
  /** Name of its certificate and key in tls/. */
  readonly certificate: string
  readonly log: Log
  readonly onNodes: (nodes: readonly ResolvedNode[]) => void
}

const EVERY_MS = 5_000

interface Certificate {
  readonly context: SecureContext
  readonly fingerprint: string
}

export class ProxyFiles {
  readonly #options: ProxyFilesOptions
  #certificate: Certificate
  #nodes: readonly ResolvedNode[]
  #timer: NodeJS.Timeout | null = null
  #complained = ''

  private constructor(options: ProxyFilesOptions, certificate: Certificate) {
    this.#options = options
    this.#certificate = certificate
    this.#nodes = options.config.nodes
  }

  /** Errors: tls-failed. */
  static async open(options: ProxyFilesOptions): Promise<ProxyFiles> {
    return new ProxyFiles(options, await readCertificate(options))
  }

  get secureContext(): SecureContext {
    return this.#certificate.context
  }

  get nodes(): readonly ResolvedNode[] {
    return this.#nodes
  }

  start(): void {
    this.#timer = setInterval(() => void this.#look(), EVERY_MS)
    this.#timer.unref()
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
  }

  async #look(): Promise<void> {
    try {
      const certificate = await readCertificate(this.#options)
      if (certificate.fingerprint !== this.#certificate.fingerprint) {
        this.#certificate = certificate
        this.#options.log.info('the certificate was renewed')
      }
      const { nodes } = await loadConfig(this.#options.config.file)
      if (JSON.stringify(nodes) !== JSON.stringify(this.#nodes)) {
        this.#nodes = nodes
        this.#options.log.info(`the nodes are ${nodes.map(({ name }) => name).join(', ')}`)
        this.#options.onNodes(nodes)
      }
      this.#complained = ''
    } catch (error) {
      // Half of a renewal does not fit together; the next look sees the whole of it.
      const { message } = toUnderstudyError(error)
      if (message !== this.#complained)
        this.#options.log.warn('what has changed in its files cannot be used', { reason: message })
      this.#complained = message
    }
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
