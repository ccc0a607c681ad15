/** Setting machines up: what a person asked for, as configuration, etcd's file, units and bundles. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { annotatedConfig } from '../../src/cli/config/annotate.ts'
import { HostAddresses } from '../../src/cli/machines/addresses.ts'
import { etcdConfiguration } from '../../src/cli/machines/etcd.ts'
import { configValues, etcdNodes, formatNode, parseNodes } from '../../src/cli/machines/plan.ts'
import { watchdogOf } from '../../src/cli/machines/service-manager.ts'
import { agentUnit, etcdUnit, proxyUnit } from '../../src/cli/machines/units.ts'
import { parseConfig, resolveConfig } from '../../src/config/load.ts'
import { renderHba } from '../../src/postgres/hba.ts'
import { tarArchive } from '../../src/protocol/tar-writer.ts'

const FILES = { ca: false, certificate: false, password: false }

describe('the nodes of `init`', () => {
  test('are names with hosts, by name, address or IPv6 address, with a port or without', () => {
    const words = ['alpha=10.0.0.1', 'bravo=db2.example.com:5433', 'charlie=fd00::3', 'delta=[fd00::4]:5434']
    const nodes = parseNodes(words)
    expect(nodes).toEqual([
      { name: 'alpha', host: '10.0.0.1', port: undefined },
      { name: 'bravo', host: 'db2.example.com', port: 5433 },
      { name: 'charlie', host: 'fd00::3', port: undefined },
      { name: 'delta', host: 'fd00::4', port: 5434 },
    ])
    expect(nodes.map(formatNode)).toEqual(words)
  })

  test.each([
    ['alpha', 'is not NAME=HOST'],
    ['Alpha=10.0.0.1', 'is no node name'],
    ['alpha=10.0.0.1:99999', 'the port is not from 1 to 65535'],
    ['alpha=postgres://db1', 'alpha='],
    ['alpha=', 'is not NAME=HOST'],
  ])('%s is refused', (word, said) => {
    expect(() => parseNodes([word])).toThrow(said)
  })

  test('have each name once', () => {
    expect(() => parseNodes(['alpha=10.0.0.1', 'alpha=10.0.0.2'])).toThrow('names alpha twice')
  })
})

describe('the store of `init`', () => {
  const nodes = ['alpha=10.0.0.1', 'bravo=10.0.0.2', 'charlie=10.0.0.3']

  test('is an etcd on nodes, and found again in the file that was written', () => {
    const values = configValues({ nodes, storeOn: ['alpha', 'bravo', 'charlie'] }, FILES)
    const text = annotatedConfig(values, ['a test'])
    const config = resolveConfig(parseConfig(text, '/etc/u/understudy.yaml'), '/etc/u/understudy.yaml')
    expect(config.store).toMatchObject({
      endpoints: ['https://10.0.0.1:2379', 'https://10.0.0.2:2379', 'https://10.0.0.3:2379'],
      caFile: '/etc/u/tls/ca.crt',
    })
    expect(etcdNodes(config.store, '/etc/u/tls/ca.crt', config.nodes).map(({ name }) => name)).toEqual([
      'alpha',
      'bravo',
      'charlie',
    ])
  })

  test('is somebody else’s etcd, with what was given for it', () => {
    const store = ['https://etcd1:2379']
    const values = configValues({ nodes, store, storeUser: 'u' }, { ...FILES, ca: true, password: true })
    expect(values['store']).toEqual({
      endpoints: store,
      caFile: 'store/ca.crt',
      username: 'u',
      passwordFile: 'store/password',
    })
  })

  test('must be somewhere, on nodes that there are, each on a machine of its own', () => {
    expect(() => configValues({ nodes }, FILES)).toThrow('where is the store?')
    expect(() => configValues({ nodes, storeOn: ['delta'] }, FILES)).toThrow('there is no node delta')
    const shared = ['alpha=10.0.0.1', 'bravo=10.0.0.1:5433']
    expect(() => configValues({ nodes: shared, storeOn: ['alpha', 'bravo'] }, FILES)).toThrow('lost together')
  })

  test('has a configuration that only lets the cluster’s own certificates in', () => {
    const members = ['fd00::1', 'db2.example.com'].map((host, index) => ({
      ...{ name: `n${index}`, host },
      listen: index === 0 ? [host] : ['*'],
    }))
    const written = members.map((member) =>
      parse(etcdConfiguration({ cluster: 'main', member, members, dataDirectory: '/var/lib/u/etcd' })),
    )
    expect(written[0]).toMatchObject({
      'listen-client-urls': 'https://[fd00::1]:2379',
      'initial-cluster': 'n0=https://[fd00::1]:2380,n1=https://db2.example.com:2380',
      'client-transport-security': { 'client-cert-auth': true, 'trusted-ca-file': 'tls/ca.crt' },
      'peer-transport-security': { 'client-cert-auth': true },
    })
    expect(written[1]).toMatchObject({ 'listen-client-urls': 'https://[::]:2379' })
  })
})

describe('units', () => {
  const input = {
    ...{ cluster: 'main', node: 'alpha', configFile: '/etc/understudy/understudy.yaml' },
    ...{ user: 'postgres', group: 'postgres', command: ['/usr/bin/node', '/opt/100% sure/main.js'] },
    ...{ writable: ['/var/lib/understudy/main/alpha'], withEtcd: true, after: null },
    ...{
      socketDirectory: '/var/run/postgresql',
      releasedFile: '/var/lib/understudy/main/alpha/released.json',
    },
  }

  test('leave PostgreSQL running when the agent ends by itself, and escape what systemd would read', () => {
    const unit = agentUnit(input)
    expect(unit).toContain('\nKillMode=process\n')
    expect(unit).toContain('\nRestart=always\n')
    expect(unit).toContain('\nWatchdogSec=90\n')
    expect(unit).toContain('"/opt/100%% sure/main.js"')
    expect(unit).toMatch(/^After=.* understudy-main-etcd\.service$/m)
    expect(unit).toContain('\nProtectHome=yes\n')
    expect(unit).toContain('\nConditionPathExists=!/var/lib/understudy/main/alpha/released.json\n')
    expect(unit).toContain(
      '\nRuntimeDirectory=postgresql\nRuntimeDirectoryMode=2775\nRuntimeDirectoryPreserve=yes\n',
    )
  })

  test('wait for the unit of before, and make no directory that is not in /run', () => {
    const unit = agentUnit({ ...input, after: 'postgresql@15-main.service', socketDirectory: '/srv/socket' })
    expect(unit).toContain('\nAfter=postgresql@15-main.service\n')
    expect(unit).not.toContain('RuntimeDirectory')
  })

  test('of a proxy write nothing and wait for no agent', () => {
    const unit = proxyUnit(input)
    expect(unit).toContain('main.js" proxy --config /etc/understudy/understudy.yaml --node alpha\n')
    expect(unit).not.toContain('ReadWritePaths')
    expect(unit).toContain('\nAfter=network-online.target\n')
  })

  test('do not hide the directories that they need', () => {
    const unit = etcdUnit({
      ...{ cluster: 'main', user: 'me', group: 'me', program: '/usr/bin/etcd' },
      ...{ directory: '/run/user/1000/bundle', dataDirectory: '/var/lib/understudy/main/etcd' },
    })
    expect(unit).not.toContain('\nProtectHome=')
    expect(unit).toContain('\nPrivateTmp=yes\n')
  })

  test('ask for signs of life from this process only', () => {
    expect(watchdogOf({ WATCHDOG_USEC: '90000000' })).toBe(90_000)
    expect(watchdogOf({ WATCHDOG_USEC: '90000000', WATCHDOG_PID: '1' })).toBeNull()
    expect(watchdogOf({})).toBeNull()
  })
})

describe('a bundle’s archive', () => {
  test('is unpacked by tar, with the modes of its files', () => {
    const place = mkdtempSync(path.join(tmpdir(), 'understudy-tar-'))
    try {
      const files = [
        { path: 'secrets/', content: Buffer.alloc(0), mode: 0o700 },
        { path: 'secrets/one', content: Buffer.from('x'.repeat(700)), mode: 0o600 },
        { path: 'empty', content: Buffer.alloc(0), mode: 0o644 },
      ]
      const archive = path.join(place, 'a.tar')
      writeFileSync(archive, tarArchive(files, { user: 'postgres', group: 'postgres' }, 1_700_000_000))
      execFileSync('tar', ['-xpf', archive, '-C', place, '--no-same-owner'])
      expect(readFileSync(path.join(place, 'secrets/one'), 'utf8')).toBe('x'.repeat(700))
      expect(statSync(path.join(place, 'secrets/one')).mode & 0o777).toBe(0o600)
      expect(statSync(path.join(place, 'secrets/one')).mtimeMs).toBe(1_700_000_000_000)
      expect(statSync(path.join(place, 'secrets')).mode & 0o777).toBe(0o700)
    } finally {
      rmSync(place, { recursive: true, force: true })
    }
  })

  test('has no room for a path of more than 100 bytes', () => {
    const files = [{ path: 'a'.repeat(101), content: Buffer.alloc(0), mode: 0o600 }]
    expect(() => tarArchive(files, { user: 'u', group: 'g' }, 0)).toThrow(RangeError)
  })
})

describe('host names', () => {
  const node = (
    host: string,
    sourceAddresses: readonly string[] = [],
  ): Parameters<HostAddresses['membersOf']>[0][0] => ({
    ...{ name: 'alpha', host, port: 5432, apiPort: 8008, apiCaFile: null, listen: ['*'], nameIsLocal: true },
    ...{ sourceAddresses, directory: '/d', socketDirectory: '/d/run', candidatePriority: 100 },
  })

  test('follow an address that changes, and stay what they were when nobody answers', async () => {
    let answer: readonly string[] | Error = ['10.0.0.2', '10.0.0.1', '10.0.0.2']
    const addresses = new HostAddresses(async () => {
      if (answer instanceof Error) throw answer
      return answer
    })
    const nodes = [node('db1.example.com', ['10.9.0.0/16'])]
    const seen = (): readonly string[] | undefined => addresses.membersOf(nodes)[0]?.addresses
    expect(seen()).toEqual(['db1.example.com', '10.9.0.0/16'])
    await addresses.refresh(nodes)
    expect(seen()).toEqual(['10.0.0.1', '10.0.0.2', '10.9.0.0/16'])
    answer = new Error('no answer')
    await addresses.refresh(nodes)
    expect(seen()).toEqual(['10.0.0.1', '10.0.0.2', '10.9.0.0/16'])
    answer = ['fd00::7']
    await addresses.refresh(nodes)
    expect(seen()).toEqual(['fd00::7', '10.9.0.0/16'])
  })

  test('stand in pg_hba.conf as addresses, each once, with their name beside them', () => {
    const text = renderHba(
      [
        { name: 'alpha', host: 'db1.example.com', addresses: ['10.0.0.1', 'fd00::1', '10.9.0.0/16'] },
        { name: 'bravo', host: '10.0.0.2' },
        { name: 'charlie', host: '10.0.0.2' },
      ],
      [],
    )
    const lines = text
      .split('\n')
      .filter((line) => /^hostssl +replication +understudy_replication/.test(line))
    expect(lines.map((line) => line.split(/ +/)[3])).toEqual([
      '10.0.0.1/32',
      'fd00::1/128',
      '10.9.0.0/16',
      '10.0.0.2/32',
    ])
    expect(lines[0]).toContain('# db1.example.com')
  })
})
