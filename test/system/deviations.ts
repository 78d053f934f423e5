/**
 * Where QEMU 7.2's TCG and the manual differ, and where the manual leaves room. Section numbers are of the SDM, volume 3,
 * unless another volume is named.
 */
import type { Correction, Exemption } from './compare.ts';

/** #DE to #XM without the traps #DB, #BP, #OF and without NMI and #DF, whose saved RFLAGS are not a fault's. */
const FAULTS = new Set([0, 5, 6, 7, 10, 11, 12, 13, 14, 16, 17, 19]);
const RF = 0x10000;

const hex = (text: string | undefined) => Number.parseInt(text ?? '0', 16);

/** For all modes. */
export const COMMON_CORRECTIONS: readonly Correction[] = [
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
      line.replace(/(?<= )e(=?)([0-9a-f]{1,2})\b/g, (all, equals: string, code: string) =>
        (hex(code) & 9) === 8 && (equals === '' || line.includes(' v=e '))
          ? `e${equals}${(hex(code) | 1).toString(16)}`
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

export const CORRECTIONS: readonly Correction[] = [
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
  ...COMMON_CORRECTIONS,
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
    lines: / #PF (rmw|xchg|cmpxchg):|u16 (selector beyond GDT|rep outsb, none):|lock or/,
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
  { reason: 'DR6 bit 12 is always 0 (18.2.3); QEMU keeps it', lines: /k64 to dr6:/, ignore: / rax=\w+/ },
  {
    reason: 'DR7.GD makes MOV of debug registers #DB (18.2.4); QEMU lacks it',
    lines: / from dr0, GD:/,
    ignore: OUTCOME,
  },
  {
    reason: 'RDPMC of a counter that does not exist is #GP (volume 2); QEMU raises #UD',
    lines: / rdpmc:/,
    ignore: OUTCOME,
  },
  {
    reason:
      'XSETBV does not exist without CR4.OSXSAVE, at any privilege (volume 2); QEMU looks at CPL before',
    lines: / xsetbv without OSXSAVE:/,
    ignore: OUTCOME,
  },
  {
    reason:
      'types 1, 4 and 5 are no system segments in long mode, so LAR and LSL refuse them (volume 2); QEMU takes them',
    lines: /^(tss16|call gate16|task gate): k(64|32) (rpl0|lar16):/,
    ignore: OUTCOME,
  },
  {
    reason: 'REP OUTS of nothing: the manual leaves open whether the port is checked',
    lines: / rep outsb, none:/,
    ignore: OUTCOME,
  },
  {
    reason: 'IRET at CPL 0 loads VIF and VIP (volume 2); QEMU does not',
    lines: /k64 iret:/,
    ignore: / (fl|hfl|rax)=\w+/g,
  },
  { reason: 'D6 (SALC) is not in the manual; Domus raises #UD', lines: / salc:/, ignore: OUTCOME },
  {
    reason: '8F and C6 have only /0 (volume 2, appendix A); QEMU does not look',
    lines: / (8f|c6) .1:/,
    ignore: OUTCOME,
  },
  {
    reason: 'a null SS needs RPL = CPL and 64-bit code (volume 2, IRET); QEMU does not look',
    lines: / ss=[03] k64 iretq:/,
    ignore: OUTCOME,
  },
  {
    reason: 'L and D together are reserved (5.2.1); QEMU looks at L only',
    lines: /: v=d e=80 /,
    ignore: OUTCOME,
  },
  {
    reason:
      'a call into a conforming segment sets RPL to CPL (volume 2, CALL); QEMU keeps the RPL of the gate',
    lines: /^gate to conforming:/,
    ignore: / cs=\w+/,
  },
  {
    reason: 'SYSCALL clears what FMASK says and no more (volume 2); QEMU loses the arithmetic flags',
    lines: / syscall:/,
    ignore: / (fl|hfl)=\w+/g,
  },
  {
    reason:
      'SYSRET exists in 64-bit code only (volume 2); QEMU takes it in compatibility mode, as AMD has it',
    lines: / [ku]32 sysretl:/,
    ignore: OUTCOME,
  },
  {
    reason: 'SYSRET clears RF and loads VIF and VIP (volume 2); QEMU does not',
    lines: / k64 sysret[lq]:/,
    ignore: / (fl|hfl)=\w+/g,
  },
  {
    reason: 'SYSENTER is Intel’s in long mode; QEMU plays AMD there, where it does not exist',
    lines: / sysenter /,
    ignore: OUTCOME,
  },
  {
    reason: 'of a read-modify-write over two pages QEMU reads both, then writes',
    lines: /lock or first=/,
    ignore: OUTCOME,
  },
  {
    reason:
      'a write that faults on its second page changes no byte; which of A and D the first page gets is open (4.8)',
    lines: /: {2}bytes=/,
    ignore: / (bytes|A)=\w+/g,
  },
  {
    reason: 'QEMU 7.2 has no PCID',
    lines:
      /: {2}PCID 2=22222222 flushed PCID 1=22222222 INVPCID 0=11111111 INVPCID 1=22222222 INVPCID 2=11111111 INVPCID 3=22222222 cr3 reads=1$/,
    ignore: /.*/,
  },
  { reason: 'QEMU 7.2 does not raise #AC', lines: / misaligned, AC, AM:/, ignore: OUTCOME },
  {
    reason: 'a non-canonical address by RSP or RBP is #SS (volume 1, 3.3.7.1); QEMU raises #GP',
    lines: / non-canonical (rbp|rsp|push):/,
    ignore: / v=\w+/,
  },
  {
    reason:
      'a near branch to a non-canonical address faults itself (volume 2, JMP, CALL, RET); QEMU faults at its target',
    lines: / non-canonical (jump|call|ret):/,
    ignore: OUTCOME,
  },
  {
    reason:
      'a control or debug register that does not exist is #UD at any privilege; QEMU looks at CPL before',
    lines: / (from|to) (cr1|cr5|cr9|dr4, DE):/,
    ignore: OUTCOME,
  },
  {
    reason: 'code segments cannot be written (5.1); QEMU does not look',
    lines: / write to code:/,
    ignore: OUTCOME,
  },
  {
    reason: 'ENTER reads by RBP, which is #SS where not canonical; QEMU raises #GP',
    lines: / enter 16, 2:/,
    ignore: / v=\w+/,
  },
  {
    reason: 'after STI and MOV SS in a row only the first is sure to hold interrupts off (volume 2, STI)',
    lines: / sti, mov ss:/,
    ignore: / (ip|rax|rcx)=\+?\w+/g,
  },
];

/** Where Domus is known to be wrong, among the lines that only the manual decides. */
export const GAPS: readonly { readonly reason: string; readonly lines: RegExp }[] = [];
