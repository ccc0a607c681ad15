/** What a worker does when its console, or that of another worker, asks for something. */
import type { Route } from '../ports/proxy.ts'
import type { ProxyQuestion, ProxyQuestions, Reloaded } from '../ports/proxy-view.ts'
import { CLIENT_ERRORS } from './client-errors.ts'
import { type LookedAt, lookAt } from './worker-look.ts'

/** A worker, as far as questions reach. */
export interface Answerer extends LookedAt {
  readonly route: Route
  reload(): Promise<Reloaded>
}

type Answers = {
  readonly [Q in ProxyQuestion]: (
    worker: Answerer,
    input: ProxyQuestions[Q]['input'],
  ) => ProxyQuestions[Q]['answer'] | Promise<ProxyQuestions[Q]['answer']>
}

const ANSWERS: Answers = {
  look: (worker, { sessions }) => lookAt(worker, sessions),
  pause: ({ pools }, { database }) => ({ left: pools.pause(database) }),
  resume: ({ pools }, { database }) => ({ was: pools.resume(database) }),
  reconnect: ({ pools }, { database }) => ({ servers: pools.reconnect(database) }),
  kill: ({ sessions }, whom) => {
    const doomed = [...sessions].filter(([{ pool }, { id }]) =>
      'client' in whom ? id === whom.client : pool.key.database === whom.database,
    )
    for (const [session] of doomed) session.fail(CLIENT_ERRORS.killed())
    return { clients: doomed.length }
  },
  reload: (worker) => worker.reload(),
}

export async function answerQuestion<Q extends ProxyQuestion>(
  worker: Answerer,
  question: Q,
  input: ProxyQuestions[Q]['input'],
): Promise<ProxyQuestions[Q]['answer']> {
  return await ANSWERS[question](worker, input)
}
