/** The files of a cluster's secrets, by the names that src/config/load.ts gives them. */
export const SECRET_NAMES = [
  'superuser',
  'replication',
  'agent',
  'proxy',
  'application',
  'api-token',
] as const

/** With that of the store which `up` runs; an etcd brings its own. */
export const LOCAL_SECRET_NAMES = [...SECRET_NAMES, 'store-token'] as const
