/** What is made of what a guest says, and of what it does not say. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seeded } from '../../image/fuzz.fixture.ts';
import { agentFacts, type MemoryFacts, pageFacts, xenstoreFacts } from './facts.ts';
import { MemoryNeed } from './need.ts';

const MIB = 2 ** 20;
const KIB_A_MIB = 1024;
const SECOND = 1e9;
const balloon = (actual: number, target = actual) => ({
  actualBytes: actual * MIB,
  targetBytes: target * MIB,
});
const report = (
  total: number,
  available: number,
  strain: { freeKiB?: number; refaults?: number; kills?: number; waitedUs?: number } = {},
) =>
  agentFacts({
    totalKiB: total * KIB_A_MIB,
    availableKiB: available * KIB_A_MIB,
    ...{ freeKiB: 4096, refaults: 0, swapIns: 0, kills: 0, waitedUs: 0 },
    ...strain,
  }) as MemoryFacts;
const wishOf = (need: MemoryNeed, target: number, seconds: number): number | undefined => {
  const bytes = need.wish(target * MIB, seconds * SECOND);
  return bytes === undefined ? undefined : Math.round(bytes / MIB);
};

test('a guest should have what it needs, what its kernel keeps, and a reserve', () => {
  const need = new MemoryNeed();
  assert.equal(wishOf(need, 512, 0), undefined);
  need.observe(report(460, 400), balloon(512), SECOND);
  // 60 in use, 52 that the kernel has kept.
  assert.equal(need.neededBytes, 112 * MIB);
  assert.equal(wishOf(need, 512, 2), 112 + 48);
  need.observe(report(460, 60), balloon(512), 100 * SECOND);
  assert.equal(wishOf(need, 512, 100), Math.round((452 * 5) / 4 + (400 - 60) / 99));
  // While the balloon is on its way what is not counted stays as it was.
  need.observe(report(300, 240), balloon(400, 300), 1000 * SECOND);
  assert.equal(need.neededBytes, 112 * MIB);
  assert.equal(wishOf(need, 512, 1059), 160);
  assert.equal(wishOf(need, 512, 1061), undefined, 'too long ago');
});

test('a guest that takes memory quickly gets what it will have taken in a second', () => {
  const need = new MemoryNeed();
  need.observe(report(460, 400), balloon(512), SECOND);
  need.observe(report(460, 380), balloon(512), 1.5 * SECOND);
  assert.equal(wishOf(need, 512, 1.5), 132 + 48 + 40);
  need.observe(report(460, 380), balloon(512), 2 * SECOND);
  assert.equal(wishOf(need, 512, 2), 132 + 48, 'it takes no more');
});

test('a page cache that is too small is a need, and is met for longer each time', () => {
  const need = new MemoryNeed();
  let refaults = 0;
  let at = 1;
  const look = (more: number, actual = 200) => {
    refaults += more;
    at += 1;
    need.observe(report(150, 120, { refaults }), balloon(actual), at * SECOND);
    return wishOf(need, actual, at);
  };
  look(0);
  assert.equal(look(50), 80 + 48, 'a few pages are nothing');
  assert.equal(look(5000), 250);
  at += 1;
  refaults += 5000;
  need.observe(report(150, 120, { refaults, freeKiB: 40 << 10 }), balloon(250), at * SECOND);
  assert.equal(wishOf(need, 250, at), 250, 'there is room: it only reads in again what was dropped');
  assert.equal(look(5000, 250), Math.round(250 * 1.25));
  assert.equal(look(0, 312), Math.round(250 * 1.25), 'it keeps that');
  at += 28;
  assert.equal(look(0, 312), Math.round(312 - 150 + 30 + 48), 'for half a minute');
  assert.equal(look(5000, 200), 250);
  at += 40;
  assert.equal(look(0), 250, 'for a minute now');
  at += 30;
  assert.ok(look(0)! < 250);
});

test('a program that was ended, or one that waits, is a need as well', () => {
  for (const strain of [{ kills: 1 }, { waitedUs: 200_000 }]) {
    const need = new MemoryNeed();
    need.observe(report(150, 120), balloon(200), SECOND);
    need.observe(report(150, 120, strain), balloon(200), 2 * SECOND);
    assert.equal(wishOf(need, 200, 2), 250);
  }
  const need = new MemoryNeed();
  need.observe(report(150, 120, { kills: 3, refaults: 9000 }), balloon(200), SECOND);
  need.observe(report(150, 120), balloon(200), 2 * SECOND);
  assert.equal(wishOf(need, 200, 2), 80 + 48, 'after a reboot counters begin anew');
});

test('a guest without an agent can say so in xenstore, in either way', () => {
  const nodes = (written: Readonly<Record<string, string | undefined>>) =>
    xenstoreFacts(node => written[node]);
  const meminfo =
    'MemTotal:         471234 kB\nMemFree:  100 kB\nMemAvailable:     371234 kB\nBuffers: 5 kB\n';
  const expected = {
    usedBytes: 100_000 << 10,
    heldBytes: 100_000 << 10,
    totalBytes: 471_234 << 10,
    source: 'xenstore',
  };
  assert.deepEqual(nodes({ 'memory/meminfo': meminfo }), expected);
  assert.deepEqual(nodes({ 'data/meminfo_total': '471234', 'data/meminfo_free': '371234\n' }), expected);
  for (const wrong of [
    {},
    { 'data/meminfo_free': '5' },
    { 'memory/meminfo': '' },
    { 'memory/meminfo': 'MemTotal: -5 kB' },
  ])
    assert.equal(nodes(wrong), undefined);
  // It is the guest's: whatever it writes is read or left alone, and soon.
  const random = seeded(5);
  const pieces = ['MemTotal:', ' ', '9'.repeat(13), 'kB', '\n', 'MemAvailable:', '7', '\0', '-'];
  for (let i = 0; i < 2000; i++) {
    const text = Array.from({ length: random(40) }, () => pieces[random(pieces.length)]).join('');
    const facts = nodes({ 'memory/meminfo': text, 'data/meminfo_free': text, 'data/meminfo_total': '70' });
    assert.ok(!facts || (facts.usedBytes >= 0 && Number.isSafeInteger(facts.totalBytes)));
  }
});

test('a guest that says nothing gives what it has never used, and gets more when it uses most of what it has', () => {
  const pages = (own: number, idle: number, zero: number, untouched: number) => {
    const of = (amount: number) => amount * 256;
    return pageFacts({
      own: of(own),
      idle: of(idle),
      shared: 0,
      zero: of(zero),
      untouched: of(untouched),
      saved: 0,
    });
  };
  assert.equal(pages(100, 0, 0, 50), undefined, 'nobody has looked');
  const need = new MemoryNeed();
  need.observe(pages(112, 90, 16, 128)!, balloon(256), SECOND);
  assert.equal(wishOf(need, 256, 1), 128 + 48, 'what it has looked at once is not taken');
  assert.equal(wishOf(need, 100, 1), 100, 'nor does it get it back before it needs it');
  const filling = new MemoryNeed();
  filling.observe(pages(150, 140, 50, 56)!, balloon(256), SECOND);
  filling.observe(pages(151, 141, 50, 55)!, balloon(256), 9 * SECOND);
  assert.equal(wishOf(filling, 256, 9), 251, 'that will last: it may give five');
  filling.observe(pages(161, 150, 60, 35)!, balloon(256), 19 * SECOND);
  assert.equal(wishOf(filling, 256, 19), Math.round((221 * 5) / 4 + 2), 'that will not');
  const busy = new MemoryNeed();
  busy.observe(pages(250, 10, 0, 6)!, balloon(256), SECOND);
  assert.equal(wishOf(busy, 256, 1), 300);
});
