/** Prometheus' text format, version 0.0.4 (its documentation, "Exposition formats"). Pure. */

export const METRICS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

export type Labels = Readonly<Record<string, string>>
export type Sample = readonly [Labels, number | boolean | null | undefined]

export interface Metric {
  readonly name: string
  readonly type: 'gauge' | 'counter'
  readonly help: string
  readonly samples: readonly Sample[]
}

export function gauge(name: string, help: string, samples: readonly Sample[]): Metric {
  return { name, type: 'gauge', help, samples }
}

export function counter(name: string, help: string, samples: readonly Sample[]): Metric {
  return { name, type: 'counter', help, samples }
}

/** What is not known is left out: absent says so, 0 would be a value. */
export function renderMetric({ name, type, help, samples }: Metric): string {
  const known = samples.flatMap(([labels, value]) =>
    value === null || value === undefined ? [] : [`${name}${renderLabels(labels)} ${Number(value)}\n`],
  )
  return known.length === 0 ? '' : `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${known.join('')}`
}

function renderLabels(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}
