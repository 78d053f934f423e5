/** Help texts, generated from the tables that the parser uses. */
import { EXIT_CODES } from './exit-codes.ts';
import type { OptionSpec } from './options.ts';
import type { Verb } from './verb.ts';

const WIDTH = 100;

/** Two columns; long descriptions continue below their beginning. */
function columns(rows: readonly (readonly [string, string])[]): string {
  const left = Math.min(34, Math.max(...rows.map(([name]) => name.length)) + 2);
  return rows
    .map(([name, text]) => {
      const lines = wrap(text, WIDTH - left - 2);
      const first = name.length + 2 > left ? [`  ${name}`] : [];
      const body = lines.map((line, index) =>
        index === 0 && first.length === 0 ? `  ${name.padEnd(left)}${line}` : `  ${' '.repeat(left)}${line}`,
      );
      return [...first, ...body].join('\n');
    })
    .join('\n');
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}

/** A note, its lines broken here; examples and tables are indented, and stay as they are. */
function paragraph(note: string): string {
  return /^ /m.test(note) ? note : wrap(note.replaceAll('\n', ' '), WIDTH).join('\n');
}

function optionName(spec: OptionSpec<unknown>): string {
  const short = spec.short ? `-${spec.short}` : '  ';
  const long = spec.name ? `--${spec.name}` : '';
  const names = spec.short && spec.name ? `${short}, ${long}` : spec.name ? `    ${long}` : short;
  return spec.placeholder ? `${names} ${spec.placeholder}` : names;
}

export function verbHelp(verb: Verb): string {
  const options = Object.values(verb.options);
  const usage =
    `Usage: domus ${verb.name}${options.length > 0 ? ' [options]' : ''} ${verb.operands}`.trimEnd();
  const parts = [`${usage}\n\n${verb.summary}.`];
  if (options.length > 0) {
    const rows = options.map(spec => [optionName(spec), spec.summary] as const);
    parts.push(`Options:\n${columns([...rows, ['-h, --help', 'show this help']])}`);
  }
  parts.push(...(verb.notes ?? []).map(paragraph));
  return `${parts.join('\n\n')}\n`;
}

export function generalHelp(verbs: readonly Verb[]): string {
  return [
    'Usage: domus VERB [options] [operands]',
    'Runs unmodified x86-64 Linux kernels as Xen guests: no root, no KVM, no native build.',
    `Verbs:\n${columns(verbs.map(verb => [verb.name, verb.summary]))}`,
    `Topics:\n${columns([
      ['--help exit-codes', 'what the exit codes mean'],
      ['VERB --help', 'the options of a verb'],
    ])}`,
    'Example:\n  domus run -- uname -a',
  ]
    .join('\n\n')
    .concat('\n');
}

export function exitCodesHelp(): string {
  return `Exit codes:\n${columns(EXIT_CODES)}\n`;
}
