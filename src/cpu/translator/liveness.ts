/** Which blocks need the arithmetic flags that control arrives with. */
import { FORMS } from '../isa/forms.ts';
import type { Instruction } from './instruction.ts';
import { type Block, type Region, reachesOver, successors } from './region.ts';
import { traitsOf } from './traits.ts';

const shifts = new Set(
  FORMS.filter(
    ({ definition: { name, operandText } }) =>
      /^(sh[lr]d?|sar|ro[lr]|rc[lr])$/.test(name) && operandText.at(-1) === 'Ib',
  ),
);
/** Shifts whose count turns out to be 0 change no flags. */
const isIdleShift = ({ form, immediate }: Instruction): boolean =>
  (immediate & 0x1fn) === 0n && shifts.has(form);

/** What an instruction sequence does first with the flags it finds. */
function needsFlags(instructions: readonly Instruction[]): boolean | undefined {
  for (const instruction of instructions) {
    const { isInline, readsFlags, writesFlags, mayLeave } = traitsOf(instruction.form);
    if (!isInline || readsFlags || mayLeave || isIdleShift(instruction)) return true;
    // It looks at the next page's mapping first, and may leave.
    if (reachesOver(instruction.offset, instruction.length)) return true;
    if (writesFlags) return false;
  }
  return undefined;
}

/**
 * @param checks blocks that the region may be left before, by whoever is on the way there
 * @returns by block, whether the flags on arrival matter
 */
export function liveFlags(region: Region, checks: (block: Block) => boolean): boolean[] {
  const { blocks } = region;
  const own = blocks.map(block => needsFlags(block.instructions));
  const live = own.map(needs => needs === true);
  for (let changed = true; changed; ) {
    changed = false;
    for (const block of blocks.toReversed()) {
      if (own[block.id] !== undefined || live[block.id]) continue;
      if (leavesRegion(block, checks) || successors(block).some(edge => edge.block && live[edge.block.id])) {
        live[block.id] = true;
        changed = true;
      }
    }
  }
  return live;
}

/** Some edge goes out of the region, or may: another page may be mapped differently, loops and the dispatcher look at the fuel. */
function leavesRegion({ control, taken, next, targets }: Block, checks: (block: Block) => boolean): boolean {
  if (control === 'indirect' || control === 'return' || control === 'stop') return true;
  return [...targets, taken, next].some(
    edge => edge && (!edge.block || edge.crosses || edge.dispatch !== undefined || checks(edge.block)),
  );
}
