import assert from 'node:assert/strict';
import { test } from 'node:test';
import { random } from '../../../test/oracle/random.ts';
import { Frontier } from './frontier.ts';
import { sharesOf, together } from './profile.ts';

const counts = (entries: Record<number, number>) =>
  new Map(Object.entries(entries).map(([region, count]) => [Number(region), count]));

test('a share is what one region has counted, the one that has seen most', () => {
  const from = counts({ 1: 1000, 2: 10 });
  const shares = sharesOf(from, [
    { counts: counts({ 1: 900, 2: 1 }), odds: 1 },
    { counts: counts({ 2: 9 }), odds: 1 },
    // A place that others lead to as well was executed more often than the block.
    { counts: counts({ 1: 5000 }), odds: 1 },
  ]);
  assert.deepEqual(shares, [0.9, 0.9, 1]);
});

test('what was not counted has the rest, by its odds', () => {
  const from = counts({ 1: 8 });
  const known = { counts: counts({ 1: 4 }), odds: 1 };
  const unknown = (odds: number) => ({ counts: undefined, odds });
  assert.deepEqual(sharesOf(from, [known, unknown(3), unknown(1)]), [0.5, 0.375, 0.125]);
  assert.deepEqual(sharesOf(undefined, [unknown(1), unknown(1)]), [0.5, 0.5]);
  // There may be more of it than it seems.
  const [, rest] = sharesOf(from, [{ counts: counts({ 1: 8 }), odds: 1 }, unknown(1)]);
  assert.ok(rest !== undefined && rest > 0.01 && rest < 0.1);
});

test('a place behind another one knows what was counted at either', () => {
  assert.deepEqual(together(counts({ 1: 5, 2: 6 }), counts({ 2: 7 })), counts({ 1: 5, 2: 7 }));
  assert.deepEqual(together(undefined, counts({ 2: 7 })), counts({ 2: 7 }));
  assert.equal(together(undefined, undefined), undefined);
});

test('the frontier gives the heaviest first, and of equal ones the one that came first', () => {
  const { below } = random(11);
  for (let n = 0; n < 50; n++) {
    const frontier = new Frontier<number>();
    const items = Array.from({ length: below(60) }, () => below(8));
    items.forEach((weight, item) => {
      frontier.add(item, weight);
    });
    const sorted = items.map((_, item) => item).sort((a, b) => (items[b] as number) - (items[a] as number));
    const taken = items.map(() => frontier.take());
    assert.deepEqual(taken, sorted);
    assert.equal(frontier.take(), undefined);
  }
});
