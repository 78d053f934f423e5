/** Pages are shared when they are the same and not in use, and whoever looks or writes has his own, whichever way he comes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gfn as asGfn, PAGE_SIZE } from '../../base/brand.ts';
import { P2m } from '../../cpu/vcpu/layout.ts';
import { createSeededEntropy } from '../../platform/sim/entropy.ts';
import { destroyDomain } from '../domain.ts';
import { mapGrant, seedGrant, unmapGrant } from '../grant/table.ts';
import { copyFromGuest, copyToGuest } from '../guest-memory.ts';
import { readPhysical, writePhysical } from '../guest-physical.ts';
import type { Domain } from '../hypervisor.ts';
import { p2mType, populateGfn, rawEntry, unmapGfn } from '../p2m.ts';
import { testDomain, testMachine } from '../testing.ts';
import { PageScan, type ScannedDomain } from './page-scan.ts';
import { PageStore } from './page-store.ts';

const never = () => false;

/** Domains in machines of their own, each with pages 1 to 64. */
function scene(count: number, scan = new PageScan()) {
  const members = Array.from({ length: count }, () => scan.join(testDomain(testMachine({}, 32, scan.store))));
  const domains = members.map(({ domain }) => domain) as [Domain, Domain];
  /** A whole pass over all, nobody of whom looks at anything meanwhile. */
  const pass = () => {
    for (const member of members) member.mark();
    for (const member of members) assert.ok(member.compare(never));
    scan.sweep();
  };
  return { scan, members: members as [ScannedDomain, ScannedDomain], domains, pass };
}

const page = (value: number) => new Uint8Array(PAGE_SIZE).fill(value);
const put = (domain: Domain, gfn: number, value: number) =>
  assert.ok(writePhysical(domain, gfn * PAGE_SIZE, page(value)));
const get = (domain: Domain, gfn: number) => readPhysical(domain, gfn * PAGE_SIZE, PAGE_SIZE);
const typeOf = (domain: Domain, gfn: number) => p2mType(rawEntry(domain, gfn));
const isShared = (domain: Domain, gfn: number) => typeOf(domain, gfn) === P2m.shared;

test('the same contents in two machines are kept once, zeros not at all, and frames are free again', () => {
  const { scan, domains, members, pass } = scene(2);
  const free = domains.map(({ hypervisor }) => hypervisor.frames.nrFree);
  const [a, b] = domains;
  for (const gfn of [10, 11]) put(a, gfn, 5);
  put(b, 20, 5);
  put(a, 12, 6);
  pass();
  assert.ok(isShared(a, 10) && isShared(a, 11) && isShared(b, 20));
  assert.equal(scan.store.count, 1);
  assert.equal(typeOf(a, 12), P2m.offered, 'there is no other one like it');
  const { own, shared, zero, saved } = members[0].facts;
  assert.deepEqual({ own, shared, zero, saved }, { own: 1, shared: 2, zero: 61, saved: 62 });
  // They are promised again: a page can always come back.
  assert.deepEqual(
    domains.map(({ hypervisor }) => hypervisor.frames.nrFree),
    free,
  );
  assert.deepEqual(get(b, 20), page(5));
  assert.deepEqual(get(a, 11), page(5));
  assert.equal(scan.store.usesOf(1), 1);
  assert.equal(
    get(a, 30)?.every(byte => byte === 0),
    true,
  );
});

test('a page that came later is shared with what the store has, or with one that was offered', () => {
  const { scan, domains, pass } = scene(3);
  const [a, b, c] = domains as [Domain, Domain] & { 2: Domain };
  put(a, 10, 5);
  pass();
  assert.equal(typeOf(a, 10), P2m.offered);
  put(b, 10, 5);
  pass();
  assert.ok(isShared(a, 10) && isShared(b, 10));
  put(c, 33, 5);
  pass();
  assert.ok(isShared(c, 33));
  assert.equal(scan.store.usesOf(1), 3);
});

test('a write breaks sharing, whichever way it comes, and nobody else sees it', () => {
  const ways: Record<string, (domain: Domain) => void> = {
    'the toolstack': domain => put(domain, 10, 9),
    'a hypercall': domain =>
      assert.ok(copyToGuest(domain.vcpus[0] as never, 10n * 4096n, new Uint8Array(PAGE_SIZE).fill(9))),
    'a backend with a grant': domain => {
      seedGrant(domain, 8, asGfn(10), 0);
      const address = mapGrant(domain, 8, true);
      domain.hypervisor.memory.u8.fill(9, address, address + PAGE_SIZE);
      unmapGrant(domain, 8, true);
    },
    'the guest, which gives it away and takes another': domain => {
      unmapGfn(domain, 10);
      assert.ok(populateGfn(domain, 10));
      put(domain, 10, 9);
    },
  };
  for (const [way, write] of Object.entries(ways)) {
    const { domains, pass, scan } = scene(2);
    const [a, b] = domains;
    put(a, 10, 5);
    put(b, 10, 5);
    pass();
    assert.ok(isShared(a, 10), way);
    write(a);
    assert.deepEqual(get(a, 10), page(9), way);
    assert.deepEqual(get(b, 10), page(5), way);
    assert.equal(scan.store.usesOf(1), 0, way);
  }
});

test('a page that is looked at between mark and comparison is in use, and stays', () => {
  const { domains, members, pass } = scene(2);
  const [a, b] = domains;
  put(a, 10, 5);
  put(b, 10, 5);
  for (const member of members) member.mark();
  assert.ok(copyFromGuest(b.vcpus[0] as never, 10n * 4096n, 8));
  for (const member of members) member.compare(never);
  assert.equal(typeOf(b, 10), P2m.ram);
  assert.equal(typeOf(a, 10), P2m.offered);
  pass();
  assert.ok(isShared(a, 10) && isShared(b, 10));
});

test('frames whose addresses somebody keeps are never taken', () => {
  const { domains, pass } = scene(2);
  const [a, b] = domains;
  for (const domain of domains) put(domain, 10, 5);
  seedGrant(a, 8, asGfn(10), 0);
  const address = mapGrant(a, 8, true);
  pass();
  assert.equal(typeOf(a, 10), P2m.ram);
  a.hypervisor.memory.u8[address] = 1;
  unmapGrant(a, 8, true);
  pass();
  assert.equal(typeOf(b, 10), P2m.offered);
  assert.equal(get(a, 10)?.[0], 1);
});

test('a store without room leaves pages where they are', () => {
  const { domains, pass } = scene(2, new PageScan(new PageStore(1)));
  const [a, b] = domains;
  for (const domain of domains) for (const gfn of [10, 11]) put(domain, gfn, gfn);
  pass();
  const shared = [10, 11].filter(gfn => isShared(a, gfn) && isShared(b, gfn));
  assert.equal(shared.length, 1);
  for (const domain of domains) for (const gfn of [10, 11]) assert.deepEqual(get(domain, gfn), page(gfn));
});

test('a domain that goes lets go of what it shared; its machine can be gone before the scan knows', () => {
  const { scan, members, domains, pass } = scene(3);
  const free = domains[0].hypervisor.frames.nrFree;
  for (const domain of domains) put(domain, 10, 5);
  pass();
  assert.equal(scan.store.usesOf(1), 3);
  destroyDomain(domains[0]);
  assert.equal(scan.store.usesOf(1), 2);
  assert.ok(domains[0].hypervisor.frames.nrFree > free);
  scan.leave(members[1]);
  scan.leave(members[1]);
  assert.equal(scan.store.usesOf(1), 1);
  assert.deepEqual(get((domains as Domain[])[2] as Domain, 10), page(5));
  scan.sweep();
  assert.equal(scan.store.count, 0);
});

test('random use of random pages in five machines: all have what they have written, and the store what is needed', () => {
  const entropy = createSeededEntropy(11);
  const four = new Uint8Array(4);
  const next = (below: number): number => {
    entropy.fill(four);
    return new DataView(four.buffer).getUint32(0, true) % below;
  };
  const { scan, members, domains } = scene(5);
  const all: readonly Domain[] = domains;
  const expected = all.map(() => new Map(Array.from({ length: 64 }, (_, i) => [i + 1, 0])));
  const grants = all.map(() => new Set<number>());
  for (let step = 0; step < 6000; step++) {
    const i = next(all.length);
    const [domain, values] = [all[i] as Domain, expected[i] as Map<number, number>];
    const held = grants[i] as Set<number>;
    const gfn = 1 + next(64);
    switch (next(9)) {
      case 0:
      case 1: {
        if (!values.has(gfn)) break;
        const value = next(4);
        put(domain, gfn, value);
        values.set(gfn, value);
        break;
      }
      case 2:
        if (values.has(gfn)) assert.deepEqual(get(domain, gfn), page(values.get(gfn) as number));
        break;
      case 3:
        if (values.delete(gfn)) unmapGfn(domain, gfn);
        else if (populateGfn(domain, gfn)) values.set(gfn, 0);
        break;
      case 4: {
        // A backend holds a frame for a while, and writes to it at its end.
        if (held.has(gfn)) {
          held.delete(gfn);
          unmapGrant(domain, 8 + gfn, true);
          break;
        }
        if (!values.has(gfn)) break;
        seedGrant(domain, 8 + gfn, asGfn(gfn), 0);
        const address = mapGrant(domain, 8 + gfn, true);
        assert.ok(address > 0);
        domain.hypervisor.memory.u8.fill(3, address, address + PAGE_SIZE);
        values.set(gfn, 3);
        held.add(gfn);
        break;
      }
      case 5:
        members[i]?.mark();
        break;
      case 6: {
        let portions = 1;
        members[i]?.compare(() => portions-- === 0);
        break;
      }
      case 7:
        members[i]?.compare(never);
        break;
      default:
        scan.sweep();
    }
  }
  let uses = 0;
  for (const [i, domain] of all.entries()) {
    uses += (members[i] as ScannedDomain).facts.shared;
    for (const [gfn, value] of expected[i] as Map<number, number>)
      assert.deepEqual(get(domain, gfn), page(value), `domain ${i}, page ${gfn}`);
  }
  assert.ok(uses > 0, 'nothing was shared in the end');
  for (const member of members) scan.leave(member);
  scan.sweep();
  assert.equal(scan.store.count, 0);
});
