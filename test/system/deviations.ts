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
      return line.replace(
        / fl=([0-9a-f]+)/,
        (_, fl: string) => ` fl=${(BigInt(`0x${fl}`) | BigInt(RF)).toString(16)}`,
      );
    },
  },
  {
    reason:
      'a reserved bit can only be found in a present entry, so error codes with RSVD have P (4.7); QEMU clears P',
    correct: line =>
      line.replace(/\be(=?)([0-9a-f]{1,2})\b/g, (all, equals: string, code: string) =>
        (hex(code) & 9) === 8 && (equals === '' || line.includes(' v=e '))
          ? `e${equals}${(hex(code) | 1).toString(16)}`
          : all,
      ),
  },
  {
    reason:
      'an error code that names a gate has its vector from bit 3 on (6.13); QEMU counts gates of 16 bytes in long mode',
    correct: line =>
      line.replace(/( v=[bd] e=)([0-9a-f]+)/, (all, before: string, code: string) =>
        (hex(code) & 7) === 2 && hex(code) % 16 === 2
          ? `${before}${(((hex(code) - 2) >> 1) | 2).toString(16)}`
          : all,
      ),
  },
  {
    reason:
      'an error code has EXT set when the event that failed was an exception (6.13); QEMU leaves it clear',
    correct: line =>
      / by ud2:| second:/.test(line)
        ? line.replace(
            /( v=[abcd] e=)([0-9a-f]+)/,
            (_, before: string, code: string) => `${before}${(hex(code) | 1).toString(16)}`,
          )
        : line,
  },
];

const OUTCOME = /: .*/;

export const EXEMPTIONS: readonly Exemption[] = [
  {
    reason:
      'F1 (INT1) is a #DB trap that needs no gate privilege (volume 2, INT n); QEMU hands it to its debugger',
    lines: / int1:/,
    ignore: OUTCOME,
  },
  {
    reason:
      'a waiting x87 exception comes at the next x87 instruction, not only at FWAIT (volume 1, 8.7); QEMU lacks it',
    lines: / #MF at next:/,
    ignore: OUTCOME,
  },
  {
    reason: 'an unmasked #Z leaves the operands on the x87 stack (volume 1, 8.5.3); QEMU pops',
    lines: / #MF avoided:/,
    ignore: / rax=\w+/,
  },
  { reason: 'QEMU 7.2 does not raise #XM', lines: / #XM/, ignore: OUTCOME },
  {
    reason: 'an access with any byte outside of the canonical range is #GP; QEMU walks the first page before',
    lines: / read over the canonical edge:/,
    ignore: OUTCOME,
  },
  {
    reason: 'a read-modify-write is a write from the start: W in the error code (4.7); QEMU reads first',
    lines: / #PF (rmw|xchg|cmpxchg):|u16 selector beyond GDT:|lock or/,
    ignore: / e=\w+/,
  },
  {
    reason:
      'a gate to a non-canonical address is #GP before anything is pushed (volume 2, INT n); QEMU jumps first',
    lines: / non-canonical handler:/,
    ignore: OUTCOME,
  },
  {
    reason: 'a null SS needs RPL = CPL (volume 2, MOV); QEMU takes any RPL at CPL 0',
    lines: /k64 null ss rpl 3:/,
    ignore: OUTCOME,
  },
  {
    reason: 'SS becomes null only when the privilege changes, not by IST alone (6.14.4); QEMU does both',
    lines: /^IST|#DF| (then|v=8)/,
    ignore: / hss=\w+/,
  },
];
