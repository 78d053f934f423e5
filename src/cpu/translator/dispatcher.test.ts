import assert from 'node:assert/strict';
import { test } from 'node:test';
import { random } from '../../../test/oracle/random.ts';
import { type Draft, flowOf, withDispatcher } from './dispatcher.ts';
import { perfectHash } from './perfect-hash.ts';
import type { Block, Edge } from './region.ts';

/** Blocks with edges to anywhere. */
function blocks(count: number, pick: (below: number) => number): Draft<Block>[] {
  const made = Array.from(
    { length: count },
    (_, id): Draft<Block> => ({
      id,
      place: { page: 0, offset: id },
      instructions: [],
      control: 'conditional',
      taken: undefined,
      next: undefined,
      targets: [],
    }),
  );
  const edge = (): Edge | undefined => {
    const block = made[pick(count + 1)];
    return block && { place: block.place, block, crosses: false, dispatch: undefined };
  };
  for (const block of made) {
    block.taken = edge();
    block.next = edge();
    block.targets = Array.from({ length: pick(3) }, edge).filter(target => target !== undefined);
  }
  return made;
}

test('with a dispatcher every graph nests, and every edge still leads where it led', () => {
  const { below } = random(5);
  let dispatched = 0;
  for (let n = 0; n < 300; n++) {
    const drafts = blocks(1 + below(14), below);
    const goal = (edge: Edge | undefined) => edge?.block?.place.offset;
    const goals = () => drafts.map(({ taken, next, targets }) => [taken, next, ...targets].map(goal));
    const before = goals();
    const entries = drafts.filter((_, id) => id === 0 || below(4) === 0);
    const region = withDispatcher({ blocks: drafts, entries });

    assert.deepEqual(flowOf(region.blocks).irreducible, []);
    assert.deepEqual(goals(), before);
    region.blocks.forEach((block, id) => {
      assert.equal(block.id, id);
    });
    for (const { place } of entries) assert.ok(region.entries.includes(place));
    const [first] = region.blocks;
    if (first?.control !== 'dispatch') continue;
    assert.deepEqual(
      first.targets.map(({ place }) => place),
      region.entries,
    );
    for (const { taken, next, targets } of drafts) {
      for (const edge of [taken, next, ...targets]) {
        if (edge?.dispatch === undefined) continue;
        dispatched += 1;
        assert.equal(first.targets[edge.dispatch]?.block, edge.block);
      }
    }
  }
  assert.ok(dispatched > 100);
});

test('a perfect hash gives each number a slot of its own', () => {
  const { below } = random(6);
  for (let n = 0; n < 200; n++) {
    const numbers = [...new Set(Array.from({ length: 1 + below(30) }, () => below(1 << 16) - (1 << 15)))];
    const hash = perfectHash(numbers);
    if (!hash) continue;
    numbers.forEach((number, position) => {
      assert.equal(hash.slots[(number >>> hash.shift) & (hash.slots.length - 1)], position);
    });
  }
  assert.equal(perfectHash([7, 7]), undefined);
});
