/** Each kind of page is made and found in the map; looking changes nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { E820_RAM } from '../abi/xen/memory.ts';
import { gfn } from '../base/brand.ts';
import { P2m } from '../cpu/vcpu/layout.ts';
import { FrameEntry, FrameFlag } from '../machine/frames.ts';
import { FRAME_TABLE_BASE } from '../machine/memory.ts';
import { setMemoryMap } from './guest-physical.ts';
import { domainMemoryMap, PAGE_KINDS, type PageKind } from './memory-map.ts';
import { mapMmio, populateRange, rawEntry, takeReference, unmapGfn } from './p2m.ts';
import { testDomain, testMachine } from './testing.ts';

const PAGES = 64;

function counted() {
  const machine = testMachine();
  const domain = testDomain(machine, {}, 32);
  setMemoryMap(domain, [{ address: 0, size: PAGES * 4096, type: E820_RAM }]);
  const map = (cells = PAGES) => domainMemoryMap(domain, cells);
  const total = (kind: PageKind) => map().totals[PAGE_KINDS.indexOf(kind)];
  /** Kind of one page. */
  const kindAt = (page: number) => PAGE_KINDS[map().cells[page]!.indexOf(1)];
  return { machine, domain, map, total, kindAt };
}

test('a page of each kind is told apart', () => {
  const { machine, domain, total, kindAt } = counted();
  assert.equal(total('private'), 32);
  assert.deepEqual([kindAt(0), kindAt(1), kindAt(33)], ['ballooned', 'private', 'ballooned']);
  populateRange(domain, gfn(40), 4);
  populateRange(domain, gfn(48), 2, 7);
  mapMmio(domain, gfn(50));
  assert.deepEqual([kindAt(40), kindAt(48), kindAt(50)], ['untouched', 'image', 'device']);
  const { u32: words } = domain.hypervisor.memory;
  for (const [page, number] of [
    [52, 3],
    [53, 0],
  ] as const)
    words[domain.state.p2m / 4 + page] = number | (P2m.shared << P2m.typeShift);
  assert.deepEqual([kindAt(52), kindAt(53)], ['shared', 'zero']);
  const frameOf = (page: number) => rawEntry(domain, page) & P2m.mfnMask;
  const { hypervisor } = machine;
  takeReference(hypervisor, frameOf(2));
  hypervisor.memory.u8[FRAME_TABLE_BASE + frameOf(3) * FrameEntry.size + FrameEntry.offsets.flags]! |=
    FrameFlag.code;
  assert.deepEqual([kindAt(2), kindAt(3)], ['granted', 'code']);
  const other = testDomain(machine, {}, 4);
  const { u32 } = hypervisor.memory;
  u32[domain.state.p2m / 4 + 5] = rawEntry(other, 1);
  u32[domain.state.p2m / 4 + 6] = ((domain.state.sharedInfo >>> 12) | (P2m.ram << P2m.typeShift)) >>> 0;
  assert.deepEqual([kindAt(5), kindAt(6)], ['foreign', 'xen']);
  u32[domain.state.p2m / 4 + 8] = (frameOf(8) | (P2m.frozen << P2m.typeShift)) >>> 0;
  assert.deepEqual([kindAt(7), kindAt(8), kindAt(5)], ['private', 'frozen', 'foreign']);
});

test('cells add up to the sums, whatever their size, and the last one may be shorter', () => {
  const { domain, map } = counted();
  populateRange(domain, gfn(40), 9);
  for (const cells of [1, 2, 3, 7, 63, 64, 65, 1000]) {
    const { cells: found, totals, pages, pagesPerCell } = map(cells);
    assert.ok(found.length <= cells && found.length === Math.ceil(pages / pagesPerCell));
    for (const [i, cell] of found.entries()) {
      const size = Math.min(pagesPerCell, pages - i * pagesPerCell);
      assert.equal(
        cell.reduce((sum, each) => sum + each, 0),
        size,
      );
    }
    const sums = PAGE_KINDS.map((_, kind) => found.reduce((sum, cell) => sum + cell[kind]!, 0));
    assert.deepEqual(sums, totals);
    assert.equal(pages, PAGES);
  }
});

test('looking brings no page in and frees none', () => {
  const { machine, domain, map } = counted();
  populateRange(domain, gfn(40), 4);
  unmapGfn(domain, 1);
  const before = [machine.hypervisor.frames.nrFree, domain.state.totPages, rawEntry(domain, 40)];
  map();
  assert.deepEqual([machine.hypervisor.frames.nrFree, domain.state.totPages, rawEntry(domain, 40)], before);
});

test('a domain without a memory map has an empty one', () => {
  const domain = testDomain(testMachine(), {}, 4);
  assert.deepEqual(domainMemoryMap(domain, 10).cells, []);
});
