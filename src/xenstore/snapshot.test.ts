import assert from 'node:assert/strict';
import { test } from 'node:test';
import { maddr } from '../base/brand.ts';
import { DomusError } from '../base/errors.ts';
import { TestGuest } from './guest-fixture.ts';
import { decodeSnapshot } from './snapshot.ts';
import { lookup } from './tree.ts';
import { encodeMessage, MessageType, packStrings } from './wire.ts';
import { createXenstored, type Xenstored } from './xenstored.ts';

function setUp(): { xenstored: Xenstored; guest: TestGuest } {
  const xenstored = createXenstored();
  const xs = xenstored.client();
  xs.mkdir('/local/domain/5/data');
  xs.setPermissions('/local/domain/5', ['n0', 'r5']);
  xs.setPermissions('/local/domain/5/data', ['n5', 'r7']);
  const guest = new TestGuest(xenstored, 5);
  guest.write('data/x', 'value');
  return { xenstored, guest };
}

/** The same guest and memory under a new xenstore. */
function moved(xenstored: Xenstored, guest: TestGuest): Xenstored {
  const next = createXenstored();
  next.restore(xenstored.save(), domid =>
    domid === guest.domid
      ? {
          memory: guest.memory,
          ringAddress: maddr(guest.ringAddress),
          notify: () => {
            guest.notified += 1;
          },
        }
      : undefined,
  );
  guest.connection = next.connection(guest.domid)!;
  return next;
}

test('a guest goes on over a restored xenstore: nodes, permissions, watches, quotas', () => {
  const { xenstored, guest } = setUp();
  new TestGuest(xenstored, 7);
  xenstored.setTarget(5, 7);
  guest.watch('data', 'rel');
  guest.takeEvents();
  const next = moved(xenstored, guest);
  const xs = next.client();
  assert.equal(guest.read('data/x'), 'value');
  assert.deepEqual(xs.getPermissions('/local/domain/5/data'), ['n5', 'r7']);
  assert.equal(next.store.nodesOwned(5), xenstored.store.nodesOwned(5));
  assert.equal(next.store.nodesOwned(0), xenstored.store.nodesOwned(0));
  assert.equal(next.isIntroduced(7), false, 'no ring was given for it');
  assert.equal(next.connection(5)!.session.target, 7);
  xs.write('/local/domain/5/data/y', '1');
  assert.deepEqual(guest.takeEvents(), ['data/y rel']);
  const before = next.store.generation;
  xs.write('/local/domain/5/data/y', '2');
  assert.ok(next.store.generation > before && before > xenstored.store.generation);
});

test('what is restored from the same bytes begins with one tree, and then each has its own', () => {
  const { xenstored, guest } = setUp();
  guest.watch('data', 'rel');
  const saved = xenstored.save();
  const [one, other] = [createXenstored(), createXenstored()] as const;
  const guests = [one, other].map(next => {
    const connected = new TestGuest(createXenstored(), guest.domid);
    const { memory, ringAddress } = connected;
    next.restore(saved, () => ({ memory, ringAddress: maddr(ringAddress), notify: () => {} }));
    connected.connection = next.connection(guest.domid)!;
    return connected;
  });
  assert.equal(one.store.top, other.store.top);
  const [first, second] = guests as [TestGuest, TestGuest];
  first.write('data/x', 'changed');
  one.client().write('/local/domain/5/data/new', '');
  assert.equal(first.read('data/x'), 'changed');
  assert.equal(second.read('data/x'), 'value');
  assert.deepEqual(other.client().directory('/local/domain/5/data'), ['x']);
  assert.equal(one.store.nodesOwned(5), other.store.nodesOwned(5) + 1);
  one.connection(5)!.session.watches = [];
  assert.equal(other.connection(5)!.session.watches.length, 1);
  assert.deepEqual(decodeSnapshot(saved).top, other.store.top, 'as it was saved');
});

test('nodes of a restored tree share what they have in common', () => {
  const { xenstored, guest } = setUp();
  guest.write('data/deep/er', '');
  const { top } = decodeSnapshot(xenstored.save());
  const at = (path: string) => lookup(top, path)!;
  const [x, er] = [at('/local/domain/5/data/x'), at('/local/domain/5/data/deep/er')];
  assert.equal(er.permissions, at('/local/domain/5/data').permissions);
  assert.notEqual(er.permissions, at('/local/domain/5').permissions);
  assert.equal(x.children, er.children);
  // Each changes for itself.
  const next = moved(xenstored, guest);
  guest.write('data/x/below', 'y');
  next.client().setPermissions('/local/domain/5/data/x', ['n5']);
  assert.equal(guest.read('data/x/below'), 'y');
  assert.deepEqual(next.client().directory('/local/domain/5/data/deep/er'), []);
  assert.deepEqual(next.client().getPermissions('/local/domain/5/data'), ['n5', 'r7']);
});

test('what was half-way arrives: part of a request, a reply and events that found no room', () => {
  const { xenstored, guest } = setUp();
  xenstored.client().write('/local/domain/5/data/big', 'z'.repeat(3000));
  guest.watch('data/x', 't');
  guest.takeEvents();
  const request = encodeMessage(MessageType.READ, 77, 0, packStrings('data/big'));
  guest.put(request.subarray(0, 21));
  guest.connection.onEvent();
  const first = moved(xenstored, guest);
  guest.put(request.subarray(21));
  guest.connection.onEvent();
  const second = moved(first, guest);
  second.client().write('/local/domain/5/data/x', 'late');
  second.client().write('/local/domain/5/data/x', 'later');
  const third = moved(second, guest);
  third.client().write('/local/domain/5/data/x', 'latest');
  const [reply, ...more] = guest.replies();
  assert.equal(reply?.requestId, 77);
  assert.equal(reply.payload.length, 3000);
  assert.equal(more.length, 0);
  assert.deepEqual(guest.takeEvents(), ['data/x t'], 'equal events are still kept once');
});

test('an open transaction goes on and its commit says EAGAIN', () => {
  const { xenstored, guest } = setUp();
  const tx = guest.begin();
  guest.write('data/x', 'inside', tx);
  moved(xenstored, guest);
  assert.equal(guest.read('data/x', tx), 'value');
  assert.equal(guest.write('data/x', 'inside', tx), 'OK\0');
  assert.equal(guest.end(tx), 'EAGAIN');
  const again = guest.begin();
  guest.write('data/x', 'inside', again);
  assert.equal(guest.end(again), 'OK\0');
  assert.equal(guest.read('data/x'), 'inside');
});

test('the same store is saved as the same bytes', () => {
  const { xenstored, guest } = setUp();
  guest.watch('data', 't');
  guest.takeEvents();
  const bytes = xenstored.save();
  assert.deepEqual(moved(xenstored, guest).save(), bytes);
});

test('a damaged record is refused, whatever the damage', () => {
  const { xenstored, guest } = setUp();
  guest.watch('data', 't');
  const good = xenstored.save();
  const refused = (bytes: Uint8Array) =>
    assert.throws(
      () => decodeSnapshot(bytes),
      (error: unknown) => error instanceof DomusError && error.code === 'E_XENSTORE_STATE',
    );
  for (let length = 0; length < good.length; length += 1 + (length >> 4)) refused(good.subarray(0, length));
  refused(new Uint8Array([...good, 0]));
  let seed = 4711;
  for (let round = 0; round < 2000; round++) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    const bad = good.slice();
    bad[(seed >>> 4) % bad.length] = seed >>> 24;
    try {
      decodeSnapshot(bad);
    } catch (error) {
      assert.ok(error instanceof DomusError, String(error));
    }
  }
});
