import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as gnttab from '../../abi/xen/grant-table.ts';
import { mfn, PAGE_SIZE } from '../../base/brand.ts';
import { MACHINE_HEADER, MachineHeader } from '../../machine/header.ts';
import { createLock } from '../../machine/lock.ts';
import { createSeededEntropy } from '../../platform/sim/entropy.ts';
import type { Domain, Hypervisor, Parallel } from '../hypervisor.ts';
import { guestAddress, testDomain, testMachine } from '../testing.ts';
import { acquireParts, PART_WORDS, releaseParts } from './many.ts';
import { acquireGrant, activeGrant, growGrantTable, releaseGrant, seedGrant } from './table.ts';

const NR_REFS = 1200;

/** As where vCPUs run on threads of their own: nothing here waits for one. */
function useSeveralThreads(hypervisor: Hypervisor): void {
  const word = (MACHINE_HEADER + MachineHeader.offsets.hypervisorLock) >>> 2;
  const parallel: Parallel = {
    pcpu: 0,
    lock: createLock(hypervisor.memory.i32, word),
    isExclusive: false,
    kick() {},
    wakePcpu() {},
    callControl() {},
    alone: task => task(),
  };
  Object.assign(hypervisor, { parallel });
}

/** A domain whose grants are of all kinds: the same in every machine of one seed. */
function world(seed: number) {
  const machine = testMachine();
  const domain = testDomain(machine);
  growGrantTable(domain, 3);
  const random = createSeededEntropy(seed);
  const bytes = new Uint8Array(4);
  const below = (count: number): number => {
    random.fill(bytes);
    return new DataView(bytes.buffer).getUint32(0) % count;
  };
  const { i32 } = machine.hypervisor.memory;
  const entryOf = (ref: number): number => {
    const { hypervisor, state } = domain;
    const [first, second, third] = [0, 1, 2].map(i => hypervisor.memory.u32[(state.grants >>> 2) + i]);
    return ([first, second, third][Math.floor(ref / 512)] ?? 0) + (ref % 512) * 8;
  };
  for (let ref = 8; ref < NR_REFS; ref++) {
    // Behind the last page there is nothing.
    seedGrant(domain, ref, 1 + below(below(20) === 0 ? 200 : 60), below(20) === 0 ? 5 : 0);
    const kinds = [gnttab.GTF_permit_access | gnttab.GTF_readonly, gnttab.GTF_invalid];
    const kind = kinds[below(20)];
    const entry = entryOf(ref) >>> 2;
    if (kind !== undefined) i32[entry] = (i32[entry]! & ~0xffff) | kind;
  }
  return { domain, below, entryOf };
}

function state({ domain, entryOf }: ReturnType<typeof world>): unknown[] {
  const { hypervisor } = domain;
  const grants = Array.from({ length: NR_REFS }, (_, ref) => {
    const { readers, writers } = activeGrant(domain, ref);
    return [readers, writers, hypervisor.memory.u32[entryOf(ref) >>> 2]];
  });
  const counts = Array.from(
    { length: 60 },
    (_, i) => hypervisor.frames.entry(mfn(guestAddress(domain, (i + 1) * PAGE_SIZE) / PAGE_SIZE)).count,
  );
  return [grants, counts];
}

function oneByOne(domain: Domain, words: Uint32Array, count: number, isWrite: boolean): number {
  for (let i = 0; i < count; i++) {
    const [ref, offset, length] = words.subarray(i * PART_WORDS) as unknown as [number, number, number];
    if (offset + length > PAGE_SIZE) return i;
    const frame = acquireGrant(domain, ref, 0, isWrite);
    if (frame < 0) return i;
    words[i * PART_WORDS + 3] = frame * PAGE_SIZE + offset;
  }
  return count;
}

for (const threads of ['one thread', 'several threads']) {
  test(`many grants at once are taken and given back as one by one, with ${threads}`, () =>
    compareWithOneByOne(threads !== 'one thread'));
}

function compareWithOneByOne(isParallel: boolean): void {
  const [many, single] = [world(3), world(3)];
  if (isParallel) useSeveralThreads(many.domain.hypervisor);
  const { below } = world(4);
  const held: { a: Uint32Array; b: Uint32Array; count: number; isWrite: boolean }[] = [];
  let nrWhole = 0;
  for (let step = 0; step < 400; step++) {
    if (held.length > 6 || (held.length > 0 && below(2) === 0)) {
      const [each] = held.splice(below(held.length), 1);
      if (!each) continue;
      releaseParts(many.domain, each.a, each.count, each.isWrite);
      for (let i = 0; i < each.count; i++) {
        const [ref, , , address] = each.b.subarray(i * PART_WORDS) as unknown as number[];
        releaseGrant(single.domain, ref!, each.isWrite, Math.floor(address! / PAGE_SIZE));
      }
    } else {
      const nr = 1 + below(40);
      const a = new Uint32Array(nr * PART_WORDS);
      for (let i = 0; i < nr; i++) {
        // A few beyond the table, and some twice.
        const offset = 512 * below(8);
        const length = below(60) === 0 ? PAGE_SIZE + 1 : PAGE_SIZE - offset;
        a.set([below(100) === 0 ? 1536 + below(9) : 8 + below(NR_REFS - 8), offset, length], i * PART_WORDS);
      }
      const b = a.slice();
      const isWrite = below(2) === 0;
      const count = acquireParts(many.domain, a, nr, 0, isWrite);
      assert.equal(count, oneByOne(single.domain, b, nr, isWrite), `step ${step}`);
      assert.deepEqual(a, b);
      held.push({ a, b, count, isWrite });
      if (count === nr) nrWhole += 1;
    }
    assert.deepEqual(state(many), state(single), `step ${step}`);
  }
  assert.ok(nrWhole > 20, `${nrWhole} were granted as a whole`);
}
