/** Pages that a clone only reads go back, and it goes on as if they had stayed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PAGE_SIZE } from '../base/brand.ts';
import { KICK, P2m } from '../cpu/vcpu/layout.ts';
import { BorrowedPages, keepBorrowed } from '../hypervisor/borrowed-pages.ts';
import { writePhysical } from '../hypervisor/guest-physical.ts';
import { p2mType, rawEntry, takeReference } from '../hypervisor/p2m.ts';
import { createSmallMachine, type SmallMachine } from './small-machine.fixture.ts';

const [FIRST, COUNT] = [10, 30];
const LIMIT = 8;
/** mov edi, FIRST; then add ebx, [edi]; add edi, 4096; inc eax; mov [0x2000], eax; cmp edi, the end; jne; jmp to the first */
const SUM = Uint8Array.of(
  ...[0xbf, 0x00, FIRST << 4, 0, 0],
  ...[0x03, 0x1f, 0x81, 0xc7, 0, 0x10, 0, 0, 0x40, 0x89, 0x05, 0, 0x20, 0, 0],
  ...[0x81, 0xff, 0x00, ((FIRST + COUNT) << 4) & 0xff, (FIRST + COUNT) >> 4, 0, 0x75, 0xe9, 0xeb, 0xe2],
);
const wordAt = (gfn: number): number => gfn * 0x01010101;

function parentOf(): SmallMachine {
  const machine = createSmallMachine();
  for (let gfn = FIRST; gfn < FIRST + COUNT; gfn++)
    writePhysical(machine.domain, gfn * PAGE_SIZE, new Uint8Array(PAGE_SIZE).fill(gfn));
  writePhysical(machine.domain, 0x1000, SUM);
  const [vcpu] = machine.domain.vcpus;
  if (!vcpu) throw new Error('no vCPU');
  vcpu.block.gpr.set(0, 0n);
  vcpu.block.gpr.set(3, 0n);
  machine.run(1);
  return machine;
}
/** What the program has added up after so many rounds. */
function sumOf(rounds: number): number {
  let sum = 0;
  for (let i = 0; i < rounds; i++) sum = (sum + wordAt(FIRST + (i % COUNT))) | 0;
  return sum >>> 0;
}
function assertRight(machine: SmallMachine): void {
  const { eax, ebx } = machine.state();
  const rounds = Number(eax);
  // It may have stopped between the addition and counting it.
  assert.ok([sumOf(rounds), sumOf(rounds + 1)].includes(Number(ebx)), `${rounds} rounds, ${ebx}`);
}
const typeOf = ({ domain }: SmallMachine, gfn: number): number => p2mType(rawEntry(domain, gfn));
const framesOf = (machine: SmallMachine): number =>
  Array.from({ length: COUNT }, (_, i) => typeOf(machine, FIRST + i)).filter(type => type === P2m.ram).length;

test('a clone that reads many pages has few at a time, and what it writes stays', () => {
  const parent = parentOf();
  const { clone } = parent.fork();
  const { hypervisor } = clone.domain;
  hypervisor.borrowed = new BorrowedPages(LIMIT);
  writePhysical(clone.domain, 12 * PAGE_SIZE, new Uint8Array(4).fill(12));
  writePhysical(clone.domain, 15 * PAGE_SIZE + 8, Uint8Array.of(1));
  takeReference(hypervisor, rawEntry(clone.domain, 15) & P2m.mfnMask);
  const before = hypervisor.frames.nrTouched;
  const { retired } = clone.state();
  for (let i = 0; i < 25; i++) {
    clone.run(1);
    assertRight(clone);
    assert.ok(framesOf(clone) <= LIMIT + 4, `${framesOf(clone)} pages`);
  }
  assert.ok(clone.state().retired - retired > 1000n);
  // The page that it counts in, and two of code at most, besides those.
  assert.ok(hypervisor.frames.nrTouched - before <= LIMIT + 4);
  assert.equal(typeOf(clone, 15), P2m.ram);
  const { clone: grandchild } = clone.fork();
  parent.run(10);
  grandchild.run(10);
  for (const machine of [parent, clone, grandchild]) assertRight(machine);
});

test('a clone that is busy is allowed more, and one that has work has what it looks at', () => {
  const { clone } = parentOf().fork();
  const { hypervisor } = clone.domain;
  hypervisor.borrowed = new BorrowedPages(LIMIT);
  for (let i = 0; i < 3000 && framesOf(clone) < COUNT; i++) clone.run(1);
  assert.equal(framesOf(clone), COUNT);
  assertRight(clone);
  const { clone: other } = parentOf().fork();
  other.domain.hypervisor.borrowed = new BorrowedPages(LIMIT);
  other.run(10);
  for (const { block } of other.domain.vcpus) block.kick = KICK;
  keepBorrowed(other.domain.hypervisor);
  other.run(10);
  assert.equal(framesOf(other), COUNT);
  assertRight(other);
});

test('a page that its parent changes while it is compared is compared with what it was', () => {
  const parent = parentOf();
  const { clone } = parent.fork();
  const { hypervisor } = clone.domain;
  hypervisor.borrowed = new BorrowedPages(LIMIT);
  const { pages } = hypervisor;
  assert.ok(pages);
  const gfns = new Map(
    Array.from({ length: COUNT }, (_, i) => [rawEntry(parent.domain, FIRST + i) & P2m.mfnMask, FIRST + i]),
  );
  const changed = new Set<number>();
  hypervisor.pages = {
    memory: pages.memory,
    read: (page, into) => pages.read(page, into),
    originOf(page) {
      const origin = pages.originOf?.(page);
      const gfn = gfns.get(origin?.frame ?? 0);
      if (gfn !== undefined) {
        writePhysical(parent.domain, gfn * PAGE_SIZE, new Uint8Array(PAGE_SIZE).fill(1));
        changed.add(gfn);
      }
      return origin;
    },
  };
  for (let i = 0; i < 25; i++) {
    clone.run(1);
    assertRight(clone);
    assert.ok(framesOf(clone) <= LIMIT + 4, `${framesOf(clone)} pages`);
  }
  assert.ok(changed.size > 2 * LIMIT, `${changed.size} pages`);
});
