/** Who types this, as it stands in events and in the history. Not a proof of anything: whoever has the token may say what he likes. */
import { hostname, userInfo } from 'node:os'

export function operatorName(env: NodeJS.ProcessEnv = process.env): string {
  const before = env['SUDO_USER']
  return `${before ?? nameOfUser(env)}@${hostname()}`
}

/** A user without an entry in /etc/passwd has no name there. */
function nameOfUser(env: NodeJS.ProcessEnv): string {
  try {
    return userInfo().username
  } catch {
    return env['USER'] ?? `uid-${process.getuid?.() ?? '?'}`
  }
}
