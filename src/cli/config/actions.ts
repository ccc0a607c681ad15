/** What `understudy config` can do. */
export const CONFIG_ACTIONS = ['validate', 'show', 'explain', 'schema'] as const
export type ConfigAction = (typeof CONFIG_ACTIONS)[number]
