/** The instruction table: every instruction Domus knows, by family. */
import { arithmetic } from './arithmetic.ts';
import { bits } from './bits.ts';
import { bmi } from './bmi.ts';
import { branches } from './branch.ts';
import type { Definition } from './definition.ts';
import { moves } from './move.ts';
import { shift } from './shift.ts';
import { sse } from './sse.ts';
import { stack } from './stack.ts';
import { strings } from './string.ts';
import { system } from './system.ts';
import { x87 } from './x87.ts';

export const TABLE: readonly Definition[] = [
  ...arithmetic,
  ...moves,
  ...shift,
  ...bits,
  ...bmi,
  ...stack,
  ...branches,
  ...strings,
  ...system,
  ...x87,
  ...sse,
];
