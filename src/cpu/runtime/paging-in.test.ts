/**
 * Machines whose vCPUs several threads execute: nobody waits for the host to page something in while he holds the code cache's lock, since
 * the host may wait for that lock itself.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodePage, CodeRecord } from '../decode/record.ts';
import { P2m, PENDING_EXCLUSIVE } from '../vcpu/layout.ts';
import { createTestMachine, P, W } from './test-machine.ts';

const VA = 0x4000_0000n;
const [CODE, BEHIND, OTHER] = [0x3000, 0x4000, 0x5000];

/** A machine with two pages of code. Its decoder finds that each instruction reaches into the page behind. */
function pagedMachine() {
  const pagedIn: number[] = [];
  /** What happens elsewhere while a page is paged in. */
  let meanwhile = () => {};
  const machine: ReturnType<typeof createTestMachine> = createTestMachine({
    pageIn: (_cpu, gfn) => {
      assert.equal(machine.header.codeLock, 0, `page ${gfn} is wanted with the code cache locked`);
      pagedIn.push(gfn);
      machine.setP2m(gfn, machine.mfnOf(gfn * 4096), P2m.ram);
      meanwhile();
    },
    decode: (cpu, _hostPage, codePage) => {
      if (machine.runtime.codeBehind(cpu, codePage) === 0) return 0;
      const record = machine.header.codeNext;
      machine.header.codeNext += CodeRecord.size;
      CodePage.at(machine.memory.view, codePage).granules |= 1n;
      return record;
    },
  });
  machine.enterLongMode();
  machine.map(VA, CODE, W);
  machine.map(VA + 0x1000n, BEHIND, W);
  machine.header.isParallel = 1;
  const { vcpu, runtime, cpu, memory, p2m } = machine;
  const put = (address: number, type: number) =>
    machine.setP2m(address / 4096, type === P2m.shared ? 0 : machine.mfnOf(address), type);
  return {
    ...{ machine, pagedIn, put },
    typeOf: (address: number) => memory.u32[p2m / 4 + address / 4096]! >>> P2m.typeShift,
    whilePagingIn(task: () => void): void {
      meanwhile = task;
    },
    /** @param isAlone no other vCPU executes */
    lookup(isAlone: boolean): { isFound: boolean; vector: number } {
      vcpu.parallel = isAlone ? 0 : 1;
      vcpu.rip = VA;
      const isFound = runtime.lookup(cpu) !== 0;
      return { isFound, vector: isFound ? -1 : machine.fault().vector };
    },
  };
}
const FOUND = { isFound: true, vector: -1 };
const TO_BE_ALONE = { isFound: false, vector: PENDING_EXCLUSIVE };

/** Guest-physical addresses of the tables that a page is found by. */
const tablesOf = ({ entryAddress }: ReturnType<typeof createTestMachine>) =>
  [0, 1, 2, 3].map(level => entryAddress(VA, level) & ~0xfff);

test('code and page tables that were given up are there before the code cache is locked', () => {
  for (const isAlone of [false, true]) {
    const { machine, put, pagedIn, lookup } = pagedMachine();
    const given = [...tablesOf(machine), CODE, BEHIND];
    for (const address of given) put(address, P2m.shared);
    // Marking pages as code needs to be alone, too.
    if (!isAlone) assert.deepEqual(lookup(false), TO_BE_ALONE);
    assert.deepEqual(lookup(true), FOUND);
    assert.deepEqual(new Set(pagedIn), new Set(given.map(address => address / 4096)));
  }
});

test('accessed bits of a frozen page table are set alone', () => {
  const { machine, put, typeOf, lookup } = pagedMachine();
  assert.deepEqual(lookup(true), FOUND);
  const [table] = tablesOf(machine) as [number];
  for (const va of [VA, VA + 0x1000n]) machine.write64(machine.entryAddress(va), BigInt(CODE) | P | W);
  machine.runtime.tlbFlushAll(machine.cpu);
  put(table, P2m.frozen);
  assert.deepEqual(lookup(false), TO_BE_ALONE);
  assert.equal(typeOf(table), P2m.frozen);
  assert.deepEqual(lookup(true), FOUND);
  assert.equal(typeOf(table), P2m.ram);
});

test('a page that another vCPU maps at the last moment is looked at alone', () => {
  for (const va of [VA, VA + 0x1000n]) {
    const { machine, put, lookup, whilePagingIn } = pagedMachine();
    assert.deepEqual(lookup(true), FOUND);
    machine.runtime.tlbFlushAll(machine.cpu);
    put(CODE, P2m.shared);
    put(BEHIND, P2m.shared);
    put(OTHER, P2m.shared);
    // When the page behind is there as well, nothing is looked up again before the lock is taken.
    whilePagingIn(() => machine.write64(machine.entryAddress(va), BigInt(OTHER) | P | W));
    assert.deepEqual(lookup(false), TO_BE_ALONE);
    whilePagingIn(() => {});
    assert.deepEqual(lookup(true), FOUND);
  }
});
