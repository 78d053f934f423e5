/** Labels: words of the user's on guests, `NAME=VALUE`. */
import { DomusError } from '../../base/errors.ts';
import { list } from '../options.ts';

export type Label = readonly [name: string, value: string];

/** @throws DomusError E_USAGE */
export function parseLabel(text: string): Label {
  const match = /^([A-Za-z0-9][A-Za-z0-9_./-]{0,62})(?:=(.{0,255}))?$/.exec(text);
  if (!match) throw new DomusError('E_USAGE', `"${text}" is no label`, 'write --label NAME=VALUE');
  return [match[1]!, match[2] ?? ''];
}

export const labelOption = list({
  name: 'label',
  placeholder: 'NAME=VALUE',
  summary: 'a word to find the guest by; may be repeated',
  parse: parseLabel,
});

export const labelsOf = (labels: readonly Label[]) =>
  labels.length > 0 ? { labels: Object.fromEntries(labels) } : {};
