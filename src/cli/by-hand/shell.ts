/** Text for a POSIX shell that a person may paste. Pure. */

/** One word, in quotes only where it needs them. */
export function word(text: string): string {
  // Within double quotes these four stay special (POSIX shell, 2.2.3), and in some shells the exclamation mark.
  if (text.includes("'") && !/["$`\\!]/.test(text)) return `"${text}"`
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}

/** A command on one line. */
export function line(...words: readonly string[]): string {
  return words.map(word).join(' ')
}

/** A command, filled into lines; an option stays beside its value. */
export function command(...words: readonly string[]): string {
  const units = words.map(word).reduce<string[]>((before, each) => {
    const last = before.at(-1)
    // "-x value" is one unit, and "value value" are two.
    if (last !== undefined && /^-\S+$/.test(last) && !each.startsWith('-'))
      before[before.length - 1] = `${last} ${each}`
    else before.push(each)
    return before
  }, [])
  const lines: string[] = []
  for (const unit of units) {
    const last = lines.at(-1)
    if (last !== undefined && last.length + unit.length < WIDTH) lines[lines.length - 1] = `${last} ${unit}`
    else lines.push(last === undefined ? unit : `  ${unit}`)
  }
  return lines.join(' \\\n')
}

const WIDTH = 105

/** The file with exactly this content, whatever stands in it. */
export function file(path: string, content: string): string {
  return `cat > ${word(path)} <<'END'\n${content.endsWith('\n') ? content : `${content}\n`}END`
}
