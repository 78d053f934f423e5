/**
 * Where QEMU 7.2's TCG and the manual differ, and where the manual leaves room. Section numbers are of the SDM, volume 3,
 * unless another volume is named.
 */
import type { Correction, Exemption } from './compare.ts';

/** #DE to #XM without the traps #DB, #BP, #OF and without NMI and #DF, whose saved RFLAGS are not a fault's. */
const FAULTS = new Set([0, 5, 6, 7, 10, 11, 12, 13, 14, 16, 17, 19]);
const RF = 0x10000;

const hex = (text: string | undefined) => Number.parseInt(text ?? '0', 16);

export const CORRECTIONS: readonly Correction[] = [
  {
    reason: 'a fault saves RFLAGS with RF set (18.3.1.1); QEMU leaves it clear',
    correct(line) {
      const vector = / v=([0-9a-f]+)/.exec(line);
      if (!vector || !FAULTS.has(hex(vector[1]))) return line;
      return line.replace(/ fl=([0-9a-f]+)/, (_, fl: string) => ` fl=${(BigInt(`0x${fl}`) | BigInt(RF)).toString(16)}`);
    },
  },
  {
    reason: 'a reserved bit can only be found in a present entry, so error codes with RSVD have P (4.7); QEMU clears P',
    correct: line =>
      line.replace(/\be(=?)([0-9a-f]{1,2})\b/g, (all, equals: string, code: string) =>
        (hex(code) & 9) === 8 && (equals === '' || line.includes(' v=e ')) ? `e${equals}${(hex(code) | 1).toString(16)}` : all,
      ),
  },
  {
    reason: 'an error code that names a gate has its vector from bit 3 on (6.13); QEMU counts gates of 16 bytes in long mode',
    correct: line =>
      line.replace(/( v=[bd] e=)([0-9a-f]+)/, (all, before: string, code: string) =>
        (hex(code) & 7) === 2 && hex(code) % 16 === 2 ? `${before}${(((hex(code) - 2) >> 1) | 2).toString(16)}` : all,
      ),
  },
];

export const EXEMPTIONS: readonly Exemption[] = [];
