/** One word for one thing (CONTRIBUTING.md, "Words"): identifiers and comments use PostgreSQL's words and ours, not their synonyms. */
import { describe, expect, test } from 'vitest'
import { commentsOf, identifiersOf, partsOfName, wordsAt } from './support/tokens.ts'
import { codeFiles, expectNone, type ProjectFile } from './support/tree.ts'

interface Ban {
  readonly words: readonly string[]
  readonly instead: string
  /** Only below these folders; everywhere when left out. */
  readonly only?: readonly string[]
  /** Only a whole identifier: `timeout` says no unit, `connectTimeoutMs` does. */
  readonly whole?: true
  /** Names and phrases of PostgreSQL and of other programs, and the folders in which they may stand. */
  readonly except?: readonly { readonly name: RegExp; readonly below: string; readonly why: string }[]
}

const BANS: readonly Ban[] = [
  {
    words: ['master', 'leader'],
    instead: 'primary',
    except: [
      { name: /leader$/i, below: 'src/store', why: 'etcd elects a leader among its own members' },
      { name: /leader$/i, below: 'test/store', why: 'the same' },
      { name: /^leader$/, below: 'sim/store.ts', why: 'the same' },
    ],
  },
  {
    words: ['slave', 'follower', 'replica', 'secondary'],
    instead: 'standby',
    except: [
      { name: /^followers$/, below: 'test', why: 'who follows the stream of events (`events --follow`)' },
      {
        name: /^replicas$/,
        below: 'src/store',
        why: 'what etcd has of its data, and the embedded store has not',
      },
    ],
  },
  // "member" is not here: it is a node as the configuration lists it (core/facts.ts), whether it takes part right now or not.
  // "sentinel" is not here: it is the mark on a data directory that is being replaced (docs/failover.md, I12), and no part of the cluster.
  { words: ['keeper', 'dcs'], instead: 'agent, node or store' },
  { words: ['takeover', 'handover', 'failback'], instead: 'switchover (planned) or failover (unplanned)' },
  { words: ['stonith'], instead: 'fence' },
  { words: ['nofailover'], instead: 'candidatePriority 0' },
  {
    words: ['xlog'],
    instead: 'wal',
    except: [
      {
        name: /^XLOG_|^xlogData|^xlog$/,
        below: 'src/protocol',
        why: 'the manual calls the message XLogData',
      },
      { name: /^xlog/, below: 'test/protocol', why: 'the same' },
      { name: /^xlog/, below: 'src/replication', why: 'the same' },
    ],
  },
  { words: ['term'], instead: 'epoch', only: ['src/core', 'src/agent'] },
  { words: ['bucket'], instead: 'repository' },
  { words: ['init'], instead: 'bootstrap, join, rejoin or reinit: four different things', whole: true },
  {
    words: ['lag'],
    instead: 'which one, in which unit: replayLagBytes, replayLagMs',
    whole: true,
    except: [
      {
        name: /^lag$/,
        below: 'src/agent/status.ts',
        why: 'a local one, in bytes; rename it when it is touched',
      },
      { name: /^lag$/, below: 'src/api/health.ts', why: 'a parameter of Patroni’s health paths' },
    ],
  },
  {
    words: ['synced'],
    instead: 'streaming or caughtUp',
    only: ['src/core', 'src/agent', 'src/api'],
    whole: true,
  },
  {
    words: ['timeout', 'ts'],
    instead: 'a name with its unit: timeoutMs, intervalMs, observedAt',
    whole: true,
    except: [
      { name: /^timeout$/, below: '', why: 'AbortSignal.timeout and an option of node:http are called so' },
    ],
  },
  {
    words: ['backend'],
    instead: 'target',
    only: ['src/proxy'],
    except: [
      {
        name: /^BACKEND$|^backendKeyData$|BackendMessage$/,
        below: 'src/proxy',
        why: "the manual's name for the server's side of the protocol",
      },
    ],
  },
]

/** One identifier or one word of a comment. */
interface Use {
  readonly where: string
  readonly name: string
  readonly parts: readonly string[]
  readonly isComment: boolean
}

function usesIn({ name: file, text }: ProjectFile): readonly Use[] {
  const identifiers = identifiersOf(text).map(({ name, line }) => ({
    where: `${file}:${line}`,
    name,
    parts: partsOfName(name),
    isComment: false,
  }))
  const comments = commentsOf(text).flatMap((comment) =>
    wordsAt(comment, /[A-Za-z_]+/g).map(({ name, line }) => ({
      where: `${file}:${line}`,
      name,
      parts: [name.toLowerCase()],
      isComment: true,
    })),
  )
  return [...identifiers, ...comments]
}

/** `place` is a folder, a file, or '' for everything. */
function isBelow({ where }: Use, place: string): boolean {
  return place === '' || where.startsWith(`${place}/`) || where.startsWith(`${place}:`)
}

function breaks(use: Use, ban: Ban): boolean {
  if (ban.only !== undefined && !ban.only.some((folder) => isBelow(use, folder))) return false
  const exempt = (ban.except ?? []).some(({ name, below }) => isBelow(use, below) && name.test(use.name))
  if (exempt) return false
  if (ban.whole === true) return !use.isComment && ban.words.includes(use.name)
  return ban.words.some((word) => use.parts.some((part) => part === word || part === `${word}s`))
}

describe('words', () => {
  const files = codeFiles().filter(({ name }) => name !== 'test/tidy/words.test.ts')
  const uses = files.flatMap(usesIn)

  test('are found at all', () => {
    expect(uses.filter(({ parts }) => parts.includes('standby')).length).toBeGreaterThan(100)
  })

  for (const ban of BANS) {
    test(`${ban.words.join(', ')}: say ${ban.instead}`, () => {
      const found = uses.filter((use) => breaks(use, ban)).map(({ where, name }) => `${where} ${name}`)
      expectNone(
        found,
        `Say ${ban.instead}; a name of PostgreSQL or of another program goes into this test's list.`,
      )
    })
  }
})
