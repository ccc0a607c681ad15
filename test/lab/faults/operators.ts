/** What operators ask for, at the wrong moment. Refusals are answers: they are said, and nothing has happened. */
import { drawAbsenceMs, drawTarget, type FaultKind, NEVER_MISSING, nodeOfTarget } from './fault.ts'

const NOTHING = async (): Promise<void> => {}

async function asked(request: Promise<void>): Promise<string> {
  return request.then(
    () => '',
    (error: Error) => `: ${error.message}`,
  )
}

const switchover: FaultKind = {
  name: 'switchover',
  weight: 4,
  missing: ({ nodes }) => (nodes < 2 ? 'there is only one node' : null),
  plan: (chance) => ({ target: chance.pick(['standby', 'other-standby'] as const), forMs: 0, with: {} }),
  inject: async (lab, { target }) => {
    const to = await nodeOfTarget(lab, target)
    return { what: `to ${to}${await asked(lab.switchover(to))}`, heal: NOTHING }
  },
}

const reinit: FaultKind = {
  name: 'reinit',
  weight: 3,
  missing: ({ nodes }) => (nodes < 2 ? 'there is only one node' : null),
  plan: (chance) => ({ target: chance.pick(['standby', 'other-standby'] as const), forMs: 0, with: {} }),
  inject: async (lab, { target }) => {
    const node = await nodeOfTarget(lab, target)
    return { what: `of ${node}${await asked(lab.reinit(node))}`, heal: NOTHING }
  },
}

const pause: FaultKind = {
  name: 'pause',
  weight: 1,
  missing: NEVER_MISSING,
  plan: (chance) => ({ target: 'primary', forMs: chance.between(500, 8_000), with: {} }),
  inject: async (lab) => {
    const said = await asked(lab.pause('torture'))
    return { what: said, heal: async () => resume(lab) }
  },
}

/** Until it is said that it is so: a cluster that stays paused would look like one that cannot help itself. */
async function resume(lab: Parameters<FaultKind['inject']>[0]): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    if ((await asked(lab.pause(null))) === '') return
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  throw new Error('no agent takes a resume')
}

/** As a service manager does it: PostgreSQL is stopped in order, then started again. */
const restartNode: FaultKind = {
  name: 'restart-node',
  weight: 3,
  missing: NEVER_MISSING,
  plan: (chance) => ({ target: drawTarget(chance), forMs: drawAbsenceMs(chance), with: {} }),
  inject: async (lab, { target }) => {
    const node = lab.node(await nodeOfTarget(lab, target))
    // Frozen, it takes the signal when it goes on; a service manager would kill it in the end.
    const stopped = node.stopAgent().catch(() => node.kill('agent'))
    return {
      what: node.name,
      heal: async () => {
        await stopped
        node.startAgent()
      },
    }
  },
}

export const operatorFaults: readonly FaultKind[] = [switchover, reinit, pause, restartNode]
