/** The vector instructions, all together. */
import type { Definition } from './definition.ts';
import { sseFloats } from './sse-float.ts';
import { sseIntegers } from './sse-integer.ts';
import { sseMoves } from './sse-move.ts';
import { sseShuffles } from './sse-shuffle.ts';

export const sse: Definition[] = [...sseMoves, ...sseIntegers, ...sseShuffles, ...sseFloats];
