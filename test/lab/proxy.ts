/** The proxy of a lab, where its clients are: what they reach the cluster through. */
import path from 'node:path'
import { type LabFiles, PROXY } from './files.ts'
import { CLIENTS, type Network } from './network.ts'
import { type Program, startProgram } from './program.ts'

export interface LabProxyOptions {
  readonly files: LabFiles
  readonly network: Network
  readonly port: number
  /** Node and what it runs, as for an agent. */
  readonly node: string
  readonly program: string
}

export class LabProxy {
  readonly port: number
  readonly #options: LabProxyOptions
  #running: Program | null = null

  constructor(options: LabProxyOptions) {
    this.#options = options
    this.port = options.port
  }

  start(): void {
    const { files, network, node, program } = this.#options
    this.#running = startProgram({
      command: network.at(CLIENTS, [node, program, 'proxy', '--config', files.configFile(PROXY)]),
      directory: files.directory,
      logFile: path.join(files.directory, 'logs', 'proxy.log'),
      env: { HOME: files.directory },
    })
  }

  /** How it ended by itself; null: it runs. */
  get outcome(): string | null {
    return this.#running?.outcome() ?? null
  }
}
