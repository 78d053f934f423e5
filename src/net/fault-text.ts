/** A line's faults as people write them: `delay=50ms,jitter=10ms,loss=1%,reorder=5%,duplicate=1%,bandwidth=10M,cut`, or `none`. */
import { DomusError } from '../base/errors.ts';
import { checkFaults, type LineFaults } from './impairment.ts';

/** Of bits per second, each a thousand times the one before. */
const UNITS = ['', 'k', 'M', 'G'];

/** @throws DomusError E_NET_FAULT */
export function parseFaults(text: string): { faults: LineFaults; seed?: number } {
  const bad = (part: string): DomusError =>
    new DomusError(
      'E_NET_FAULT',
      `"${part}" is no fault of a line`,
      'write for example delay=50ms,jitter=10ms,loss=1%,reorder=5%,duplicate=1%,bandwidth=10M,seed=1 or cut, or none',
    );
  if (text === 'none') return { faults: {} };
  const faults: { -readonly [Key in keyof LineFaults]: LineFaults[Key] } = {};
  let seed: number | undefined;
  for (const part of text.split(',')) {
    const [name, value = ''] = part.split('=');
    const number = Number.parseFloat(value);
    const isShare = /^\d+(\.\d+)?%?$/.test(value);
    const share = value.endsWith('%') ? number / 100 : number;
    const time = /^\d+(\.\d+)?(ms|s)$/.test(value) ? number * (value.endsWith('ms') ? 1 : 1000) : undefined;
    const rate = /^(\d+(?:\.\d+)?)([kMG]?)$/.exec(value);
    if (part === 'cut') faults.isCut = true;
    else if (name === 'loss' && isShare) faults.loss = share;
    else if (name === 'duplicate' && isShare) faults.duplicate = share;
    else if (name === 'reorder' && isShare) faults.reorder = share;
    else if (name === 'delay' && time !== undefined) faults.delayMs = time;
    else if (name === 'jitter' && time !== undefined) faults.jitterMs = time;
    else if (name === 'bandwidth' && rate) {
      faults.bandwidthBitsPerSecond = number * 1000 ** UNITS.indexOf(rate[2] ?? '');
    } else if (name === 'seed' && /^\d+$/.test(value)) seed = number;
    else throw bad(part);
  }
  return { faults: checkFaults(faults), ...(seed !== undefined && { seed }) };
}

function rateText(bitsPerSecond: number): string {
  let unit = 0;
  let count = bitsPerSecond;
  while (unit + 1 < UNITS.length && count >= 1000 && Number.isInteger(count)) {
    count /= 1000;
    unit += 1;
  }
  return `${count}${UNITS[unit]}`;
}

/** What `parseFaults` reads. */
export function formatFaults(faults: LineFaults): string {
  const share = (value: number) => `${Number((value * 100).toFixed(6))}%`;
  const { delayMs, jitterMs, loss, reorder, duplicate, bandwidthBitsPerSecond: rate, isCut } = faults;
  const words = [
    ...(delayMs ? [`delay=${delayMs}ms`] : []),
    ...(jitterMs ? [`jitter=${jitterMs}ms`] : []),
    ...(loss ? [`loss=${share(loss)}`] : []),
    ...(reorder ? [`reorder=${share(reorder)}`] : []),
    ...(duplicate ? [`duplicate=${share(duplicate)}`] : []),
    ...(rate === undefined ? [] : [`bandwidth=${rateText(rate)}`]),
    ...(isCut ? ['cut'] : []),
  ];
  return words.join(',') || 'none';
}
