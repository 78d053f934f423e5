/**
 * Regions of any shape as nested blocks: what nesting cannot express (a second entry, a jump into the middle of a loop, returns to
 * several callers of one function) goes through a dispatcher, a block before all others that branches by number.
 */
import type { Block, Edge, Place } from './region.ts';
import { type Structure, structureOf } from './structure.ts';

/** A block, an edge, in the making. */
export type Draft<T> = { -readonly [K in keyof T]: T[K] };

/**
 * @param entries where the region may be entered, the first being `blocks[0]`
 * @returns the blocks, in front of them a dispatcher if one is needed, and the places that can be entered
 */
export function withDispatcher({
  blocks,
  entries,
}: {
  blocks: readonly Draft<Block>[];
  entries: readonly Block[];
}): { blocks: readonly Block[]; entries: readonly Place[] } {
  const reached = [...entries];
  const first = blocks[0] as Block;
  for (;;) {
    const needed = reached.length > 1 || reached[0] !== first;
    const all = needed ? [dispatcher(reached), ...blocks] : blocks;
    all.forEach((block, id) => {
      (block as Draft<Block>).id = id;
    });
    const { irreducible } = flowOf(all);
    if (irreducible.length === 0) return { blocks: all, entries: reached.map(({ place }) => place) };
    const cut = new Set(irreducible.map(([from, to]) => `${from}:${to}`));
    for (const block of blocks) {
      const routed = (edge: Edge): Edge => {
        if (!edge.block || edge.dispatch !== undefined || !cut.has(`${block.id}:${edge.block.id}`))
          return edge;
        if (!reached.includes(edge.block)) reached.push(edge.block);
        return { ...edge, dispatch: reached.indexOf(edge.block) };
      };
      block.taken = block.taken && routed(block.taken);
      block.next = block.next && routed(block.next);
      block.targets = block.targets.map(routed);
    }
  }
}

const dispatcher = (reached: readonly Block[]): Block => ({
  id: 0,
  place: (reached[0] as Block).place,
  instructions: [],
  control: 'dispatch',
  taken: undefined,
  next: undefined,
  targets: reached.map(block => ({ place: block.place, block, crosses: false, dispatch: undefined })),
});

/** How the blocks nest. What the dispatcher leads to counts as met by several paths, so that it can be branched to. */
export function flowOf(blocks: readonly Block[]): Structure {
  return structureOf(
    blocks.map(({ control, taken, next, targets }) => {
      const edges = [...targets, taken, next].filter(edge => edge?.block !== undefined) as Edge[];
      const ids = edges.map(edge => (edge.dispatch === undefined ? (edge.block as Block).id : 0));
      return control === 'dispatch' ? [...ids, ...ids] : ids;
    }),
  );
}
