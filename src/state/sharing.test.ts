/** Guests whose pages are shared run, are saved and are cloned as others are. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { PAGE_SIZE } from '../base/brand.ts';
import { P2m } from '../cpu/vcpu/layout.ts';
import { readPhysical, writePhysical } from '../hypervisor/guest-physical.ts';
import { p2mType, rawEntry, unmapGfn } from '../hypervisor/p2m.ts';
import { PageScan, type ScannedDomain } from '../hypervisor/sharing/page-scan.ts';
import {
  createSmallMachine,
  restoreSmallMachine,
  type SmallMachine,
  writeSmallMachine,
} from './small-machine.fixture.ts';

const folder = mkdtempSync(join(tmpdir(), 'domus-sharing-'));
after(() => rmSync(folder, { recursive: true }));

const CODE = 1;
const COUNTER = 2;
const isShared = ({ domain }: SmallMachine, gfn: number) => p2mType(rawEntry(domain, gfn)) === P2m.shared;
const contents = ({ domain }: SmallMachine, gfn: number) =>
  readPhysical(domain, gfn * PAGE_SIZE, PAGE_SIZE) as Uint8Array;

function twins() {
  const scan = new PageScan();
  const machines = [createSmallMachine(scan.store), createSmallMachine(scan.store)] as const;
  const members = machines.map(({ domain }) => scan.join(domain));
  const pass = (during = () => {}) => {
    for (const member of members) member.mark();
    during();
    for (const member of members) assert.ok(member.compare(() => false));
    scan.sweep();
  };
  return { scan, machines, members: members as [ScannedDomain, ScannedDomain], pass };
}

test('code and data are shared while nobody uses them; guests go on as if they were not', () => {
  const straight = createSmallMachine();
  straight.run(9);
  const { machines, pass } = twins();
  const [a, b] = machines;
  a.run(3);
  b.run(3);
  pass();
  for (const machine of machines) assert.ok([CODE, COUNTER, 10].every(gfn => isShared(machine, gfn)));
  a.run(3);
  assert.ok(!isShared(a, CODE) && !isShared(a, COUNTER) && isShared(a, 10));
  assert.ok(isShared(b, CODE) && isShared(b, COUNTER), 'the other one has not run');
  // Shared again while it runs: what it uses between mark and comparison is not.
  pass(() => a.run(3));
  assert.ok(!isShared(a, CODE));
  b.run(6);
  assert.deepEqual(a.state(), straight.state());
  assert.deepEqual(b.state(), straight.state());
});

test('a guest that changes the code of a shared page runs the new code, the other one the old', () => {
  const { machines, pass } = twins();
  const [a, b] = machines;
  a.run(2);
  b.run(2);
  pass();
  // add ebx, 4 instead of 3
  assert.ok(writePhysical(a.domain, 0x1003, Uint8Array.of(4)));
  const before = [a.state(), b.state()] as const;
  a.run(4);
  b.run(4);
  const rounds = (machine: SmallMachine, i: 0 | 1) => machine.state().eax - before[i].eax;
  const sums = (machine: SmallMachine, i: 0 | 1) => machine.state().ebx - before[i].ebx;
  assert.ok(rounds(a, 0) > 100n && rounds(b, 1) > 100n);
  assert.ok(sums(a, 0) - 4n * rounds(a, 0) <= 4n && sums(a, 0) > 3n * rounds(a, 0) + 10n);
  assert.ok(sums(b, 1) <= 3n * rounds(b, 1) + 3n);
});

test('a saved guest has the pages that it shared', () => {
  const { machines, pass, members, scan } = twins();
  const [a] = machines;
  a.run(3);
  contents(a, 40);
  pass();
  const { shared, zero } = members[0].facts;
  assert.ok(shared >= 10 && zero >= 1, `${shared} shared, ${zero} zero`);
  writeSmallMachine(a, join(folder, 'saved'));
  assert.ok(isShared(a, 12), 'saving looks at nothing');
  for (const member of members) scan.leave(member);
  const again = restoreSmallMachine(join(folder, 'saved'));
  assert.deepEqual(again.state(), a.state());
  for (const gfn of [10, 19]) assert.deepEqual(contents(again, gfn), new Uint8Array(PAGE_SIZE).fill(gfn));
});

test('a clone has the pages that its parent shared then, when parent and twin have changed them, and are gone', () => {
  const { machines, pass, members, scan } = twins();
  const [a, b] = machines;
  pass();
  const { clone, image } = a.fork();
  const shared = scan.join(clone.domain);
  assert.ok(isShared(a, 12) && isShared(b, 12));
  for (const machine of machines) writePhysical(machine.domain, 12 * PAGE_SIZE, new Uint8Array(PAGE_SIZE));
  for (const member of members) scan.leave(member);
  scan.sweep();
  assert.deepEqual(contents(clone, 12), new Uint8Array(PAGE_SIZE).fill(12));
  // The clone's own pages are shared with those of its own clone.
  shared.mark();
  shared.compare(() => false);
  const { clone: second, image: secondImage } = clone.fork();
  assert.deepEqual(contents(second, 12), new Uint8Array(PAGE_SIZE).fill(12));
  secondImage.close();
  image.close();
  scan.leave(shared);
  scan.sweep();
  assert.equal(scan.store.count, 0, 'images let go of what they had');
});

test('while clones need it, what their parent had then is left where it is', () => {
  const { machines, pass } = twins();
  const [a, b] = machines;
  const { clone, image } = a.fork();
  pass();
  assert.equal(p2mType(rawEntry(a.domain, 12)), P2m.frozen);
  assert.deepEqual(contents(clone, 12), contents(a, 13).fill(12));
  image.close();
  pass();
  assert.ok(isShared(a, 13) || isShared(a, 14));
  assert.ok(isShared(b, 14));
});

test('a clone has what was there, also when its parent gives that up before it is listed', () => {
  const { scan, machines, members, pass } = twins();
  const [a, b] = machines;
  a.run(3);
  b.run(3);
  pass();
  writePhysical(a.domain, 15 * PAGE_SIZE, new Uint8Array(8));
  assert.ok(isShared(a, 12) && !isShared(a, 15));
  const { clone, image } = a.fork(() => {
    // Its places in the store would be somebody else's by the end.
    for (const { domain } of machines)
      for (let gfn = 10; gfn < 20; gfn++)
        writePhysical(domain, gfn * PAGE_SIZE, new Uint8Array(PAGE_SIZE).fill(99));
    unmapGfn(a.domain, 14);
    for (let i = 0; i < 3; i++) pass();
  });
  for (let gfn = 10; gfn < 20; gfn++) {
    const expected = new Uint8Array(PAGE_SIZE).fill(gfn);
    if (gfn === 15) expected.fill(0, 0, 8);
    assert.deepEqual(contents(clone, gfn), expected, `page ${gfn}`);
  }
  assert.equal(contents(b, 12)[0], 99);
  image.close();
  for (const member of members) scan.leave(member);
  scan.sweep();
  assert.equal(scan.store.count, 0, 'the image lets go of what it had');
});
