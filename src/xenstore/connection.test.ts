import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PAGE_SIZE } from '../base/brand.ts';
import type { Fault } from './faults.ts';
import { TestGuest } from './guest-fixture.ts';
import { RING_BYTES, XenstoreRing } from './ring.ts';
import { encodeMessage, MessageType, packStrings, stringToBytes } from './wire.ts';
import { createXenstored, type XenstoredOptions } from './xenstored.ts';

function setUp(options: XenstoredOptions = {}) {
  const xenstored = createXenstored(options);
  const xs = xenstored.client();
  xs.mkdir('/local/domain/5/data');
  xs.setPermissions('/local/domain/5', ['n0', 'r5']);
  xs.setPermissions('/local/domain/5/data', ['n5']);
  return { xenstored, xs, guest: new TestGuest(xenstored, 5) };
}

/** Numbers below 2^32 that depend on the seed alone. */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  };
}

test('the layout of the ring page', () => {
  assert.deepEqual(XenstoreRing.offsets, {
    req: 0,
    rsp: 1024,
    req_cons: 2048,
    req_prod: 2052,
    rsp_cons: 2056,
    rsp_prod: 2060,
    server_features: 2064,
    connection: 2068,
    error: 2072,
  });
});

test('messages come in any pieces, across the end of the ring and of the index range', () => {
  const { guest } = setUp();
  for (const index of ['req_cons', 'req_prod', 'rsp_cons', 'rsp_prod'] as const) {
    guest.ring[index] = 0xffff_fe00 + 7;
  }
  const random = randomNumbers(1);
  for (let round = 0; round < 60; round++) {
    const value = 'v'.repeat(random() % 1500);
    let message = encodeMessage(MessageType.WRITE, round, 0, stringToBytes(`data/x\0${value}`));
    while (message.length > 0) {
      const piece = 1 + (random() % 200);
      message = message.subarray(guest.put(message.subarray(0, piece)));
      guest.connection.onEvent();
    }
    const [reply] = guest.replies();
    assert.equal(reply?.requestId, round);
    assert.equal(reply.type, MessageType.WRITE);
    assert.equal(guest.read('data/x'), value);
  }
});

test('a reply larger than the ring comes in parts as the domain reads', () => {
  const { guest, xs } = setUp();
  xs.write('/local/domain/5/data/big', 'y'.repeat(4096));
  guest.send(MessageType.READ, packStrings('data/big'));
  assert.equal(guest.ring.rsp_prod, RING_BYTES);
  let turns = 0;
  let replies = 0;
  for (; replies === 0; turns++) {
    assert.ok(turns < 100);
    guest.take(100);
    guest.connection.onEvent();
    if (turns > 40) replies = guest.replies().length;
  }
  assert.equal(replies, 1);
});

test('the domain is notified for what it can use, not for nothing', () => {
  const { guest, xs } = setUp();
  guest.read('data');
  const before = guest.notified;
  guest.connection.onEvent();
  guest.connection.onEvent();
  assert.equal(guest.notified, before);
  xs.write('/local/domain/5/data/x', '1');
  assert.equal(guest.notified, before);
  guest.watch('data', 't');
  guest.takeEvents();
  const watching = guest.notified;
  xs.write('/local/domain/5/data/x', '2');
  assert.equal(guest.notified, watching + 1);
});

test('a domain that does not read its replies is not served further', () => {
  const { guest, xenstored } = setUp({ quotas: { outstandingReplies: 3 } });
  const request = encodeMessage(MessageType.READ, 1, 0, packStrings('data'));
  let accepted = 0;
  for (let i = 0; i < 500; i++) {
    if (guest.put(request) < request.length) break;
    accepted += 1;
    guest.connection.onEvent();
    xenstored.pump();
  }
  // One ring full of replies, three that wait, one ring full of requests.
  assert.ok(accepted < RING_BYTES / 16 + 3 + RING_BYTES / request.length + 1, String(accepted));
  const { output } = guest.connection.saveBuffers();
  assert.ok(output.length <= 4);
});

test('events for a domain that does not read are bounded; equal ones are kept once', () => {
  const { guest, xs } = setUp({ quotas: { outstandingEventBytes: 4000 } });
  guest.watch('data', 't');
  guest.takeEvents();
  for (let i = 0; i < 1000; i++) xs.write('/local/domain/5/data/same', String(i));
  const waiting = () => guest.connection.saveBuffers().output.length;
  assert.ok(waiting() < 30 && guest.connection.lostEvents === 0, String(waiting()));
  for (let i = 0; i < 1000; i++) xs.write(`/local/domain/5/data/n${i % 300}`, String(i));
  assert.ok(guest.connection.lostEvents > 0);
  assert.ok(waiting() < 4000 / 16);
  const events = guest.takeEvents();
  assert.ok(events.length > 50);
  assert.equal(waiting(), 0);
  xs.write('/local/domain/5/data/same', 'again');
  assert.deepEqual(guest.takeEvents(), ['data/same t']);
});

test('many requests at once are served in turns that leave room for others', () => {
  const { guest, xenstored } = setUp();
  const request = encodeMessage(MessageType.RM, 1, 0, new Uint8Array(0));
  while (guest.put(request) === request.length);
  for (let i = 0; i < 10; i++) {
    guest.connection.onEvent();
    xenstored.pump();
    guest.take();
  }
  assert.equal(guest.replies().length > 0, true);
});

test('an impossible request index ends the conversation; reconnecting revives it', () => {
  const { guest, xenstored } = setUp();
  guest.watch('data', 't');
  guest.begin();
  guest.ring.req_prod = guest.ring.req_cons + RING_BYTES + 1;
  guest.connection.onEvent();
  assert.equal(guest.ring.error, 2);
  assert.equal(guest.connection.error, 2);
  assert.equal(guest.connection.session.watches.length, 0);
  assert.equal(guest.connection.session.transactions.size, 0);
  guest.ring.req_prod = guest.ring.req_cons;
  guest.put(encodeMessage(MessageType.READ, 1, 0, packStrings('data')));
  guest.connection.onEvent();
  xenstored.client().write('/local/domain/5/data/x', '1');
  assert.equal(guest.ring.rsp_prod, guest.ring.rsp_cons);

  guest.ring.connection = 1;
  const { notified } = guest;
  guest.connection.onEvent();
  assert.equal(guest.ring.connection, 0);
  assert.equal(guest.ring.error, 0);
  assert.ok(guest.notified > notified);
  assert.equal(guest.read('data/x'), '1');
});

test('an impossible reply index, and a message too long, end it too', () => {
  const first = setUp().guest;
  first.ring.rsp_cons = first.ring.rsp_prod + 1;
  first.send(MessageType.READ, packStrings('data'));
  assert.equal(first.ring.error, 2);
  const second = setUp().guest;
  const message = encodeMessage(MessageType.READ, 1, 0, new Uint8Array(0));
  new DataView(message.buffer).setUint32(12, 4097, true);
  second.put(message);
  second.connection.onEvent();
  assert.equal(second.ring.error, 3);
});

test('a domain introduced again starts with an empty ring and without watches', () => {
  const { guest, xenstored, xs } = setUp();
  guest.watch('data', 't');
  guest.put(Uint8Array.of(1, 2, 3));
  guest.connection.onEvent();
  const again = new TestGuest(xenstored, 5);
  assert.equal(again.connection, guest.connection);
  assert.equal(again.read('data'), '');
  xs.write('/local/domain/5/data', '1');
  assert.deepEqual(again.takeEvents(), []);
});

test('a released domain is not served any more', () => {
  const { guest, xenstored } = setUp();
  xenstored.releaseDomain(5);
  guest.put(encodeMessage(MessageType.READ, 1, 0, packStrings('data')));
  guest.connection.onEvent();
  assert.equal(guest.ring.rsp_prod, 0);
});

test('faults: requests fail, are delayed or lost; replies and events are lost or end the conversation', () => {
  const plan: Fault[] = [];
  const wanted = { transfer: 'request' };
  const { guest, xenstored, xs } = setUp({
    faults: { onTransfer: transfer => (transfer === wanted.transfer ? (plan.shift() ?? 'none') : 'none') },
  });
  plan.push('fail');
  assert.equal(guest.read('data'), 'EIO');
  plan.push('delay');
  guest.send(MessageType.READ, packStrings('data'));
  assert.equal(guest.replies().length, 1, 'a later event finds the delayed request');
  plan.push('lose');
  guest.send(MessageType.READ, packStrings('data'));
  assert.equal(guest.replies().length, 0);
  assert.equal(guest.read('data'), '');

  wanted.transfer = 'event';
  guest.watch('data', 't');
  guest.takeEvents();
  plan.push('lose', 'delay');
  xs.write('/local/domain/5/data/a', '1');
  xs.write('/local/domain/5/data/b', '1');
  xenstored.pump();
  assert.deepEqual(guest.takeEvents(), ['data/b t']);
  wanted.transfer = 'reply';
  plan.push('fail');
  guest.send(MessageType.READ, packStrings('data'));
  assert.equal(guest.ring.error, 1);
});

test('random rings: nothing is thrown, nothing loops, nothing outside the page changes, others are served', () => {
  for (let seed = 1; seed <= 40; seed++) {
    const random = randomNumbers(seed);
    const { guest, xenstored, xs } = setUp();
    const other = new TestGuest(xenstored, 6);
    const { memory, ringAddress, ring } = guest;
    memory.u8.fill(0xa5, 0, ringAddress);
    memory.u8.fill(0xa5, ringAddress + XenstoreRing.size);
    guest.watch('data', 't');
    for (let round = 0; round < 100; round++) {
      const page = memory.u8.subarray(ringAddress, ringAddress + XenstoreRing.size);
      switch (random() % 6) {
        case 0:
          for (let i = 0; i < 64; i++) page[random() % page.length] = random();
          break;
        case 1:
          ring.req_prod = random();
          break;
        case 2:
          ring.rsp_cons = random();
          break;
        case 3:
          // A likely message with a random type, length and payload.
          for (let i = 0; i < 1024; i++) page[i] = random() % 3 === 0 ? 0 : random();
          page.set(encodeMessage(random() % 24, round, random() % 3, new Uint8Array(0)), ring.req_cons % 900);
          page[(ring.req_cons % 900) + 12] = random() % 200;
          ring.req_prod = ring.req_cons + (random() % 1024);
          break;
        case 4:
          ring.connection = random() % 3;
          break;
        default:
          ring.rsp_cons = ring.rsp_prod;
      }
      guest.connection.onEvent();
      xs.write('/local/domain/5/data/x', String(round));
      xenstored.pump();
    }
    assert.ok(memory.u8.subarray(0, ringAddress).every(byte => byte === 0xa5));
    assert.ok(memory.u8.subarray(ringAddress + XenstoreRing.size).every(byte => byte === 0xa5));
    assert.ok(memory.sizeBytes > 2 * PAGE_SIZE);
    assert.equal(other.read('/local/domain/5/data/x'), 'EACCES');
    assert.equal(xs.read('/local/domain/5/data/x'), '99');
  }
});

test('random requests with legal framing: every one gets exactly one reply', () => {
  const random = randomNumbers(7);
  const { guest, xs } = setUp();
  const words = [
    'data',
    '/',
    'data/a',
    'data/a/b',
    '@releaseDomain',
    'T',
    'F',
    'n5',
    'b5',
    '0',
    '7',
    '..',
    '',
    '//',
    'x'.repeat(3000),
  ];
  for (let round = 0; round < 3000; round++) {
    const count = random() % 4;
    let payload = '';
    for (let i = 0; i < count; i++)
      payload += words[random() % words.length]! + (random() % 8 === 0 ? '' : '\0');
    const type = random() % 24;
    const txId = random() % 4 === 0 ? random() % 12 : 0;
    guest.request(type, payload.slice(0, 4096), txId);
  }
  assert.equal(guest.ring.error, 0);
  assert.equal(xs.exists('/local/domain/5'), true);
});
