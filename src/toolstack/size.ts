/** Sizes as people write them: a number with an optional unit, always in powers of 1024. */
import { DomusError } from '../base/errors.ts';

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: 2 ** 10,
  m: 2 ** 20,
  g: 2 ** 30,
  t: 2 ** 40,
};

/** '512M', '1.5g', '2GiB', '536870912'. @throws DomusError E_SIZE */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(b|[kmgt](?:i?b)?)?$/i.exec(text.trim());
  const unit = UNITS[(match?.[2] ?? '').charAt(0).toLowerCase()];
  if (!match || unit === undefined) {
    throw new DomusError('E_SIZE', `"${text}" is not a size`, 'write a number and a unit: 512M, 2G');
  }
  return Math.floor(Number(match[1]) * unit);
}

/** A size, or `+5G` to be added to `currentBytes`. @throws DomusError E_SIZE */
export function parseNewSize(text: string, currentBytes: number): number {
  const given = parseSize(text.replace(/^\+/, ''));
  return text.startsWith('+') ? currentBytes + given : given;
}
