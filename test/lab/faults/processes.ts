/** Processes that die (SIGKILL) and processes that hang (SIGSTOP): one, the whole PostgreSQL, the whole node, every node. */
import { signal } from '../../support/cluster-processes.ts'
import type { Part } from '../node.ts'
import {
  drawAbsenceMs,
  drawSilenceMs,
  drawTarget,
  type FaultKind,
  NEVER_MISSING,
  nodeOfTarget,
} from './fault.ts'

const NOTHING = async (): Promise<void> => {}

/** What is killed, and whether somebody must start the agent again afterwards. */
function killing(name: string, weight: number, parts: readonly Part[]): FaultKind {
  const agentDies = parts.includes('agent') || parts.includes('node')
  return {
    name,
    weight,
    missing: NEVER_MISSING,
    plan: (chance) => ({
      target: drawTarget(chance),
      forMs: agentDies ? drawAbsenceMs(chance) : 0,
      with: {},
    }),
    inject: async (lab, { target }) => {
      const node = lab.node(await nodeOfTarget(lab, target))
      await Promise.all(parts.map((part) => node.kill(part)))
      return { what: `on ${node.name}`, heal: agentDies ? async () => node.startAgent() : NOTHING }
    },
  }
}

/** A child of the postmaster that dies makes PostgreSQL restart by itself, unless it is a walreceiver or a walsender. */
const killChild: FaultKind = {
  name: 'kill-child',
  weight: 3,
  missing: NEVER_MISSING,
  plan: (chance) => ({
    target: drawTarget(chance),
    forMs: 0,
    with: {
      child: chance.pick(['app app', 'checkpointer', 'walreceiver', 'walsender', 'walwriter', 'startup']),
    },
  }),
  inject: async (lab, { target, with: drawn }) => {
    const node = lab.node(await nodeOfTarget(lab, target))
    const child = String(drawn['child'])
    const [pid] = node.pidsOfBackends(child)
    if (pid !== undefined) signal(pid, 'SIGKILL')
    const what = pid === undefined ? `: ${node.name} has no ${child}` : `${child} of ${node.name}`
    return { what, heal: NOTHING }
  },
}

const killEverything: FaultKind = {
  name: 'kill-all-nodes',
  weight: 1,
  missing: NEVER_MISSING,
  plan: (chance) => ({ target: 'primary', forMs: drawAbsenceMs(chance), with: {} }),
  inject: async (lab) => {
    await Promise.all(lab.nodes.map((node) => node.kill('node')))
    return {
      what: '',
      heal: async () => {
        for (const node of lab.nodes) node.startAgent()
      },
    }
  },
}

function freezing(name: string, weight: number, part: Part): FaultKind {
  return {
    name,
    weight,
    missing: NEVER_MISSING,
    plan: (chance, { rtoMs }) => ({
      target: drawTarget(chance),
      forMs: drawSilenceMs(chance, rtoMs),
      with: {},
    }),
    inject: async (lab, { target }) => {
      const node = lab.node(await nodeOfTarget(lab, target))
      node.freeze(part)
      return { what: `on ${node.name}`, heal: async () => node.thaw() }
    },
  }
}

const freezeEverything: FaultKind = {
  name: 'freeze-all-nodes',
  weight: 1,
  missing: NEVER_MISSING,
  plan: (chance, { rtoMs }) => ({ target: 'primary', forMs: drawSilenceMs(chance, rtoMs), with: {} }),
  inject: async (lab) => {
    for (const node of lab.nodes) node.freeze('node')
    return {
      what: '',
      heal: async () => {
        for (const node of lab.nodes) node.thaw()
      },
    }
  },
}

export const processFaults: readonly FaultKind[] = [
  killing('kill-postmaster', 3, ['postmaster']),
  killing('kill-postgres', 2, ['postgres']),
  killing('kill-agent', 3, ['agent']),
  killing('kill-agent-and-postmaster', 3, ['agent', 'postmaster']),
  killing('kill-node', 5, ['node']),
  killChild,
  killEverything,
  freezing('freeze-agent', 3, 'agent'),
  freezing('freeze-postmaster', 2, 'postmaster'),
  freezing('freeze-postgres', 3, 'postgres'),
  freezing('freeze-node', 5, 'node'),
  freezeEverything,
]
