/**
 * Where things are in the store: the layout of docs/failover.md ("State") below `/understudy/<cluster>/`. Pure: names in, keys out, and
 * back. A name holds no slash, so that no name can reach into another part of the layout.
 */

const ROOT = '/understudy/'

export interface ClusterKeys {
  /** Everything of the cluster: the prefix to list and to watch. */
  readonly all: string
  /** The one document that says who is primary; changed only by compare-and-swap. */
  readonly primacy: string
  /** What the operator wants, with a generation. */
  readonly spec: string
  /** System identifier and major version: what every member must agree on. */
  readonly identity: string
  /** The claim of the one node that may create the first primary. */
  readonly bootstrap: string
  /** The lease of I10: who may acknowledge without standbys. */
  readonly primaryLease: string
  /** That the store has forgotten something; no lease ends it. */
  readonly stale: string
  readonly agents: string
  readonly nodes: string
  readonly ballots: string
  readonly requests: string
  readonly history: string
  /** Proxies let nothing begin meanwhile. */
  readonly hold: string
  readonly proxies: string
  /** Which agent lives under a node's name. */
  agent(name: string): string
  node(name: string): string
  proxy(name: string): string
  /** Every ballot of one epoch. */
  ballotsOf(epoch: number): string
  ballot(epoch: number, name: string): string
  request(id: string): string
  historyOf(epoch: number): string
  /** The node's name when the key is `nodes/<name>`, else null. */
  parseNode(key: string): string | null
  parseBallot(key: string): { readonly epoch: number; readonly name: string } | null
  parseRequest(key: string): string | null
  parseHistory(key: string): number | null
}

export function clusterKeys(cluster: string): ClusterKeys {
  const all = `${ROOT}${checkName(cluster)}/`
  const agents = `${all}agents/`
  const nodes = `${all}nodes/`
  const ballots = `${all}ballots/`
  const requests = `${all}requests/`
  const history = `${all}history/`
  const proxies = `${all}proxies/`
  return {
    all,
    primacy: `${all}primacy`,
    spec: `${all}spec`,
    identity: `${all}identity`,
    bootstrap: `${all}bootstrap`,
    primaryLease: `${all}primary-lease`,
    stale: `${all}stale`,
    agents,
    nodes,
    ballots,
    requests,
    history,
    hold: `${all}hold`,
    proxies,
    proxy: (name) => proxies + checkName(name),
    agent: (name) => agents + checkName(name),
    node: (name) => nodes + checkName(name),
    ballotsOf: (epoch) => `${ballots}${checkEpoch(epoch)}/`,
    ballot: (epoch, name) => `${ballots}${checkEpoch(epoch)}/${checkName(name)}`,
    request: (id) => requests + checkName(id),
    historyOf: (epoch) => history + checkEpoch(epoch),
    parseNode: (key) => nameAfter(nodes, key),
    parseBallot: (key) => parseBallot(ballots, key),
    parseRequest: (key) => nameAfter(requests, key),
    parseHistory: (key) => parseEpoch(nameAfter(history, key)),
  }
}

function parseBallot(prefix: string, key: string): { readonly epoch: number; readonly name: string } | null {
  if (!key.startsWith(prefix)) return null
  const parts = key.slice(prefix.length).split('/')
  const epoch = parseEpoch(parts[0] ?? null)
  const name = parts[1] ?? ''
  return epoch === null || parts.length !== 2 || name === '' ? null : { epoch, name }
}

function nameAfter(prefix: string, key: string): string | null {
  if (!key.startsWith(prefix)) return null
  const name = key.slice(prefix.length)
  return name === '' || name.includes('/') ? null : name
}

/** Only the one spelling that we write: `007` or `7 ` would be a second key for the same epoch. */
function parseEpoch(text: string | null): number | null {
  if (text === null || !/^(0|[1-9]\d{0,15})$/.test(text)) return null
  const epoch = Number(text)
  return Number.isSafeInteger(epoch) ? epoch : null
}

/** A name that is not one is a bug of the caller: the configuration and the API check names before they come here. */
function checkName(name: string): string {
  if (name === '' || name.includes('/') || name.includes('\0')) {
    throw new RangeError(`not a name that can be part of a key: ${JSON.stringify(name)}`)
  }
  return name
}

function checkEpoch(epoch: number): string {
  if (!Number.isSafeInteger(epoch) || epoch < 0) throw new RangeError(`not an epoch: ${epoch}`)
  return String(epoch)
}
