/** Sizes of operands, most of which depend on what the instruction is told: see definition.ts. */

/**
 * Size of an operand: bytes, or 'v' (16, 32, 64 by operand size), 'y' (32 or 64), 'z' (16 or 32); 'p' (far
 * pointer of the operand size), 'a' (two of the operand size), 'yy' (two of 'y'); for x87 images 'env' (14 or 28 bytes)
 * and 'state' (80 bytes more).
 */
export type OperandSize = number | 'v' | 'y' | 'z' | 'p' | 'a' | 'yy' | 'env' | 'state';

/** Size in bytes of an operand when the instruction's operand size is `operandSize` bytes. */
export function sizeOf(size: OperandSize, operandSize: number): number {
  if (typeof size === 'number') return size;
  if (size === 'v') return operandSize;
  if (size === 'y') return operandSize === 8 ? 8 : 4;
  if (size === 'yy') return operandSize === 8 ? 16 : 8;
  if (size === 'p') return operandSize + 2;
  if (size === 'a') return operandSize * 2;
  if (size === 'env') return operandSize === 2 ? 14 : 28;
  if (size === 'state') return operandSize === 2 ? 94 : 108;
  return operandSize === 2 ? 2 : 4;
}
