/** How results are written to standard output: for people, or for programs. */
import { DomusError } from '../base/errors.ts';
import { toBase64 } from '../platform/node/text-codecs.ts';
import { option } from './options.ts';

export type OutputFormat = 'text' | 'json';

/** @throws DomusError E_USAGE */
export function parseOutputFormat(text: string): OutputFormat {
  if (text === 'text' || text === 'json') return text;
  throw new DomusError('E_USAGE', `there is no output format "${text}"`, 'use -o text or -o json');
}

/** The option of verbs that write for people or for programs. */
export const outputOption = option({
  name: 'output',
  short: 'o',
  placeholder: 'FORMAT',
  summary: 'text (default) or json',
  parse: parseOutputFormat,
});

/** Bytes in a JSON document: text when they are valid UTF-8, else base64 under another name. */
export function jsonBytes(name: string, bytes: Uint8Array): Record<string, string> {
  try {
    return { [name]: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes) };
  } catch {
    return { [`${name}Base64`]: toBase64(bytes) };
  }
}
