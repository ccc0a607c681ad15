/** Changes to understudy.yaml that a command makes: what a person wrote around them, comments too, stays as it is. Pure. */
import { parseDocument } from 'yaml'

export interface NewNode {
  readonly name: string
  readonly host: string
  readonly port: number | undefined
  readonly apiPort: number | undefined
}

export function withNode(text: string, { name, host, port, apiPort }: NewNode): string {
  const document = parseDocument(text)
  document.setIn(['nodes', name], {
    host,
    ...(port !== undefined && { port }),
    ...(apiPort !== undefined && { apiPort }),
  })
  return document.toString(AS_WRITTEN)
}

export function withoutNode(text: string, name: string): string {
  const document = parseDocument(text)
  document.deleteIn(['nodes', name])
  return document.toString(AS_WRITTEN)
}

/** Long lines stay long. */
const AS_WRITTEN = { lineWidth: 0 }
