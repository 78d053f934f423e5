/**
 * The syntax of xl's configuration files (xlcfg(5)): `KEY=VALUE`, ended by a newline or `;`. A value is a string in quotes, a number,
 * or a list of values in brackets; `KEY+=VALUE` adds to what was there; `#` begins a comment. It is no Python, though old files look so.
 *
 *     parseXlConfig('name = "web"\ndisk = [ "a.vhd,vhd,xvda,rw" ]', 'web.cfg')
 */
import { DomusError } from '../../base/errors.ts';

/** `kind` of a number is its own, for its spelling counts as text where text is wanted, as in xl. */
export type XlValue =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'number'; readonly text: string; readonly number: number }
  | { readonly kind: 'list'; readonly items: readonly XlValue[] };

export interface XlSetting {
  readonly value: XlValue;
  /** `web.cfg:12`, for what is said about it. */
  readonly where: string;
}

/** By key; of a key that is set twice the last one counts. */
export type XlConfig = ReadonlyMap<string, XlSetting>;

/** A configuration that is longer was not written by hand, and not for xl. */
const CHARACTERS_MAX = 1 << 20;
const NESTING_MAX = 8;

/** Spaces, and a line that goes on behind a backslash. */
const SPACE = /(?:[ \t\r\f\v]|\\\r?\n|#[^\n]*)*/y;
const SPACE_AND_LINES = /(?:\s|\\\r?\n|#[^\n]*)*/y;
const NAME = /[A-Za-z_][A-Za-z0-9_]*/y;
const NUMBER = /-?(?:0[xX][0-9a-fA-F]+|[0-9]+)(?![A-Za-z0-9_.])/y;
const STRING = /'((?:[^'\\\n]|\\[^\n])*)'|"((?:[^"\\\n]|\\[^\n])*)"/y;
const ESCAPE = /\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|[^\n])/g;
const LETTERS: Readonly<Record<string, string>> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
};

function withEscapes(text: string): string {
  return text.replace(ESCAPE, (_all, what: string) => {
    if (/^x./.test(what)) return String.fromCharCode(Number.parseInt(what.slice(1), 16));
    if (/^[0-7]/.test(what)) return String.fromCharCode(Number.parseInt(what, 8) & 0xff);
    return LETTERS[what] ?? what;
  });
}

/** As strtol has it: 0x1f, 017, 15. */
function numberOf(text: string): number {
  const sign = text.startsWith('-') ? -1 : 1;
  const digits = text.replace('-', '');
  return sign * (/^0[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : Number(digits));
}

class Reader {
  readonly #text: string;
  readonly #source: string;
  #at = 0;

  constructor(text: string, source: string) {
    this.#text = text;
    this.#source = source;
  }

  get hasMore(): boolean {
    return this.#at < this.#text.length;
  }
  get where(): string {
    let line = 1;
    for (let i = this.#text.indexOf('\n'); i >= 0 && i < this.#at; i = this.#text.indexOf('\n', i + 1))
      line += 1;
    return `${this.#source}:${line}`;
  }

  take(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text);
    if (!found) return undefined;
    this.#at += found[0].length;
    return found;
  }
  takeText(text: string): boolean {
    if (!this.#text.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  /** @throws DomusError E_XL_CONFIG */
  refuse(expected: string): never {
    const rest = this.#text.slice(this.#at, this.#at + 30).split('\n')[0] ?? '';
    const found = rest === '' ? (this.hasMore ? 'the end of the line' : 'the end') : `"${rest}"`;
    throw new DomusError(
      'E_XL_CONFIG',
      `${this.where}: ${expected} is missing before ${found}`,
      'the syntax is that of xl: KEY="text", KEY=number, KEY=[ "text", ... ]',
    );
  }
}

function parseValue(reader: Reader, depth = 0): XlValue {
  const string = reader.take(STRING);
  if (string) return { kind: 'text', text: withEscapes(string[1] ?? string[2] ?? '') };
  const number = reader.take(NUMBER)?.[0];
  if (number !== undefined) return { kind: 'number', text: number, number: numberOf(number) };
  if (!reader.takeText('[')) reader.refuse('a value');
  if (depth === NESTING_MAX) reader.refuse(`the end of one of ${NESTING_MAX} lists within each other`);
  const items: XlValue[] = [];
  for (;;) {
    reader.take(SPACE_AND_LINES);
    if (reader.takeText(']')) return { kind: 'list', items };
    items.push(parseValue(reader, depth + 1));
    reader.take(SPACE_AND_LINES);
    if (reader.takeText(',')) continue;
    if (!reader.takeText(']')) reader.refuse('"," or "]"');
    return { kind: 'list', items };
  }
}

/** What `+=` makes of two values; undefined where they do not fit. */
function joined(before: XlValue, more: XlValue): XlValue | undefined {
  if (before.kind === 'list' && more.kind === 'list') {
    return { kind: 'list', items: [...before.items, ...more.items] };
  }
  if (before.kind === 'list' || more.kind === 'list') return undefined;
  return { kind: 'text', text: before.text + more.text };
}

/** @throws DomusError E_XL_CONFIG, with the line */
export function parseXlConfig(text: string, source: string, before: XlConfig = new Map()): XlConfig {
  if (text.length > CHARACTERS_MAX) {
    throw new DomusError('E_XL_CONFIG', `${source} is no configuration: it is too long`, 'name another file');
  }
  const settings = new Map(before);
  const reader = new Reader(text, source);
  for (;;) {
    reader.take(SPACE_AND_LINES);
    if (reader.takeText(';')) continue;
    if (!reader.hasMore) return settings;
    const { where } = reader;
    const name = reader.take(NAME)?.[0] ?? reader.refuse('a key');
    reader.take(SPACE);
    const adds = reader.takeText('+=');
    if (!adds && !reader.takeText('=')) reader.refuse('"="');
    reader.take(SPACE);
    const value = parseValue(reader);
    reader.take(SPACE);
    if (reader.hasMore && !reader.takeText('\n') && !reader.takeText(';'))
      reader.refuse('the end of the line');
    const known = adds ? settings.get(name) : undefined;
    const sum = known ? joined(known.value, value) : value;
    if (sum === undefined) return reader.refuse(`a value of the kind that ${name} has`);
    settings.set(name, { value: sum, where });
  }
}

/**
 * A setting of the command line. Shells take quotes away, so a value that is no other one counts as text: `memory=512`, `name=web`.
 * @throws DomusError E_XL_CONFIG
 */
export function parseXlOverride(text: string, before: XlConfig): XlConfig {
  const bare = /^([A-Za-z_][A-Za-z0-9_]*)=([^'"[\]\s;#\\][^'"[\];#\\\n]*)$/.exec(text);
  if (!bare || /^-?(0[xX][0-9a-fA-F]+|[0-9]+)$/.test(bare[2]!)) {
    return parseXlConfig(text, 'command line', before);
  }
  const value: XlValue = { kind: 'text', text: bare[2]! };
  return new Map([...before, [bare[1]!, { value, where: 'command line:1' }]]);
}
