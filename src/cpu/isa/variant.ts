/** Variants of a table entry: operand size, destination, prefixes and mode as one number. */

/** Form numbers below this are the interpreter's own: see interpreter/pseudo.ts. */
export const FIRST_FORM = 9;

const LOG2 = [0, 0, 0, 0, 1, 0, 0, 0, 2];
/** Position of a variant in an entry's form index. */
export const variantOf = (
  size: number,
  memory: boolean,
  rep: number,
  addressSize: number,
  mode64: boolean,
  lock: boolean,
) =>
  (LOG2[size] as number) |
  (memory ? 4 : 0) |
  (rep << 3) |
  ((LOG2[addressSize] as number) << 5) |
  (mode64 ? 128 : 0) |
  (lock ? 256 : 0);
export const VARIANTS = 512;
