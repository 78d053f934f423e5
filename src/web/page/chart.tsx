/** Curves of the last two minutes. What a curve shows is also in its label, in words and numbers. */
import { type Sample, SPAN_MS } from './history.ts';

const WIDTH = 240;
const HEIGHT = 72;

export interface Curve {
  readonly name: string;
  readonly values: readonly number[];
}

interface Props {
  readonly title: string;
  /** When the values were, in milliseconds. */
  readonly times: readonly number[];
  readonly curves: readonly Curve[];
  /** The top is not lower than this. */
  readonly least: number;
  format(value: number): string;
}

/** The next 1, 2 or 5 times a power of ten, or of 1024 and 2 for bytes. */
function roundedUp(value: number, base: number): number {
  const steps = base === 1024 ? [1, 2, 4, 8, 16, 32, 64, 128, 256, 512] : [1, 2, 5];
  for (let unit = 1; ; unit *= base) {
    const step = steps.find(each => each * unit >= value);
    if (step !== undefined) return step * unit;
  }
}

const x = (atMs: number, nowMs: number): string => (WIDTH - ((nowMs - atMs) / SPAN_MS) * WIDTH).toFixed(1);

/** @param times of the values, in milliseconds */
function points(values: readonly number[], times: readonly number[], max: number): string {
  const nowMs = times.at(-1) ?? 0;
  const y = (value: number) => (HEIGHT - (value / max) * (HEIGHT - 2) - 1).toFixed(1);
  return values.map((value, i) => `${x(times[i] ?? nowMs, nowMs)},${y(value)}`).join(' ');
}

function area(values: readonly number[], times: readonly number[], max: number): string {
  const left = x(times[0] ?? 0, times.at(-1) ?? 0);
  return `${left},${HEIGHT} ${points(values, times, max)} ${WIDTH},${HEIGHT}`;
}

export function Chart({ title, times, curves, least, format }: Props) {
  const highest = Math.max(0, ...curves.flatMap(({ values }) => values));
  const max = roundedUp(Math.max(least, highest), format(1024).endsWith('%') ? 10 : 1024);
  const now = curves.map(({ name, values }) => `${name} ${format(values.at(-1) ?? 0)}`.trim()).join(', ');
  return (
    <figure class="chart">
      <figcaption>
        <span>{title}</span>
        <span class="chart-now">
          {curves.map(({ name, values }, i) => (
            <span key={name} class={`chart-value curve-${i}`}>
              {name} <b>{format(values.at(-1) ?? 0)}</b>
            </span>
          ))}
        </span>
      </figcaption>
      <svg
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`${title}: ${now}; at most ${format(highest)} in the last two minutes`}
      >
        {[0.25, 0.5, 0.75].map(part => (
          <line key={part} class="grid" x1="0" x2={WIDTH} y1={HEIGHT * part} y2={HEIGHT * part} />
        ))}
        {curves.map(({ name, values }, i) => (
          <g key={name} class={`curve-${i}`}>
            <polygon class="area" points={area(values, times, max)} />
            <polyline class="line" points={points(values, times, max)} />
          </g>
        ))}
      </svg>
      <div class="chart-scale" aria-hidden="true">
        <span>2 min ago</span>
        <span>top {format(max)}</span>
        <span>now</span>
      </div>
    </figure>
  );
}

/** The processor's curve beside a number that says the same. */
export function Sparkline({ samples }: { readonly samples: readonly Sample[] }) {
  const values = samples.map(({ cpu }) => cpu);
  const times = samples.map(({ atMs }) => atMs);
  const top = Math.max(100, ...values);
  return (
    <svg
      class="sparkline curve-0"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      preserveAspectRatio="none"
      aria-hidden="true"
      focusable="false"
    >
      <polygon class="area" points={area(values, times, top)} />
      <polyline class="line" points={points(values, times, top)} />
    </svg>
  );
}
