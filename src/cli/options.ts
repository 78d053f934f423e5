/**
 * The command line's grammar as tables. A verb declares its options once; parsing, typing, help and the tests follow.
 *
 *     const options = { memory: option({ short: 'm', name: 'memory', placeholder: 'SIZE', summary: '...', parse: parseSize }) };
 *     parseOptions(options, ['-m', '512M', 'uname', '-a'], true)
 *     // { values: { memory: 536870912 }, operands: ['uname', '-a'], isAfterDashes: false }
 */
import type { DomusError } from '../base/errors.ts';
import { usage } from './usage.ts';

export interface OptionSpec<T> {
  /** Long name without the dashes; empty when there is only a short one. */
  readonly name: string;
  readonly short?: string;
  /** What the value is called in the help; absent for a flag. */
  readonly placeholder?: string;
  readonly summary: string;
  /** The value after one more occurrence, which carried `text` (empty for a flag). */
  combine(before: T, text: string): T;
  readonly initial: T;
}

export type OptionValues<Table> = {
  [Key in keyof Table]: Table[Key] extends OptionSpec<infer T> ? T : never;
};

interface Named {
  readonly name: string;
  readonly short?: string;
  readonly summary: string;
}

/** An option without a value. */
export function flag(spec: Named): OptionSpec<boolean> {
  return { ...spec, initial: false, combine: () => true };
}

/** An option with a value; the last one counts. */
export function option<T>(
  spec: Named & { placeholder: string; parse: (text: string) => T },
): OptionSpec<T | undefined> {
  const { parse, ...named } = spec;
  return { ...named, initial: undefined, combine: (_before, text) => parse(text) };
}

/** An option that may be given more than once. */
export function list<T>(
  spec: Named & { placeholder: string; parse: (text: string) => T },
): OptionSpec<readonly T[]> {
  const { parse, ...named } = spec;
  return { ...named, initial: [], combine: (before, text) => [...before, parse(text)] };
}

/** How an option is written where people read it: `--memory`, or `-v` when it has no long name. */
export const spelling = (spec: { name: string; short?: string }) =>
  spec.name ? `--${spec.name}` : `-${spec.short}`;

/**
 * Split `args` into option values and operands. `--` ends the options; so does the first operand when
 * `endsAtOperand` says that what follows belongs to somebody else. `isAfterDashes` tells which it was.
 * @throws DomusError E_USAGE, and whatever the options' own `parse` throws
 */
export function parseOptions<Table extends Record<string, OptionSpec<unknown>>>(
  table: Table,
  args: readonly string[],
  endsAtOperand: boolean,
  helpCommand: string,
): { values: OptionValues<Table>; operands: string[]; isAfterDashes: boolean } {
  const values = Object.fromEntries(
    Object.entries(table).map(([key, spec]) => [key, spec.initial]),
  ) as Record<string, unknown>;
  const entries = Object.entries(table);
  const operands: string[] = [];
  let isAfterDashes = false;
  let next = 0;

  const apply = ([key, spec]: [string, OptionSpec<unknown>], attached: string | undefined) => {
    if (spec.placeholder === undefined) {
      if (attached !== undefined) {
        throw usage(`${spelling(spec)} takes no value`, `write ${spelling(spec)} alone`);
      }
      values[key] = spec.combine(values[key], '');
      return;
    }
    const text = attached ?? args[next++];
    if (text === undefined) {
      throw usage(`${spelling(spec)} needs a value`, `write ${spelling(spec)} ${spec.placeholder}`);
    }
    values[key] = spec.combine(values[key], text);
  };

  while (next < args.length) {
    const arg = args[next++] ?? '';
    if (arg === '--') {
      isAfterDashes = operands.length === 0;
      operands.push(...args.slice(next));
      break;
    }
    if (arg.startsWith('--')) {
      const equals = arg.indexOf('=');
      const name = equals < 0 ? arg.slice(2) : arg.slice(2, equals);
      const entry = entries.find(([, spec]) => spec.name === name);
      if (!entry) throw unknownOption(`--${name}`, entries, helpCommand);
      apply(entry, equals < 0 ? undefined : arg.slice(equals + 1));
    } else if (arg.startsWith('-') && arg.length > 1) {
      applyShort(arg);
    } else if (endsAtOperand) {
      operands.push(arg, ...args.slice(next));
      break;
    } else {
      operands.push(arg);
    }
  }

  /** `-it`, `-m512M`, `-m=512M`, `-itm 512M`. */
  function applyShort(arg: string): void {
    for (let at = 1; at < arg.length; at++) {
      const letter = arg.charAt(at);
      const entry = entries.find(([, spec]) => spec.short === letter);
      if (!entry) throw unknownOption(`-${letter}`, entries, helpCommand);
      const rest = arg.slice(at + 1);
      if (entry[1].placeholder !== undefined || rest.startsWith('=')) {
        apply(entry, rest === '' ? undefined : rest.replace(/^=/, ''));
        return;
      }
      apply(entry, undefined);
    }
  }

  return { values: values as OptionValues<Table>, operands, isAfterDashes };
}

function unknownOption(
  given: string,
  entries: readonly (readonly [string, OptionSpec<unknown>])[],
  helpCommand: string,
): DomusError {
  const names = entries.map(([, spec]) => spelling(spec));
  const near = given.startsWith('--') ? nearest(given, names) : undefined;
  return usage(
    `unknown option ${given}`,
    near ? `did you mean ${near}?` : `"${helpCommand}" lists the options`,
  );
}

/** The candidate that is a typing slip away, if there is one. */
export function nearest(given: string, candidates: readonly string[]): string | undefined {
  const ranked = candidates
    .map(candidate => ({ candidate, distance: editDistance(given, candidate) }))
    .sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  return best && best.distance <= Math.max(1, Math.floor(given.length / 4)) ? best.candidate : undefined;
}

/** Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = (last[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let best = Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, replace);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        best = Math.min(best, (beforeLast[j - 2] ?? 0) + 1);
      }
      row.push(best);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] ?? 0;
}

/** A whole number. @throws DomusError E_USAGE */
export function parseInteger(what: string): (text: string) => number {
  return text => {
    if (!/^\d+$/.test(text) || !Number.isSafeInteger(Number(text))) {
      throw usage(`"${text}" is not a ${what}`, 'write a whole number');
    }
    return Number(text);
  };
}

const DURATION_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, '': 1000, m: 60_000, h: 3_600_000 };

/** '30', '30s', '1.5m', '250ms', in milliseconds. @throws DomusError E_USAGE */
export function parseDurationMs(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text);
  const unit = DURATION_MS[match?.[2] ?? ''];
  const durationMs = match && unit !== undefined ? Number(match[1]) * unit : 0;
  if (!(durationMs > 0)) throw usage(`"${text}" is not a duration`, 'write 30s, 5m or 1h');
  return durationMs;
}
