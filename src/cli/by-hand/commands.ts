/** The commands that a person types to set a server up, each from the place that does the same for an agent. Pure. */
import type { ResolvedNode } from '../../config/load.ts'
import {
  AUTHORITY_DAYS,
  AUTHORITY_EXTENSIONS,
  authorityName,
  NEW_KEY,
  NODE_DAYS,
  nodeExtensions,
} from '../../postgres/certificates.ts'
import { initdbArguments } from '../../postgres/initialize.ts'
import { nodeLayout, REPLICATION_ROLE, slotName } from '../../postgres/layout.ts'
import { postmasterArguments } from '../../postgres/postmaster.ts'
import { rewindArguments } from '../../postgres/rewind.ts'
import { quoteLiteral, type RoleKind, type RoleStatement, roleStatements } from '../../postgres/roles.ts'
import { renderPassfile } from '../../postgres/secrets.ts'
import { CREATE_SLOT } from '../../postgres/slots.ts'
import { upstreamConninfo } from './files.ts'
import { type Scene, superuserPassfile, upstreamPassfile } from './scene.ts'
import { command, word } from './shell.ts'

/** By hand there is no agent, so its role is not made. */
export const ROLES_BY_HAND = [
  'superuser',
  'replication',
  'application',
] as const satisfies readonly RoleKind[]

export function secretFile({ config: { secrets } }: Scene, role: RoleKind): string {
  return {
    superuser: secrets.superuserPassword,
    replication: secrets.replicationPassword,
    agent: secrets.agentPassword,
    application: secrets.applicationPassword,
  }[role]
}

export function program({ binDir }: Scene, name: string): string {
  return `${binDir}/${name}`
}

export function initdb(scene: Scene): string {
  const { dataDir } = nodeLayout(scene.primary.directory)
  const pwfile = `--pwfile=${secretFile(scene, 'superuser')}`
  return command(
    program(scene, 'initdb'),
    ...initdbArguments(dataDir, scene.config.postgres.superuser),
    '--no-instructions',
    pwfile,
  )
}

/** pg_ctl gives the postmaster what the agent would give it. */
export function start(scene: Scene, node: ResolvedNode): string {
  const layout = nodeLayout(node.directory)
  const [, , ...options] = postmasterArguments(layout)
  return command(
    program(scene, 'pg_ctl'),
    ...['-D', layout.dataDir, '-l', layout.startupLog, '-o', options.map(word).join(' '), '-w', 'start'],
  )
}

export function reload(scene: Scene, node: ResolvedNode): string {
  return command(program(scene, 'pg_ctl'), '-D', nodeLayout(node.directory).dataDir, 'reload')
}

export function baseBackup(scene: Scene, node: ResolvedNode): string {
  const { dataDir } = nodeLayout(node.directory)
  return command(
    program(scene, 'pg_basebackup'),
    ...['-D', dataDir, '-d', upstreamConninfo(scene, node), '-S', slotName(node.name)],
    ...['-X', 'stream', '-c', 'fast', '--progress'],
  )
}

export function verifyBackup(scene: Scene, node: ResolvedNode): string {
  return command(program(scene, 'pg_verifybackup'), nodeLayout(node.directory).dataDir)
}

/** `passwords`: what stands behind PASSWORD, as SQL. */
export function roleSql(
  { config, major }: Pick<Scene, 'config' | 'major'>,
  passwords: (role: RoleKind) => string,
): readonly RoleStatement[] {
  return roleStatements({
    superuser: config.postgres.superuser,
    applicationRole: config.application.user,
    database: config.application.database,
    passwords: {
      superuser: passwords('superuser'),
      replication: passwords('replication'),
      agent: passwords('agent'),
      application: passwords('application'),
    },
    major,
  })
}

export function createSlot(node: Pick<ResolvedNode, 'name'>): string {
  return CREATE_SLOT.replace('$1', quoteLiteral(slotName(node.name)))
}

/** The password goes from file to file by the shell itself: in the arguments of a program its neighbours could read it. */
export function passfiles(scene: Scene, node: ResolvedNode): string {
  const line = (
    secret: string,
    entry: { readonly database: string; readonly user: string },
    to: string,
  ): string => {
    const text = renderPassfile([{ host: '*', port: '*', ...entry, password: '%s' }]).trimEnd()
    return `printf '${text}\\n' "$(cat ${word(secret)})" > ${word(to)}`
  }
  const superuser = line(
    secretFile(scene, 'superuser'),
    { database: '*', user: scene.config.postgres.superuser },
    superuserPassfile(node),
  )
  if (node.name === scene.primary.name) return superuser
  const entry = { database: 'replication', user: REPLICATION_ROLE }
  return `${superuser}\n${line(secretFile(scene, 'replication'), entry, upstreamPassfile(scene, node))}`
}

export function authorityKey({ config }: Scene): string {
  return config.tls.caFile.replace(/\.crt$/, '.key')
}

export function authority(scene: Scene): string {
  const { caFile } = scene.config.tls
  return command(
    ...['openssl', 'req', '-x509', '-sha256', ...NEW_KEY, '-keyout', authorityKey(scene), '-out', caFile],
    ...['-subj', `/CN=${authorityName(scene.config.cluster)}`, '-days', String(AUTHORITY_DAYS)],
    ...AUTHORITY_EXTENSIONS.flatMap((each) => ['-addext', each]),
  )
}

/** A request, signed by the authority; the extensions come by the shell's standard input. */
export function certificate(scene: Scene, node: ResolvedNode): string {
  const { tls } = scene.config
  const target = tls.certFile(node.name)
  const request = `${target}.request`
  const [make, sign] = [
    command(
      ...['openssl', 'req', '-new', '-sha256', ...NEW_KEY, '-keyout', tls.keyFile(node.name)],
      ...['-out', request, '-subj', `/CN=${node.name}`],
    ),
    command(
      ...[
        'openssl',
        'x509',
        '-req',
        '-sha256',
        '-in',
        request,
        '-CA',
        tls.caFile,
        '-CAkey',
        authorityKey(scene),
      ],
      ...['-CAcreateserial', '-days', String(NODE_DAYS), '-out', target, '-extfile', '/dev/stdin'],
    ),
  ]
  return `${make}\n${sign} <<'END'\n${nodeExtensions([node.host, node.name]).join('\n')}\nEND\nrm ${word(request)}`
}

export function stop(scene: Scene, node: ResolvedNode): string {
  return command(
    program(scene, 'pg_ctl'),
    '-D',
    nodeLayout(node.directory).dataDir,
    '-m',
    'fast',
    '-w',
    'stop',
  )
}

/** Of an old primary, which has to be stopped. */
export function rewindOf(scene: Scene, node: ResolvedNode): string {
  const { host, port } = scene.primary
  const source = {
    host,
    port,
    user: scene.config.postgres.superuser,
    passfile: superuserPassfile(node),
    caFile: scene.config.tls.caFile,
  }
  return command(program(scene, 'pg_rewind'), ...rewindArguments(nodeLayout(node.directory).dataDir, source))
}
