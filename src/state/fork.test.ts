/** Clones: what they are filled from stays as it was, whatever their parent does, and nothing is copied that nobody changes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PAGE_SIZE } from '../base/brand.ts';
import { P2m } from '../cpu/vcpu/layout.ts';
import { readPhysical, writePhysical } from '../hypervisor/guest-physical.ts';
import { p2mType, rawEntry, unmapGfn } from '../hypervisor/p2m.ts';
import { createSeededEntropy } from '../platform/sim/entropy.ts';
import { createSmallMachine, type SmallMachine } from './small-machine.fixture.ts';

const contents = ({ domain }: SmallMachine, gfn: number): Uint8Array =>
  readPhysical(domain, gfn * PAGE_SIZE, PAGE_SIZE) ?? new Uint8Array();

test('parent and clone go on from the same moment, each on its own', () => {
  const straight = createSmallMachine();
  straight.run(10);
  const parent = createSmallMachine();
  parent.run(4);
  const { clone, image } = parent.fork();
  parent.run(6);
  assert.deepEqual(parent.state(), straight.state());
  clone.run(3);
  const { clone: grandchild } = clone.fork();
  clone.run(3);
  grandchild.run(3);
  assert.deepEqual(clone.state(), straight.state());
  assert.deepEqual(grandchild.state(), straight.state());
  // The page that it counts in, and those whose addresses backends have.
  assert.ok(image.copiedBytes >= PAGE_SIZE && image.copiedBytes <= 8 * PAGE_SIZE, `${image.copiedBytes}`);
});

test('frames stay frozen until they are written to, in whatever way', () => {
  const parent = createSmallMachine();
  parent.run(1);
  const isFrozen = (gfn: number) => p2mType(rawEntry(parent.domain, gfn)) === P2m.frozen;
  const { clone, image } = parent.fork();
  assert.ok([1, 2, 10, 12].every(isFrozen));
  parent.run(1);
  assert.ok(isFrozen(1) && !isFrozen(2), 'code is only read, the counter is written');
  writePhysical(parent.domain, 12 * PAGE_SIZE, new Uint8Array(8));
  unmapGfn(parent.domain, 13);
  assert.deepEqual(contents(clone, 12), new Uint8Array(PAGE_SIZE).fill(12));
  assert.deepEqual(contents(clone, 13), new Uint8Array(PAGE_SIZE).fill(13));
  image.close();
  writePhysical(parent.domain, 14 * PAGE_SIZE, new Uint8Array(8));
  assert.deepEqual(image.copiedBytes, 0, 'nobody needs it any more');
});

test('random writes before and after random forks: every clone has what was there when it was made', () => {
  const entropy = createSeededEntropy(3);
  const four = new Uint8Array(4);
  const next = (below: number): number => {
    entropy.fill(four);
    return new DataView(four.buffer).getUint32(0, true) % below;
  };
  const machines = [createSmallMachine()];
  const expected = [new Map<number, number>()];
  const FIRST = 10;
  for (let gfn = FIRST; gfn < FIRST + 10; gfn++) expected[0]?.set(gfn, gfn);
  for (let step = 0; step < 400; step++) {
    const i = next(machines.length);
    const machine = machines[i] as SmallMachine;
    if (machines.length < 12 && next(12) === 0) {
      machines.push(machine.fork().clone);
      expected.push(new Map(expected[i]));
      continue;
    }
    const gfn = FIRST + next(10);
    const value = next(256);
    writePhysical(machine.domain, gfn * PAGE_SIZE, new Uint8Array(PAGE_SIZE).fill(value));
    expected[i]?.set(gfn, value);
  }
  assert.equal(machines.length, 12);
  for (const [i, machine] of machines.entries()) {
    for (const [gfn, value] of expected[i] as Map<number, number>)
      assert.deepEqual(contents(machine, gfn), new Uint8Array(PAGE_SIZE).fill(value), `machine ${i}, ${gfn}`);
  }
});
