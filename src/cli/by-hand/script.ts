/** The parts as one script: for a person to read and to paste from, and for a program to split. Pure. */
import { enumerate, humanDuration } from '../humanise.ts'
import { wrap } from '../text.ts'
import { isOneMachine, type Scene } from './scene.ts'
import type { Section } from './sections.ts'

/** Begins every part: a line that splits the script, with the part's number, server, user and title. */
export const MARKER = /^#### (?<number>\d+) \| on (?<on>\S+) \| as (?<as>\S+) \| (?<title>.*)$/

const WIDTH = 100

export function renderScript(scene: Scene, sections: readonly Section[]): string {
  return [...introduction(scene), ...sections.flatMap(sectionLines)].join('\n')
}

function introduction(scene: Scene): readonly string[] {
  const { config, primary, standbys, major, taken } = scene
  const nodes = config.nodes.map(({ name, host, port }) => `${name} (${host}, port ${port})`)
  const text = [
    `How to set up what understudy sets up, by hand, with stock PostgreSQL ${major}: ${primary.name} as primary${standbys.length === 0 ? '' : `, and ${standbys.map(({ name }) => name).join(', ')} as standby of it`}. Every setting, rule of pg_hba.conf, role and slot is what an agent would write for rto ${humanDuration(config.rtoMs)} and durability ${config.durability}.`,
    `The servers are ${nodes.join(', ')}.${isOneMachine(scene) ? ' Here all of them are this machine.' : ''}`,
    'Each part begins with a line "#### NUMBER | on SERVER | as USER | TITLE": paste it into a shell of that user on that server, one part after the other. The next part counts on it.',
    'What understudy does beyond this: it sees that the primary is lost and lets the best standby take over, safely; it changes primary_conninfo, slots and synchronous_standby_names with each change of roles; it brings old primaries back. By hand, each of these is yours.',
  ]
  if (taken.length > 0)
    text.unshift(
      `NOT HERE: ${enumerate(taken)} ${taken.length === 1 ? 'has' : 'have'} data in these directories already. This is to be read; to follow it, let it be explained for other ones (--data DIR).`,
    )
  return text.flatMap((paragraph) => [...comment(paragraph), '#'])
}

function sectionLines({ number, on, as, title, about, shell }: Section): readonly string[] {
  return ['', `#### ${number} | on ${on} | as ${as} | ${title}`, ...about.flatMap(comment), shell, '']
}

function comment(text: string): readonly string[] {
  return wrap(text, WIDTH).map((line) => `# ${line}`)
}
