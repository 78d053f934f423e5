/** Where QEMU 7.2's TCG and the manual differ for 32-bit kernels. Section numbers as in deviations.ts. */
import type { Correction, Exemption } from './compare.ts';
import { COMMON_CORRECTIONS, EXEMPTIONS } from './deviations.ts';

/** What both kinds of kernel have in common, by a line that shows it. */
const shared = (line: string): Exemption => {
  const found = EXEMPTIONS.find(({ lines }) => lines.test(`: ${line}`));
  if (!found) throw new Error(`nothing is known about ${line}`);
  return found;
};

export const CORRECTIONS_32: readonly Correction[] = [
  ...COMMON_CORRECTIONS,
  {
    reason: 'the same, where a handler of privilege 1 shows the error code in EAX',
    correct: line =>
      / by ud2: v=82 .* ebp=[abcd]\b/.test(line)
        ? line.replace(
            /( frame=\S+)(?: eax=(\w+))?/,
            (_, before: string, error: string | undefined) =>
              `${before} eax=${(Number.parseInt(error ?? '0', 16) | 1).toString(16)}`,
          )
        : line,
  },
];

export const EXEMPTIONS_32: readonly Exemption[] = [
  shared('k64 int1:'),
  shared('u64 misaligned, AC, AM:'),
  {
    reason: 'PUSHA begins with EAX (volume 2); QEMU begins at the lowest address',
    lines: / #PF pusha:/,
    ignore: / cr2=\w+/,
  },
  {
    reason:
      'a call into a conforming segment sets RPL to CPL (volume 2, CALL); QEMU keeps the RPL of the gate',
    lines: /gate to conforming [03]: .* call:/,
    ignore: /: .*/,
  },
  {
    reason: 'JMP through a gate to a segment that is not present is #NP (volume 2, JMP); QEMU raises #GP',
    lines: /gate to absent: .* jmp:/,
    ignore: / v=[bd]/,
  },
  {
    reason: 'an inner stack that is not present is #SS (volume 2, INT n, CALL); QEMU raises #TS',
    lines: /^not present: | gate, not present:/,
    ignore: / (ebp|v)=[ac]/,
  },
  {
    reason: 'an outer stack that is not present is #SS (volume 2, RET, IRET); QEMU raises #NP',
    lines: / ss=eb (lretw? outer|iretw?):/,
    ignore: / v=[bc]/,
  },
  {
    reason:
      'a task gate to something else than an available TSS is #GP (volume 2, INT n, JMP, CALL); QEMU raises #TS',
    lines: / by a task gate:/,
    ignore: / v=[ad]/,
  },
  {
    reason: 'IRET at CPL 0 loads VIF and VIP (volume 2); QEMU does not',
    lines: /: k32 .* iret:/,
    ignore: / (fl|hfl)=\w+/g,
  },
];
