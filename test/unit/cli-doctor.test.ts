/** The doctor's judges: which facts are well, which are a warning, which keep a start from working, and what mends them. */
import { describe, expect, it } from 'vitest'
import { renderFindings } from '../../src/cli/commands/doctor.ts'
import { check, fine, runChecks } from '../../src/cli/doctor/check.ts'
import {
  judgeBinaries,
  judgeClock,
  judgeFileLimit,
  judgeLocale,
  judgeNode,
  judgeOpenssl,
  judgeSharedMemory,
} from '../../src/cli/doctor/machine.ts'
import {
  type DirectoryFacts,
  judgeCertificates,
  judgeConfiguration,
  judgeDirectory,
  judgeSocketPaths,
  judgeSpace,
  judgeUser,
} from '../../src/cli/doctor/place.ts'
import { abstractSockets, belongsTo, listeningInodes } from '../../src/cli/doctor/proc.ts'
import { judgePorts, judgeRunning, type PortFacts } from '../../src/cli/doctor/running.ts'
import { plannedCluster, type Scene } from '../../src/cli/doctor/scene.ts'
import { plainPaint } from '../../src/cli/paint.ts'
import { UnderstudyError } from '../../src/errors/codes.ts'

const MB = 1024 * 1024
const binaries = (major: number, kind: 'system' | 'embedded') => ({
  kind: 'ok' as const,
  value: {
    binDir: '/opt/pg/bin',
    major,
    version: `${major}.4`,
    kind,
    initdb: '',
    postgres: '',
    pgRewind: null,
    pgBasebackup: null,
    psql: null,
    env: {},
  },
})

describe('the machine', () => {
  it.each([
    ['v18.20.0', 'failed'],
    ['v20.18.3', 'failed'],
    ['v20.19.0', 'ok'],
    ['v22.0.0', 'ok'],
    ['v24.1.0', 'ok'],
  ])('Node %s is %s', (version, status) => {
    expect(judgeNode(version).status).toBe(status)
  })

  it('names the PostgreSQL that was found, and refuses another major version than the cluster has', () => {
    expect(judgeBinaries({ found: binaries(18, 'embedded'), clusterMajor: null })).toMatchObject({
      status: 'ok',
      message: expect.stringContaining('from npm'),
    })
    expect(judgeBinaries({ found: binaries(18, 'system'), clusterMajor: 18 }).status).toBe('ok')
    const other = judgeBinaries({ found: binaries(18, 'system'), clusterMajor: 15 })
    expect(other.status).toBe('failed')
    expect(other.hint).toContain('--pg')
  })

  it('passes on why no PostgreSQL was found', () => {
    const found = { kind: 'failed' as const, code: 'no-binaries' as const, reason: 'none on PATH' }
    expect(judgeBinaries({ found, clusterMajor: null })).toEqual({
      status: 'failed',
      message: 'none on PATH',
      hint: expect.stringContaining('apt install postgresql'),
    })
  })

  it('needs openssl and C.UTF-8', () => {
    expect(judgeOpenssl('OpenSSL 3.0.19 27 Jan 2026 (Library: x)').message).toBe('OpenSSL 3.0.19')
    expect(judgeOpenssl(null)).toMatchObject({
      status: 'failed',
      hint: expect.stringContaining('apt install'),
    })
    expect(judgeLocale('C\nC.utf8\nPOSIX').status).toBe('ok')
    expect(judgeLocale('C.UTF-8').status).toBe('ok')
    expect(judgeLocale('C\nen_US.utf8').status).toBe('failed')
    expect(judgeLocale(null).status).toBe('ok')
  })

  it.each([
    ['128', 'failed'],
    ['512', 'warning'],
    ['1024', 'ok'],
    ['unlimited', 'ok'],
  ])('a limit of %s open files is %s', (soft, status) => {
    const limits = `Limit                     Soft Limit           Hard Limit           Units
Max processes             100                  100                  processes
Max open files            ${soft.padEnd(20)} 524288               files     `
    expect(judgeFileLimit(limits).status).toBe(status)
  })

  it('warns of the shared memory that docker gives', () => {
    expect(judgeSharedMemory(64 * MB)).toMatchObject({
      status: 'warning',
      hint: expect.stringContaining('--shm-size'),
    })
    expect(judgeSharedMemory(1024 * MB).status).toBe('ok')
    expect(judgeSharedMemory(null).status).toBe('warning')
  })

  it('does not believe a clock of another century, and warns of one that nobody sets', () => {
    const now = new Date('2026-11-22T12:00:00Z')
    expect(judgeClock({ now: new Date('1970-01-02'), synchronized: 'yes' }).status).toBe('failed')
    expect(judgeClock({ now, synchronized: 'no' }).status).toBe('warning')
    expect(judgeClock({ now, synchronized: null }).status).toBe('ok')
  })
})

describe('the place', () => {
  const directory: DirectoryFacts = {
    directory: '/srv/db',
    existing: '/srv',
    writable: true,
    reachable: true,
    runAs: null,
    owner: '1000',
    entries: null,
  }

  it('is fine when new, empty, or a cluster', () => {
    expect(judgeDirectory(directory).status).toBe('ok')
    expect(judgeDirectory({ ...directory, entries: [] }).status).toBe('ok')
    expect(judgeDirectory({ ...directory, entries: ['local.json', 'nodes'] }).status).toBe('ok')
  })

  it('is refused when it holds something else or cannot be written', () => {
    expect(judgeDirectory({ ...directory, entries: ['photos'] })).toMatchObject({
      status: 'failed',
      message: expect.stringContaining('photos'),
    })
    expect(judgeDirectory({ ...directory, existing: '/srv/my db', writable: false }).hint).toContain(
      'chown "$USER" \'/srv/my db\'',
    )
  })

  it('moves below /var/lib when root’s other user cannot reach it', () => {
    expect(judgeDirectory({ ...directory, reachable: false, runAs: 'postgres' })).toMatchObject({
      status: 'ok',
      message: expect.stringContaining('/var/lib/understudy'),
    })
  })

  it.each([
    [200 * MB, 'failed'],
    [1000 * MB, 'warning'],
    [4000 * MB, 'ok'],
    [null, 'ok'],
  ])('with %s bytes free is %s', (freeBytes, status) => {
    expect(judgeSpace({ freeBytes, directory: '/srv/db' }).status).toBe(status)
  })

  it('counts bytes of socket paths, not letters', () => {
    expect(judgeSocketPaths([`/${'a'.repeat(106)}`]).status).toBe('ok')
    expect(judgeSocketPaths(['/short', `/${'a'.repeat(107)}`]).status).toBe('failed')
    expect(judgeSocketPaths([`/${'é'.repeat(60)}`]).status).toBe('failed')
  })

  it('names each certificate that is not well', () => {
    const at = new Date('2026-01-01T00:00:00Z')
    const valid = { node: 'alpha', state: { kind: 'valid' as const, notAfter: at } }
    expect(judgeCertificates([]).status).toBe('ok')
    expect(judgeCertificates([valid])).toMatchObject({ status: 'ok', message: '1 valid' })
    const expiring = judgeCertificates([valid, { node: 'bravo', state: { kind: 'expiring', notAfter: at } }])
    expect(expiring).toMatchObject({
      status: 'warning',
      message: 'bravo: expires on 2026-01-01T00:00:00.000Z',
    })
    expect(judgeCertificates([{ node: 'bravo', state: { kind: 'expired', notAfter: at } }]).status).toBe(
      'failed',
    )
  })

  it('knows who runs PostgreSQL', () => {
    expect(judgeUser({ isRoot: false, userName: 'ann', runAs: null }).message).toContain('ann')
    expect(judgeUser({ isRoot: true, userName: 'root', runAs: 'postgres' }).status).toBe('ok')
    expect(judgeUser({ isRoot: true, userName: 'root', runAs: null }).status).toBe('failed')
  })

  it('reports a configuration that cannot be read as a finding', () => {
    const broken = new UnderstudyError('config-invalid', 'understudy.yaml:3: unknown key "nods"')
    expect(judgeConfiguration({ broken, named: '/srv/db', exists: false })).toMatchObject({
      status: 'failed',
      message: 'understudy.yaml:3: unknown key "nods"',
    })
  })
})

describe('what runs', () => {
  const free: PortFacts = {
    host: '127.0.0.1',
    port: 5501,
    use: 'PostgreSQL of alpha',
    state: 'free',
    owner: null,
  }
  const owner = { pid: 7, parentPid: 1, args: ['nginx', '-g'] }

  it('is fine when the ports are free or ours', () => {
    expect(judgePorts([free, free]).message).toBe('2 ports free')
    expect(judgePorts([free, { ...free, state: 'ours', owner }]).message).toBe(
      '1 used by this cluster, 1 port free',
    )
  })

  it('names the port, its use and the program that has it', () => {
    const taken = judgePorts([free, { ...free, state: 'taken', owner }])
    expect(taken.status).toBe('failed')
    expect(taken.message).toBe('5501 (PostgreSQL of alpha) is used by process 7, nginx -g')
    expect(judgePorts([{ ...free, state: 'forbidden' }]).hint).toContain('above 1023')
  })

  it('tells a running cluster from what a killed supervisor left', () => {
    const processes = [{ pid: 7, parentPid: 1, args: ['postgres', '-D', '/srv/db/nodes/alpha/data'] }]
    expect(judgeRunning({ supervised: true, processes }).status).toBe('ok')
    expect(judgeRunning({ supervised: false, processes: [] }).message).toBe('none')
    expect(judgeRunning({ supervised: false, processes })).toMatchObject({
      status: 'warning',
      hint: expect.stringContaining('understudy down'),
    })
  })

  it('does not take a neighbour with a similar name for its own', () => {
    expect(belongsTo('/srv/db', ['postgres', '-D', '/srv/db/nodes/a'])).toBe(true)
    expect(belongsTo('/srv/db', ['postgres', '-D', '/srv/db2/nodes/a'])).toBe(false)
  })

  it('reads the kernel’s lists', () => {
    const tcp = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:157D 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0 100 0 0 10 0
   1: 0100007F:157D 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4343 1 0 100 0 0 10 0`
    expect(listeningInodes(tcp, 5501)).toEqual(['4242'])
    expect(listeningInodes(tcp, 5502)).toEqual([])
    expect(listeningInodes(tcp, 5501, '127.0.0.1')).toEqual(['4242'])
    expect(listeningInodes(tcp, 5501, '127.0.0.2')).toEqual([])
    expect(listeningInodes(tcp, 5501, 'localhost')).toEqual(['4242'])
    const tcp6 = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 000000FD000000000000000001000000:157D 0:0000 0A 0:0 0:0 0 0 0 1
   1: 0000000000000000FFFF00000100007F:157D 0:0000 0A 0:0 0:0 0 0 0 2
   2: 00000000000000000000000000000000:157E 0:0000 0A 0:0 0:0 0 0 0 3`
    expect(listeningInodes(tcp6, 5501, 'fd00:0::1')).toEqual(['1'])
    expect(listeningInodes(tcp6, 5501, '127.0.0.1')).toEqual(['2'])
    expect(listeningInodes(tcp6, 5501, '::')).toEqual(['1', '2'])
    expect(listeningInodes(tcp6, 5502, '127.0.0.1')).toEqual(['3'])
    const unix = `Num       RefCount Protocol Flags    Type St Inode Path
0000: 00000002 00000000 00010000 0001 01 11 @understudy-up-1-2
0000: 00000002 00000000 00010000 0001 01 12 @padded@@@@
0000: 00000002 00000000 00010000 0001 01 13 /run/socket`
    expect([...abstractSockets(unix)]).toEqual(['understudy-up-1-2', 'padded'])
  })
})

describe('the list of checks', () => {
  it('reports a probe that breaks beside the others', async () => {
    const broken = check(
      'a',
      'broken',
      () => {
        throw new Error('no such file')
      },
      () => fine('never'),
    )
    const whole = check(
      'b',
      'whole',
      () => 1,
      () => fine('yes'),
    )
    expect(await runChecks([broken, whole], {} as Scene)).toEqual([
      {
        id: 'a',
        title: 'broken',
        status: 'warning',
        message: expect.stringContaining('no such file'),
        hint: expect.any(String),
      },
      { id: 'b', title: 'whole', status: 'ok', message: 'yes', hint: null },
    ])
  })

  it('prints each finding with what mends it, and counts them', () => {
    const findings = [
      { id: 'a', title: 'Node.js', ...fine('v20.20.2') },
      {
        id: 'b',
        title: 'ports',
        status: 'failed' as const,
        message: 'taken '.repeat(12).trim(),
        hint: 'Free them.',
      },
    ]
    expect(renderFindings(findings, { width: 60, paint: plainPaint, unicode: true })).toEqual([
      '✓ Node.js  v20.20.2',
      '✗ ports    taken taken taken taken taken taken taken taken',
      '           taken taken taken taken',
      '           HINT: Free them.',
      '',
      '1 ok, 0 warnings, 1 failed',
    ])
  })

  it('plans ports and short socket paths for a cluster that does not exist yet', () => {
    const planned = plannedCluster('/srv/db', { portBase: 6000, nodes: 2 }, 1000)
    expect(planned.ports.map(({ port }) => port)).toEqual([6001, 6051, 6002, 6052, 6091])
    expect(planned.nodes[0]?.socketDirectory).toBe('/srv/db/nodes/alpha/run')
    const deep = plannedCluster(`/srv/${'deep/'.repeat(30)}`, {}, 1000)
    expect(deep.nodes[2]?.socketDirectory).toContain('understudy-1000-')
  })
})
