/**
 * One node of a running cluster in trouble: what is wrong has a code, a sentence and a HINT in the status, the others go on
 * acknowledging writes, nothing in the troubled directory is touched, and when the cause is gone it heals without being asked.
 * charlie is always the one; every test leaves it healthy.
 */
import { execFileSync, spawn } from 'node:child_process'
import { chmodSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import type { Server } from 'node:net'
import path from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import type { Problem } from '../../src/api/contract.ts'
import { ERRORS, type ErrorCode } from '../../src/errors/codes.ts'
import { issueCertificate } from '../../src/postgres/certificates.ts'
import { fingerprint, makeForeignDirectory } from '../support/cluster-directories.ts'
import {
  DEBIAN,
  EMBEDDED,
  hasDebian,
  ROOT,
  said,
  startCluster,
  type TestCluster,
} from '../support/cluster-harness.ts'
import { listen } from '../support/cluster-ports.ts'
import { isRunning, signal } from '../support/cluster-processes.ts'
import type { Writer } from '../support/cluster-writer.ts'
import { installOf } from '../support/postgres-installs.ts'

const NODE = 'charlie'

let cluster: TestCluster
let writer: Writer
let data: string

beforeAll(async () => {
  cluster = await startCluster()
  writer = cluster.writer()
  data = cluster.dataDirectory(NODE)
})

/** It is in the status, with the HINT of its code, and the rest of the cluster takes writes. */
async function expectProblem(code: ErrorCode, sentence: RegExp, node = NODE): Promise<Problem> {
  const problem = await seeProblem(code, sentence, node)
  await writer.writeOne()
  return problem
}

async function seeProblem(code: ErrorCode, sentence: RegExp, node: string): Promise<Problem> {
  const problem = await cluster.waitFor(`the problem ${code} of ${node}`, () => cluster.problem(code, node), {
    seen: async () => JSON.stringify((await cluster.status())?.problems, null, 1),
  })
  expect(problem.message).toMatch(sentence)
  expect(problem.severity).toBe('error')
  expect(problem.hint.length).toBeGreaterThan(10)
  return problem
}

async function expectHealed(): Promise<void> {
  await cluster.healthy()
  await writer.writeOne()
  await cluster.checkAllPresent(writer)
  cluster.checkTidy()
}

describe('another data directory in its place', () => {
  /** Put there while the node is down; its own comes back afterwards. */
  async function withDirectory(foreign: string, look: () => Promise<void>): Promise<void> {
    const aside = `${data}.own`
    await cluster.withNodeDown(NODE, () => {
      renameSync(data, aside)
      renameSync(foreign, data)
    })
    try {
      await look()
    } finally {
      // Its agent never sees a moment without any, which would be a reason to clone.
      cluster.withAgentFrozen(NODE, () => {
        renameSync(data, foreign)
        renameSync(aside, data)
      })
    }
    await expectHealed()
  }

  test('of another cluster is named, not started and not touched; up says so too', async () => {
    // Seen to fail: with the rule identity-differs taken out it is started, and its files change.
    const foreign = makeForeignDirectory(cluster, 'other', Number(EMBEDDED))
    const before = fingerprint(foreign)
    await withDirectory(foreign, async () => {
      const problem = await expectProblem('system-identifier', /of another cluster \(system identifier \d+\)/)
      expect(problem.hint).toBe(ERRORS['system-identifier'].hint)
      expect(cluster.pids('postmaster', NODE)).toEqual([])
      const up = await cluster.up()
      expect(up.code, said(up)).toBe(3)
      expect(up.stdout).toContain('[system-identifier]')
      expect(up.stdout).toContain(`HINT: ${ERRORS['system-identifier'].hint}`)
      expect(fingerprint(data)).toBe(before)
    })
  })

  test.skipIf(!hasDebian)('of another major version is named and not touched', async () => {
    const foreign = makeForeignDirectory(cluster, 'older', Number(DEBIAN))
    const before = fingerprint(foreign)
    await withDirectory(foreign, async () => {
      const problem = await expectProblem(
        'wrong-major',
        /made by PostgreSQL 15, and the binaries are PostgreSQL 18/,
      )
      expect(problem.hint).toBe(ERRORS['wrong-major'].hint)
      expect(cluster.pids('postmaster', NODE)).toEqual([])
      expect(fingerprint(data)).toBe(before)
    })
  })

  test('that is none at all is named and not touched', async () => {
    const foreign = path.join(cluster.data, 'photos')
    cluster.runAsOwner('mkdir', [foreign])
    writeFileSync(path.join(foreign, 'holiday.jpg'), 'the only copy')
    await withDirectory(foreign, async () => {
      await expectProblem('foreign-data', /no PostgreSQL cluster/)
      expect(readdirSync(data)).toEqual(['holiday.jpg'])
    })
  })
})

test('a server that somebody else started on its data is named and left alone', async () => {
  // Seen to fail: without the look at the marker in its environment it is adopted as our own.
  const program = path.join(installOf(Number(EMBEDDED)).binDirectory, 'postgres')
  let stranger = 0
  await cluster.withNodeDown(NODE, async () => {
    // As a person would who does not know that an agent does it.
    const config = path.join(cluster.nodeDirectory(NODE), 'conf', 'postgresql.conf')
    const child = spawn(program, ['-D', data, '-c', `config_file=${config}`], {
      cwd: '/',
      env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C.UTF-8' },
      stdio: 'ignore',
      ...cluster.owner,
    })
    stranger = child.pid ?? 0
    await cluster.waitFor('the other server', () =>
      /^(ready|standby)/m.test(readFileSync(path.join(data, 'postmaster.pid'), 'utf8')),
    )
  })
  const problem = await expectProblem(
    'foreign-postmaster',
    new RegExp(`process ${stranger} .*not started by`),
  )
  expect(problem.hint).toContain('pg_ctl stop')
  expect(isRunning(stranger)).toBe(true)
  // Its own user stops it: then the agent goes on by itself.
  signal(stranger, 'SIGINT')
  await expectHealed()
})

test('a data directory without permission is named, and used again when it may be', async () => {
  // Seen to fail: with a directory that cannot be read taken for none, it goes on to clone.
  await cluster.withNodeDown(NODE, () => chmodSync(data, 0o000))
  await expectProblem('no-permission', new RegExp(data))
  chmodSync(data, 0o700)
  await expectHealed()
})

test('a port that another program took is named, and used again when it is free', async () => {
  let taken: Server | null = null
  await cluster.withNodeDown(NODE, async () => {
    taken = await listen({ host: '127.0.0.1', port: cluster.port(NODE) })
    expect(taken).not.toBeNull()
  })
  await expectProblem('port-taken', new RegExp(`port ${cluster.port(NODE)} `))
  ;(taken as Server | null)?.close()
  await expectHealed()
})

test('a wrong replication password keeps it from cloning, the right one lets it', async () => {
  const file = path.join(cluster.data, 'secrets', 'replication')
  const right = readFileSync(file, 'utf8')
  try {
    await cluster.withNodeDown(NODE, () => {
      rmSync(data, { recursive: true })
      writeFileSync(file, 'not-the-password\n')
    })
    await expectProblem('auth-failed', /password authentication failed/)
    expect(existsSync(data)).toBe(false)
    expect(cluster.unfinishedDirectories()).toEqual([])
  } finally {
    writeFileSync(file, right)
  }
  await expectHealed()
})

describe('a certificate that has expired', () => {
  const ONE_DAY_MS = 86_400_000

  async function expire(node: string): Promise<void> {
    const tls = path.join(cluster.data, 'tls')
    const target = { certificate: path.join(tls, `${node}.crt`), key: path.join(tls, `${node}.key`) }
    const issued = await issueCertificate({
      authority: { certificate: path.join(tls, 'ca.crt'), key: path.join(tls, 'ca.key') },
      target,
      node,
      hosts: ['127.0.0.1', node],
      notBefore: new Date(Date.now() - 10 * ONE_DAY_MS),
      notAfter: new Date(Date.now() - ONE_DAY_MS),
    })
    expect(issued.kind).toBe('ok')
    for (const file of Object.values(target)) cluster.giveToOwner(file)
  }

  test('keeps a node from starting, and up renews it', async () => {
    // This and the next two seen to fail: with an ensureCertificate that is content with any.
    await cluster.withNodeDown(NODE, () => expire(NODE))
    const problem = await expectProblem('certificate-expired', /charlie\.crt expired on \d{4}-/)
    expect(problem.hint).toContain('understudy up')
    const up = await cluster.up()
    expect(up.code, said(up)).toBe(0)
    await expectHealed()
  })

  test('of the primary is named by who wants to clone it, and up renews it', async () => {
    await expire('alpha')
    signal(cluster.postmasterPid('alpha'), 'SIGHUP')
    await cluster.withNodeDown(NODE, () => rmSync(data, { recursive: true }))
    await seeProblem('certificate-expired', /certificate has expired/, NODE)
    // No client that checks it gets in either.
    await expect(cluster.connect('alpha')).rejects.toMatchObject({ code: 'CERT_HAS_EXPIRED' })
    const up = await cluster.up()
    expect(up.code, said(up)).toBe(0)
    await expectHealed()
  })

  test('is renewed by the next up before anybody notices', async () => {
    const down = await cluster.down()
    expect(down.code, said(down)).toBe(0)
    for (const node of cluster.nodes) await expire(node)
    const up = await cluster.up()
    expect(up.code, said(up)).toBe(0)
    expect(up.stdout).toContain('Healthy.')
    await expectHealed()
  })
})

describe('the store gone and nobody to start it', () => {
  test('the primary goes on, the status says so, and a node that is started starts nothing', async () => {
    // Seen to fail: with a storeUnreachable rule that lets stopped nodes pass, charlie decides otherwise.
    const supervisor = cluster.supervisorPid()
    signal(supervisor, 'SIGSTOP')
    try {
      await cluster.kill(cluster.storePid())
      for (const node of cluster.nodes)
        await expectProblem('store-unreachable', /the store does not answer/, node)
      await writer.writeOne()
      await cluster.checkAllPresent(writer)

      signal(cluster.agentPid(NODE), 'SIGTERM')
      await cluster.waitFor('charlie to be down', () => cluster.pids('postmaster', NODE).length === 0)
      await cluster.waitFor('the end of its agent', () => cluster.pids('agent', NODE).length === 0)
      const main = path.join(ROOT, 'dist', 'src', 'cli', 'main.js')
      const config = path.join(cluster.data, 'understudy.yaml')
      const agent = spawn(process.execPath, [main, 'agent', '--config', config, '--node', NODE], {
        cwd: cluster.workspace,
        stdio: 'ignore',
        ...cluster.owner,
      })
      agent.unref()
      const why = async (): Promise<string> =>
        ((await (await fetch(`http://127.0.0.1:${cluster.apiPort(NODE)}/v1/why`)).json()) as { rule: string })
          .rule
      await cluster.waitFor('its decision', async () => (await why()) === 'store-unreachable')
      // Long enough for a start, had one been begun.
      const until = Date.now() + 1_000
      await cluster.waitFor('a second without a start', () => {
        expect(cluster.pids('postmaster', NODE)).toEqual([])
        return Date.now() > until
      })
      await writer.writeOne()
    } finally {
      signal(supervisor, 'SIGCONT')
    }
    await expectHealed()
  })
})

// The last one: it stops the cluster, because a file system cannot be taken away under a running node. Needs mount(8), so root.
test.skipIf(process.getuid?.() !== 0)(
  'no space for a clone is named, nothing half done is left, and with space it is made by itself',
  async () => {
    // Seen to fail: without the rm in the cloner data.new-… stays and fills the disk for good.
    const directory = cluster.nodeDirectory(NODE)
    const { uid, gid } = cluster.owner
    try {
      await cluster.withNodeDown(NODE, () => {
        rmSync(data, { recursive: true })
        renameSync(directory, `${directory}.aside`)
        cluster.runAsOwner('mkdir', [directory])
        // Enough for the files of a first database, too little for its WAL.
        const options = `size=24m,mode=700,uid=${uid},gid=${gid}`
        execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'understudy-test', directory])
        execFileSync('cp', ['-a', `${directory}.aside/.`, directory])
      })
      const problem = await expectProblem('no-space', /No space left/)
      expect(problem.hint).toBe(ERRORS['no-space'].hint)
      expect(existsSync(data)).toBe(false)
      await cluster.waitFor('nothing half done', () => cluster.unfinishedDirectories().length === 0)
      execFileSync('mount', ['-o', 'remount,size=500m', directory])
      await expectHealed()
    } finally {
      await cluster.killAll()
      execFileSync('umount', [directory])
    }
  },
)
