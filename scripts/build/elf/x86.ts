/**
 * x86-64 code for WebAssembly's integer instructions, by opcode. WebAssembly's operand stack is the processor's own, one
 * 8-byte slot a value; the upper half of a slot with an i32 means nothing.
 */

const unary = (code: string) => `58 ${code} 50`;
const binary = (code: string) => `59 58 ${code} 50`;
/** SETcc, made a 32-bit 0 or 1. */
const flag = (condition: string) => `0f 9${condition} c0 0f b6 c0`;

/** Condition codes of eq, ne, lt_s, lt_u, gt_s, gt_u, le_s, le_u, ge_s, ge_u. */
const CONDITIONS = ['4', '5', 'c', '2', 'f', '7', 'e', '6', 'd', '3'];
/** add, sub, mul, div_s, div_u, rem_s, rem_u, and, or, xor, shl, shr_s, shr_u, rotl, rotr; REX where it belongs is `*`. */
const ARITHMETIC = [
  '* 01 c8',
  '* 29 c8',
  '* 0f af c1',
  '* 99 * f7 f9',
  '31 d2 * f7 f1',
  '* 99 * f7 f9 * 89 d0',
  '31 d2 * f7 f1 * 89 d0',
  '* 21 c8',
  '* 09 c8',
  '* 31 c8',
  '* d3 e0',
  '* d3 f8',
  '* d3 e8',
  '* d3 c0',
  '* d3 c8',
];
const narrow = (code: string) => code.replaceAll('* ', '');
const wide = (code: string) => code.replaceAll('*', '48');

function table(): Map<number, string> {
  const codes = new Map<number, string>();
  codes.set(0x45, unary(`85 c0 ${flag('4')}`));
  codes.set(0x50, unary(`48 85 c0 ${flag('4')}`));
  for (const [i, condition] of CONDITIONS.entries()) {
    codes.set(0x46 + i, binary(`39 c8 ${flag(condition)}`));
    codes.set(0x51 + i, binary(`48 39 c8 ${flag(condition)}`));
  }
  for (const [i, code] of ARITHMETIC.entries()) {
    codes.set(0x6a + i, binary(narrow(code)));
    codes.set(0x7c + i, binary(wide(code)));
  }
  codes.set(0xa7, '');
  codes.set(0xac, unary('48 63 c0'));
  codes.set(0xad, unary('89 c0'));
  codes.set(0xc0, unary('0f be c0'));
  codes.set(0xc1, unary('0f bf c0'));
  codes.set(0xc2, unary('48 0f be c0'));
  codes.set(0xc3, unary('48 0f bf c0'));
  codes.set(0xc4, unary('48 63 c0'));
  codes.set(0x1a, '58');
  // select: condition, second, first.
  codes.set(0x1b, '5a 59 58 85 d2 48 0f 44 c1 50');
  return codes;
}

/** Instructions without immediates. */
export const PLAIN = table();

/** Loads: the address is in rax, a 32-bit displacement follows. */
export const LOAD: ReadonlyMap<number, string> = new Map([
  [0x28, '8b 80'],
  [0x29, '48 8b 80'],
  [0x2c, '0f be 80'],
  [0x2d, '0f b6 80'],
  [0x2e, '0f bf 80'],
  [0x2f, '0f b7 80'],
  [0x30, '48 0f be 80'],
  [0x31, '0f b6 80'],
  [0x32, '48 0f bf 80'],
  [0x33, '0f b7 80'],
  [0x34, '48 63 80'],
  [0x35, '8b 80'],
]);
/** Stores: the address is in rax, the value in rcx. */
export const STORE: ReadonlyMap<number, string> = new Map([
  [0x36, '89 88'],
  [0x37, '48 89 88'],
  [0x3a, '88 88'],
  [0x3b, '66 89 88'],
  [0x3c, '88 88'],
  [0x3d, '66 89 88'],
  [0x3e, '89 88'],
]);

/** A Linux system call: number and six arguments are on the stack (System V ABI, x86-64 supplement, A.2.1). */
export const SYSTEM_CALL = '41 59 41 58 41 5a 5a 5e 5f 58 0f 05 50';
/** rdi, rsi and rcx hold destination, source and count. Backwards only where the destination begins inside the source. */
export const MOVE_BYTES =
  '48 89 f8 48 29 f0 48 39 c8 73 10 48 8d 74 0e ff 48 8d 7c 0f ff fd f3 a4 fc eb 02 f3 a4';
/** rdi, rax and rcx hold destination, value and count. */
export const FILL_BYTES = 'f3 aa';
