/** Names that a server which was there before gets from understudy. */

/** The superuser of understudy's own there: pg_rewind and `rotate` log in as it, and postgres keeps its (or no) password. */
export const ROOT_ROLE = 'understudy_superuser'

/** In the operator's directory. */
export const JOURNAL_NAME = 'existing.json'
