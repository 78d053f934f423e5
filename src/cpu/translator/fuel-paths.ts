/**
 * How many instructions the fuel must last for: along the longest way from a block to the next look at the fuel, which is where
 * another path without loops begins.
 */
import { type Block, successors } from './region.ts';

export class FuelPaths {
  readonly #isLoopHead: (block: Block) => boolean;
  readonly #longest: (number | undefined)[] = [];

  constructor(isLoopHead: (block: Block) => boolean) {
    this.#isLoopHead = isLoopHead;
  }

  /** From the beginning of a block. */
  from(block: Block): number {
    this.#longest[block.id] ??= block.instructions.length + this.behind(block);
    return this.#longest[block.id] as number;
  }
  behind(block: Block): number {
    let longest = 0;
    for (const { block: next, dispatch } of successors(block)) {
      // Whoever passes the dispatcher must also pass the head of a loop behind it, or would come back for ever.
      const looks = next && this.#isLoopHead(next) && block.control !== 'dispatch';
      if (next && dispatch === undefined && !looks) longest = Math.max(longest, this.from(next));
    }
    return longest;
  }
}
