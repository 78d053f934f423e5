/** Clones: what they are filled from stays as it was, whatever their parent does, and nothing is copied that nobody changes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mfn, PAGE_SIZE } from '../base/brand.ts';
import { P2m } from '../cpu/vcpu/layout.ts';
import { readPhysical, writePhysical } from '../hypervisor/guest-physical.ts';
import { fillCode, p2mType, rawEntry, unmapGfn } from '../hypervisor/p2m.ts';
import { machineHeader } from '../machine/header.ts';
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

test('code that a clone only executes stays where it is, and takes no memory', () => {
  // The second instruction lies in two pages.
  const program = Uint8Array.of(0x40, 0x83, 0xc3, 3, 0x89, 0x05, 0, 0x20, 0, 0, 0xeb, 0xf4);
  const parentOf = () => {
    const machine = createSmallMachine();
    writePhysical(machine.domain, 0x1000, Uint8Array.of(0xe9, 0xf8, 0x3f, 0, 0));
    writePhysical(machine.domain, 0x4ffd, program);
    machine.run(4);
    return machine;
  };
  const straight = parentOf();
  straight.run(6);
  const parent = parentOf();
  const { clone } = parent.fork();
  const isUnread = ({ domain }: SmallMachine, gfn: number) => p2mType(rawEntry(domain, gfn)) === P2m.unread;
  const frameOf = ({ domain }: SmallMachine, gfn: number): Uint8Array => {
    const at = (rawEntry(domain, gfn) & P2m.mfnMask) * PAGE_SIZE;
    return domain.hypervisor.memory.u8.subarray(at, at + PAGE_SIZE);
  };
  clone.run(1);
  assert.ok(isUnread(clone, 4) && isUnread(clone, 5));
  assert.ok([4, 5].every(gfn => frameOf(clone, gfn).every(byte => byte === 0)));
  // The parent's code becomes another one; so may the clone's be, in a clone of it.
  writePhysical(parent.domain, 0x4ffd, new Uint8Array(program.length));
  const { clone: grandchild } = clone.fork();
  clone.run(2);
  const { clone: changed } = clone.fork();
  clone.run(3);
  assert.deepEqual(clone.state(), straight.state());
  assert.ok(isUnread(clone, 4), 'it has been executed and no more');
  grandchild.run(5);
  assert.deepEqual(grandchild.state(), straight.state());
  assert.ok(isUnread(grandchild, 5));
  // Whoever looks finds it, and whoever writes has it executed.
  assert.deepEqual(contents(clone, 4).subarray(-3), program.subarray(0, 3));
  assert.ok(!isUnread(clone, 4) && isUnread(clone, 5));
  clone.run(1);
  straight.run(1);
  assert.deepEqual(clone.state(), straight.state());
  changed.run(1);
  assert.ok(isUnread(changed, 5));
  writePhysical(changed.domain, 0x5000, Uint8Array.of(5));
  assert.deepEqual(contents(changed, 5).subarray(1, 9), program.subarray(4));
  const before = changed.state();
  changed.run(1);
  const after = changed.state();
  // Nearly: a slice may end between the two.
  assert.ok(after.ebx - before.ebx > 4n * (after.eax - before.eax), 'it adds five');
  const { hypervisor } = grandchild.domain;
  fillCode(hypervisor);
  assert.ok(!isUnread(grandchild, 4) && frameOf(grandchild, 4).at(-3) === program[0]);
  // Where it was decoded before is known from then on as well, but not of the next one that has the frame.
  const frame = mfn(rawEntry(grandchild.domain, 4) & P2m.mfnMask);
  assert.notEqual(hypervisor.frames.entry(frame).next, 0);
  unmapGfn(grandchild.domain, 4);
  assert.equal(hypervisor.frames.allocate(grandchild.domain.id), frame);
  assert.equal(hypervisor.frames.entry(frame).next, 0);
});

test('a clone begins with a small code cache, and executes the same with one that is much too small', () => {
  // add ebx, imm32 over twenty pages, some across their ends, and back to the first.
  const [first, size] = [0x14000, 20 * PAGE_SIZE];
  const program = new Uint8Array(size);
  const view = new DataView(program.buffer);
  let at = 0;
  for (; at + 12 < size; at += 6) {
    program.set([0x81, 0xc3], at);
    view.setUint32(at + 2, at * 0x9e3779b1, true);
  }
  program[at] = 0xe9;
  view.setInt32(at + 1, -(at + 5), true);
  const parentOf = () => {
    const machine = createSmallMachine();
    writePhysical(machine.domain, first, program);
    writePhysical(machine.domain, 0x1000, Uint8Array.of(0xe9, 0xfb, 0x2f, 0x01, 0));
    machine.run(3);
    return machine;
  };
  const header = ({ domain }: SmallMachine) => machineHeader(domain.hypervisor.memory);
  const [parent, straight] = [parentOf(), parentOf()];
  const { clone } = parent.fork();
  const { codeBase, codeLimit, codeEnd } = header(clone);
  assert.equal(header(parent).codeLimit, header(parent).codeEnd);
  assert.ok(codeLimit - codeBase === 768 << 10 && codeEnd - codeBase > 64 << 20);
  header(clone).codeLimit = codeBase + (48 << 10);
  straight.run(40);
  clone.run(40);
  assert.deepEqual(clone.state(), straight.state());
  const { codeGeneration, codeLimit: grown } = header(clone);
  assert.ok(codeGeneration >= 32, `it was thrown away ${codeGeneration} times`);
  assert.ok(grown > codeLimit && grown < codeEnd, 'it has grown to what is needed');
  const { clone: grandchild } = clone.fork();
  straight.run(10);
  grandchild.run(10);
  assert.deepEqual(grandchild.state(), straight.state());
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
