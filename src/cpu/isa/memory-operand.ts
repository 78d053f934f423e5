/** Operands that are the same in both tiers: those in memory, and those of which nothing can be asked. */
import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import type { Definition } from './definition.ts';
import { type Emitter, type Operand, Vector } from './emitter.ts';

/** An operand that refuses every access: what real ones are made from. */
export const refusingOperand = (refuse: (what: string) => never): Operand => ({
  size: 0,
  isMemory: false,
  read: () => refuse('read'),
  write: () => refuse('write'),
  modify: () => refuse('modify'),
  readVector: () => refuse('readVector'),
  writeVector: () => refuse('writeVector'),
  readParts: () => refuse('readParts'),
  writeParts: () => refuse('writeParts'),
  address: () => refuse('address'),
  location: () => refuse('location'),
  number: () => refuse('number'),
});

const ZERO = w.v128(new Array<number>(16).fill(0));

/**
 * `size` bytes at the linear address that `address` computes, through the TLB.
 * @param others what is said of accesses that memory has not
 */
export function memoryOperand(
  x: Emitter,
  { vex, options }: Definition,
  size: number,
  address: () => Value,
  others: Operand,
): Operand {
  const mustAlign = vex ? options.aligned === true : size === 16 && !options.unaligned;
  const checked = () => {
    const at = address();
    if (mustAlign) x.raiseIf(w.and(w.wrap(at), w.i32(size - 1)), Vector.GP, w.i32(0));
    return at;
  };
  const readVector = () => {
    const value = x.local('v128');
    x.reading(checked(), size, (host, offset) => {
      if (size === 16) x.set(value, w.loadV128(host, offset));
      else if (size >= 4) x.set(value, w.loadZeroExtended(size as 4 | 8, host, offset));
      else x.set(value, w.replaceLane('i16x8', ZERO, 0, w.load('i32', size, host, offset)));
    });
    return value;
  };
  const writeVector = (value: Value) => {
    const kept = x.let(value);
    x.writable(checked(), size, (host, offset) => {
      if (size === 16) x.code.store(16, host, kept, offset);
      else if (size === 8) x.code.store(8, host, w.extractLane('i64x2', kept, 0), offset);
      else x.code.store(size, host, w.extractLane('i32x4', kept, 0), offset);
    });
  };
  const readWide = () => {
    const parts = [x.local('v128'), x.local('v128')];
    x.reading(checked(), 32, (host, offset) =>
      parts.forEach((part, i) => {
        x.set(part, w.loadV128(host, offset + 16 * i));
      }),
    );
    return parts;
  };
  const writeWide = (parts: readonly Value[]) => {
    const kept = parts.map(part => x.let(part));
    x.writable(checked(), 32, (host, offset) =>
      kept.forEach((part, i) => {
        x.code.store(16, host, part, offset + 16 * i);
      }),
    );
  };
  return {
    ...others,
    size,
    isMemory: true,
    address,
    read: () => x.loadMemory(address(), size),
    write: value => x.storeMemory(address(), size, value),
    modify: change => x.modifyMemory(address(), size, change),
    location: () => x.readable(checked(), size),
    readVector,
    writeVector,
    readParts: () => (size === 32 ? readWide() : [readVector()]),
    writeParts: parts => (parts.length === 2 ? writeWide(parts) : writeVector(parts[0] as Value)),
  };
}
