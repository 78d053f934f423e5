/** Pages of the p2m without entries: nothing but their memory tells them from those that have them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Gfn, gfn } from '../base/brand.ts';
import { P2m } from '../cpu/vcpu/layout.ts';
import type { Domain } from './hypervisor.ts';
import { forEachEntry, forgoPaged, mapMmio, p2mEntry, p2mType, populateRange, rawEntry } from './p2m.ts';
import { ENTRIES_PER_PAGE, peekEntry, wholeEntry } from './p2m-pages.ts';
import { testDomain, testMachine } from './testing.ts';

const PAGED = P2m.paged << P2m.typeShift;
const FIRST = gfn(2 * ENTRIES_PER_PAGE - 3);
/** The end of a page, two whole ones, the beginning of another. */
const COUNT = 3 + 2 * ENTRIES_PER_PAGE + 5;

function populated(page: number): Domain {
  const domain = testDomain(testMachine(), { p2mCount: 8 * ENTRIES_PER_PAGE, maxPages: 1 << 20 }, 0);
  populateRange(domain, FIRST, COUNT, page);
  return domain;
}
const wholes = (domain: Domain) =>
  Array.from({ length: 8 }, (_, page) => page).filter(page => wholeEntry(domain, page) !== 0);
const expected = (at: number, page: number): number =>
  at < FIRST || at >= FIRST + COUNT ? 0 : page === 0 ? PAGED : PAGED | (page + at - FIRST);

for (const page of [0, 77]) {
  test(`entries from page ${page} on are the same, whether or not they are there`, () => {
    const domain = populated(page);
    assert.deepEqual(wholes(domain), [2, 3]);
    for (let at = 0; at < 8 * ENTRIES_PER_PAGE; at++) assert.equal(peekEntry(domain, at), expected(at, page));
    assert.deepEqual(wholes(domain), [2, 3], 'a look has made them');
    assert.equal(rawEntry(domain, 3 * ENTRIES_PER_PAGE + 9), expected(3 * ENTRIES_PER_PAGE + 9, page));
    assert.deepEqual(wholes(domain), [2]);
    for (let at = 0; at < 8 * ENTRIES_PER_PAGE; at++) {
      assert.equal(peekEntry(domain, at), expected(at, page));
      assert.equal(rawEntry(domain, at), expected(at, page));
    }
    assert.deepEqual(wholes(domain), []);
  });
}

test('all RAM is visited once, in order', () => {
  const domain = populated(5);
  const seen: number[] = [];
  const visitWhole = (first: number, count: number, entry: number) => {
    assert.equal(entry, expected(first, 5));
    for (let i = 0; i < count; i++) seen.push(first + i);
  };
  forEachEntry(domain, at => seen.push(at), visitWhole);
  assert.deepEqual(
    seen,
    Array.from({ length: COUNT }, (_, i) => FIRST + i),
  );
  let nrThere = 0;
  forEachEntry(domain, () => {
    nrThere += 1;
  });
  assert.equal(nrThere, COUNT - 2 * ENTRIES_PER_PAGE);
});

test('what is changed in a whole page leaves the rest of it as it was', () => {
  const domain = populated(0);
  const at = (page: number, index: number): Gfn => gfn(page * ENTRIES_PER_PAGE + index);
  const before = [domain.state.totPages, domain.hypervisor.frames.nrPromised] as const;
  assert.equal(p2mType(p2mEntry(domain, at(2, 100))), P2m.ram, 'a frame when it is looked at');
  assert.ok(forgoPaged(domain, at(3, 7)));
  mapMmio(domain, at(3, 7));
  assert.deepEqual(
    [domain.state.totPages, domain.hypervisor.frames.nrPromised],
    [before[0] - 1, before[1] - 2],
  );
  assert.equal(p2mType(rawEntry(domain, at(3, 7))), P2m.mmio);
  for (const entry of [at(2, 99), at(2, 101), at(3, 6), at(3, 8)])
    assert.equal(rawEntry(domain, entry), PAGED);
});
