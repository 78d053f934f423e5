/** The vector instructions, all together. */
import { aes } from './aes.ts';
import { crc } from './crc.ts';
import type { Definition } from './definition.ts';
import { sseFloats } from './sse-float.ts';
import { sseIntegers } from './sse-integer.ts';
import { sseMoves } from './sse-move.ts';
import { sseShuffles } from './sse-shuffle.ts';
import { sse4 } from './sse-sse4.ts';
import { ssse3 } from './sse-ssse3.ts';
import { stringComparisons } from './string-compare.ts';
import { vexFloats } from './vex-float.ts';
import { vexMemory } from './vex-memory.ts';
import { vexMoves } from './vex-move.ts';
import { vexPermutes } from './vex-permute.ts';

export const sse: Definition[] = [
  ...sseMoves,
  ...sseIntegers,
  ...sseShuffles,
  ...sseFloats,
  ...ssse3,
  ...sse4,
  ...stringComparisons,
  ...aes,
  ...crc,
  ...vexMoves,
  ...vexPermutes,
  ...vexMemory,
  ...vexFloats,
];
