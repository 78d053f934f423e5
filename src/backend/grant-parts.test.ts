import assert from 'node:assert/strict';
import { test } from 'node:test';
import { domid, gref, mfn } from '../base/brand.ts';
import { activeGrant, mapGrant, seedGrant, unmapGrant } from '../hypervisor/grant/table.ts';
import { guestAddress, testDomain, testMachine } from '../hypervisor/testing.ts';
import { GrantParts } from './grant-parts.ts';
import { createBackendHost } from './host.ts';

const PAGE = 4096;

test('parts of pages, in any order: copied both ways, and nothing is held afterwards', () => {
  const machine = testMachine();
  const { hypervisor } = machine;
  const guest = testDomain(machine);
  const host = createBackendHost(hypervisor);
  // Three pages in a row, then one before them; the last one twice.
  const gfns = [20, 21, 22, 10, 10];
  for (const [i, gfn] of gfns.entries()) seedGrant(guest, 8 + i, gfn, 0);
  const ranges = [
    [8, 512, PAGE - 512],
    [9, 0, PAGE],
    [10, 0, 1024],
    [11, 1024, 2048],
    [12, 3072, 512],
  ] as const;
  const parts = new GrantParts(ranges.length);
  for (const [ref, offset, length] of ranges) parts.add(gref(ref), offset, length);
  assert.equal(parts.count, 5);
  assert.equal(parts.sizeBytes, 2 * PAGE + 3072);
  const bytes = Uint8Array.from({ length: parts.sizeBytes }, (_, i) => i % 251);
  assert.equal(host.copyToParts(guest.id, parts, bytes), true);
  let done = 0;
  for (const [i, [, offset, length]] of ranges.entries()) {
    const start = guestAddress(guest, gfns[i]! * PAGE + offset);
    assert.deepEqual(hypervisor.memory.u8.slice(start, start + length), bytes.slice(done, done + length));
    done += length;
  }
  // What lies beside the parts is as it was.
  assert.equal(hypervisor.memory.u8[guestAddress(guest, 20 * PAGE + 511)], 0);
  assert.equal(hypervisor.memory.u8[guestAddress(guest, 22 * PAGE + 1024)], 0);
  const back = new Uint8Array(parts.sizeBytes);
  assert.equal(host.copyFromParts(guest.id, parts, back), true);
  assert.deepEqual(back, bytes);
  for (const [ref] of ranges) {
    const { readers, writers } = activeGrant(guest, ref);
    assert.deepEqual([readers, writers], [0, 0]);
  }
  for (const gfn of gfns) {
    assert.equal(hypervisor.frames.entry(mfn(guestAddress(guest, gfn * PAGE) / PAGE)).count, 1);
  }
  assert.equal(host.copyFromParts(domid(77), parts, back), false);
});

test('a part that is not granted, or leaves its page, ends the copy behind those before it', () => {
  const machine = testMachine();
  const guest = testDomain(machine);
  const host = createBackendHost(machine.hypervisor);
  seedGrant(guest, 8, 20, 0);
  seedGrant(guest, 9, 21, 0);
  const bytes = new Uint8Array(3 * PAGE).fill(7);
  for (const [ref, offset, length] of [
    [500, 0, PAGE],
    [9, 1, PAGE],
    [9, 0, 0x1000_0000],
    [0xffff_ffff, 0, PAGE],
  ] as const) {
    const parts = new GrantParts(3);
    parts.add(gref(8), 0, PAGE);
    parts.add(gref(ref), offset, length);
    parts.add(gref(9), 0, PAGE);
    machine.hypervisor.memory.u8.fill(0, guestAddress(guest, 20 * PAGE), guestAddress(guest, 22 * PAGE));
    assert.equal(host.copyToParts(guest.id, parts, bytes), false);
    assert.equal(machine.hypervisor.memory.u8[guestAddress(guest, 20 * PAGE + 5)], 7);
    assert.equal(machine.hypervisor.memory.u8[guestAddress(guest, 21 * PAGE + 5)], 0);
    for (const used of [8, 9]) assert.equal(activeGrant(guest, used).writers, 0);
  }
});

test('a page that is mapped meanwhile stays mapped', () => {
  const machine = testMachine();
  const guest = testDomain(machine);
  const host = createBackendHost(machine.hypervisor);
  seedGrant(guest, 8, 20, 0);
  assert.ok(mapGrant(guest, 8, true) > 0);
  const parts = new GrantParts(1);
  parts.add(gref(8), 0, 16);
  assert.equal(host.copyFromParts(guest.id, parts, new Uint8Array(16)), true);
  const { readers, writers } = activeGrant(guest, 8);
  assert.deepEqual([readers, writers], [0, 1]);
  unmapGrant(guest, 8, true);
  assert.equal(activeGrant(guest, 8).writers, 0);
});

test('lent parts are the pages themselves, neighbours as one piece, and nothing is held afterwards', () => {
  const machine = testMachine();
  const guest = testDomain(machine);
  const host = createBackendHost(machine.hypervisor);
  for (const [i, gfn] of [20, 21, 10].entries()) seedGrant(guest, 8 + i, gfn, 0);
  const parts = new GrantParts(4);
  parts.add(gref(8), 512, PAGE - 512);
  parts.add(gref(9), 0, PAGE);
  parts.add(gref(10), 0, 1024);
  const fill = (pieces: readonly Uint8Array[], value: number) => {
    for (const piece of pieces) piece.fill(value);
    return pieces.map(piece => piece.length);
  };
  assert.deepEqual(
    host.lendParts(guest.id, parts, true, pieces => fill(pieces, 7)),
    [2 * PAGE - 512, 1024],
  );
  const { u8 } = machine.hypervisor.memory;
  assert.equal(u8[guestAddress(guest, 20 * PAGE + 511)], 0);
  for (const at of [20 * PAGE + 512, 22 * PAGE - 1, 10 * PAGE + 1023])
    assert.equal(u8[guestAddress(guest, at)], 7);
  assert.equal(u8[guestAddress(guest, 10 * PAGE + 1024)], 0);
  const held = () => [8, 9, 10].map(ref => activeGrant(guest, ref).readers + activeGrant(guest, ref).writers);
  assert.deepEqual(host.lendParts(guest.id, parts, false, held), [1, 1, 1]);
  assert.throws(() =>
    host.lendParts(guest.id, parts, true, () => {
      throw new Error('the disk is broken');
    }),
  );
  assert.deepEqual(held(), [0, 0, 0]);
  // A part that is not granted: nobody is called.
  parts.add(gref(500), 0, PAGE);
  assert.equal(
    host.lendParts(guest.id, parts, true, () => assert.fail('not all parts are granted')),
    undefined,
  );
  assert.deepEqual(held(), [0, 0, 0]);
  assert.equal(
    host.lendParts(domid(77), parts, true, () => 1),
    undefined,
  );
});
