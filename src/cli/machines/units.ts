/** The units of a node's programs for systemd (systemd.service(5), systemd.exec(5)), each line that is not plain with its reason. Pure. */

export interface UnitInput {
  readonly cluster: string
  readonly node: string
  /** Absolute. */
  readonly configFile: string
  readonly user: string
  readonly group: string
  /** Absolute: node, and the program that it runs. */
  readonly command: readonly string[]
  /** Where the agent and its PostgreSQL write: the node's directory, the configuration's (for renewals), the socket's. */
  readonly writable: readonly string[]
  /** An etcd of the bundle runs beside it. */
  readonly withEtcd: boolean
}

export interface EtcdUnitInput {
  readonly cluster: string
  readonly user: string
  readonly group: string
  /** Absolute. */
  readonly program: string
  /** Of the bundle: paths in etcd's file are relative to it. */
  readonly directory: string
  readonly dataDirectory: string
}

export function agentUnitName({ cluster, node }: Pick<UnitInput, 'cluster' | 'node'>): string {
  return `understudy-${cluster}-${node}.service`
}

export function proxyUnitName({ cluster, node }: Pick<UnitInput, 'cluster' | 'node'>): string {
  return `understudy-${cluster}-${node}-proxy.service`
}

export function etcdUnitName(cluster: string): string {
  return `understudy-${cluster}-etcd.service`
}

export function agentUnit(input: UnitInput): string {
  const { cluster, node, configFile, user, group, command, writable, withEtcd } = input
  const etcd = withEtcd ? ` ${etcdUnitName(cluster)}` : ''
  const start = [...command, 'agent', '--config', configFile, '--node', node]
  return `# Written by \`understudy systemd\`. Changes belong into a drop-in: systemctl edit ${agentUnitName(input)}
[Unit]
Description=pg-understudy agent of ${node}, cluster ${cluster}, with its PostgreSQL
After=network-online.target${etcd}
Wants=network-online.target${etcd}
# It is needed most when nothing works yet: starting it is never given up.
StartLimitIntervalSec=0

[Service]
# It says itself when it serves its API, and that its loop still runs. Node has no sockets of the kind that sd_notify needs, so the program
# systemd-notify speaks for it: hence "all", for that is a process of its own.
Type=notify
NotifyAccess=all
WatchdogSec=90
ExecStart=${start.map(unitWord).join(' ')}
# systemctl reload: the agent starts anew (another program, another configuration) and PostgreSQL goes on.
ExecReload=/bin/kill -USR2 $MAINPID
Restart=always
RestartSec=1
# systemctl stop: the agent stops PostgreSQL in order. Whatever else ends the agent must not end PostgreSQL, which the next one adopts.
KillMode=process
TimeoutStopSec=150
# A backend that the kernel kills for memory costs a restart of PostgreSQL, not of the service.
OOMPolicy=continue

User=${user}
Group=${group}
UMask=0077
LimitNOFILE=65536
LimitCORE=0
TasksMax=infinity

${hardening([configFile, ...command], writable)}
[Install]
WantedBy=multi-user.target
`
}

/** It writes nothing, and needs neither the agent nor PostgreSQL of its node: the primary may be anywhere. */
export function proxyUnit(input: Omit<UnitInput, 'writable' | 'withEtcd'>): string {
  const { cluster, node, configFile, user, group, command } = input
  const start = [...command, 'proxy', '--config', configFile, '--node', node]
  return `# Written by \`understudy systemd\`. Changes belong into a drop-in: systemctl edit ${proxyUnitName(input)}
[Unit]
Description=pg-understudy proxy at ${node}, cluster ${cluster}
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=${start.map(unitWord).join(' ')}
Restart=always
RestartSec=1
ExecReload=/bin/kill -HUP $MAINPID
# SIGTERM lets transactions end, for five seconds.
TimeoutStopSec=15

User=${user}
Group=${group}
UMask=0077
# Each client is a file, and each server connection.
LimitNOFILE=65536
LimitCORE=0

${hardening([configFile, ...command], [])}
[Install]
WantedBy=multi-user.target
`
}

export function etcdUnit(input: EtcdUnitInput): string {
  const { cluster, user, group, program, directory, dataDirectory } = input
  return `# Written by \`understudy systemd\`. Changes belong into a drop-in: systemctl edit ${etcdUnitName(cluster)}
[Unit]
Description=etcd of the pg-understudy cluster ${cluster}
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
# etcd speaks sd_notify by itself; it is ready when it has found the other members, which may still be missing.
Type=notify
TimeoutStartSec=infinity
WorkingDirectory=${unitPath(directory)}
ExecStart=${[program, '--config-file', 'store/etcd.yaml'].map(unitWord).join(' ')}
Restart=always
RestartSec=1

User=${user}
Group=${group}
UMask=0077
LimitNOFILE=65536

${hardening([program], [dataDirectory], [directory])}
[Install]
WantedBy=multi-user.target
`
}

/** `programs` and `readable` must be seen, `writable` be written. */
function hardening(
  programs: readonly string[],
  writable: readonly string[],
  readable: readonly string[] = [],
): string {
  const places = [...programs, ...writable, ...readable]
  const inHome = places.some((place) => /^\/(home|root|run\/user)\//.test(place))
  const inTmp = places.some((place) => /^\/(var\/)?tmp\//.test(place))
  const seen =
    writable.length === 0
      ? '# It sees the system read-only.\nProtectSystem=strict'
      : `# It sees the system read-only, and writes where its data is.\nProtectSystem=strict\nReadWritePaths=${writable.map(unitPath).join(' ')}`
  return `${seen}
${inHome ? '# Not ProtectHome: some of its files are in a home directory.\n' : 'ProtectHome=yes\n'}${inTmp ? '# Not PrivateTmp: some of its files are in /tmp.\n' : 'PrivateTmp=yes\n'}PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
NoNewPrivileges=yes
CapabilityBoundingSet=
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
`
}

/** systemd.syntax(7): in quotes where needed; % begins a specifier, $ a variable. */
function unitWord(word: string): string {
  const escaped = word.replaceAll('%', '%%').replaceAll('$', '$$$$')
  return /^[\w@%+=:,./-]+$/.test(escaped) ? escaped : `"${escaped.replace(/["\\]/g, '\\$&')}"`
}

function unitPath(path: string): string {
  const escaped = path.replaceAll('%', '%%')
  return /^[\w@%+=:,./-]+$/.test(escaped) ? escaped : `"${escaped.replace(/["\\]/g, '\\$&')}"`
}
