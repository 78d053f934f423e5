/**
 * A writer for the little AML that a guest without devices needs. Each function returns the encoding of one term.
 *
 * Source: ACPI specification 5.0, chapter 20.
 */
import { invariant } from '../../base/errors.ts';

type Aml = Uint8Array;

const Op = {
  zero: 0x00,
  one: 0x01,
  name: 0x08,
  byte: 0x0a,
  word: 0x0b,
  dword: 0x0c,
  string: 0x0d,
  qword: 0x0e,
  scope: 0x10,
  buffer: 0x11,
  package: 0x12,
  method: 0x14,
  return: 0xa4,
  extended: 0x5b,
  device: 0x82,
  processor: 0x83,
} as const;

export function concat(...parts: readonly Aml[]): Aml {
  const result = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}

const ascii = (text: string) => Uint8Array.from(text, c => c.charCodeAt(0));

/** PkgLength (20.2.4): the length of what follows, itself included. */
function sized(body: Aml): Aml {
  const n = body.length;
  if (n + 1 < 0x40) return concat(Uint8Array.of(n + 1), body);
  const extra = n + 2 < 2 ** 12 ? 1 : n + 3 < 2 ** 20 ? 2 : 3;
  const total = n + 1 + extra;
  invariant(total < 2 ** 28, 'AML package too long');
  const head = [(extra << 6) | (total & 0xf)];
  for (let i = 0; i < extra; i++) head.push((total >>> (4 + 8 * i)) & 0xff);
  return concat(Uint8Array.from(head), body);
}

/** NameString (20.2.2), such as `\_SB_` or `CPUS.P001`: segments of up to four characters. */
export function nameString(path: string): Aml {
  const rooted = path.startsWith('\\');
  const segments = (rooted ? path.slice(1) : path).split('.').filter(s => s !== '');
  for (const s of segments) invariant(/^[A-Z_][A-Z0-9_]{0,3}$/.test(s), `AML name ${s}`);
  const encoded = segments.map(s => ascii(s.padEnd(4, '_')));
  const prefix =
    segments.length === 0
      ? [0x00]
      : segments.length === 1
        ? []
        : segments.length === 2
          ? [0x2e]
          : [0x2f, segments.length];
  return concat(ascii(rooted ? '\\' : ''), Uint8Array.from(prefix), ...encoded);
}

export function integer(value: number): Aml {
  if (value === 0) return Uint8Array.of(Op.zero);
  if (value === 1) return Uint8Array.of(Op.one);
  const [op, size] =
    value < 2 ** 8
      ? [Op.byte, 1]
      : value < 2 ** 16
        ? [Op.word, 2]
        : value < 2 ** 32
          ? [Op.dword, 4]
          : [Op.qword, 8];
  const result = new Uint8Array(1 + size);
  result[0] = op;
  let rest = value;
  for (let i = 0; i < size; i++) {
    result[1 + i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  return result;
}

export const string = (text: string): Aml => concat(Uint8Array.of(Op.string), ascii(text), Uint8Array.of(0));
export const buffer = (data: Aml): Aml =>
  concat(Uint8Array.of(Op.buffer), sized(concat(integer(data.length), data)));
export const name = (path: string, value: Aml): Aml =>
  concat(Uint8Array.of(Op.name), nameString(path), value);
export const scope = (path: string, ...terms: Aml[]): Aml =>
  concat(Uint8Array.of(Op.scope), sized(concat(nameString(path), ...terms)));
export const device = (path: string, ...terms: Aml[]): Aml =>
  concat(Uint8Array.of(Op.extended, Op.device), sized(concat(nameString(path), ...terms)));
/** A package of up to 255 elements. */
export const packageOf = (...elements: Aml[]): Aml =>
  concat(Uint8Array.of(Op.package), sized(concat(Uint8Array.of(elements.length), ...elements)));
export const returns = (value: Aml): Aml => concat(Uint8Array.of(Op.return), value);
export const method = (path: string, argumentCount: number, ...terms: Aml[]): Aml =>
  concat(Uint8Array.of(Op.method), sized(concat(nameString(path), Uint8Array.of(argumentCount), ...terms)));

/** Processor object (20.2.5.2): its ACPI id and no power registers. */
export const processor = (path: string, acpiId: number, ...terms: Aml[]): Aml =>
  concat(
    Uint8Array.of(Op.extended, Op.processor),
    sized(concat(nameString(path), Uint8Array.of(acpiId, 0, 0, 0, 0, 0), ...terms)),
  );
