import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TestGuest } from './guest-fixture.ts';
import type { Quotas } from './quota.ts';
import { MessageType, packStrings } from './wire.ts';
import { createXenstored } from './xenstored.ts';

const OK = 'OK\0';

function setUp(quotas: Partial<Quotas>) {
  const xenstored = createXenstored({ quotas });
  const xs = xenstored.client();
  xs.mkdir('/local/domain/5/data');
  xs.setPermissions('/local/domain/5', ['n0', 'r5']);
  xs.setPermissions('/local/domain/5/data', ['n5']);
  return { xenstored, xs, guest: new TestGuest(xenstored, 5) };
}

test('nodes', () => {
  const { guest, xs, xenstored } = setUp({ nodes: 5 });
  assert.equal(guest.write('data/1', ''), OK);
  assert.equal(guest.write('data/2/3/4/5', ''), 'ENOSPC');
  assert.deepEqual(guest.directory('data'), ['1'], 'nothing of a refused path is made');
  assert.equal(guest.write('data/2/3/4', ''), OK);
  assert.equal(guest.write('data/5', ''), 'ENOSPC');
  assert.equal(guest.request(MessageType.MKDIR, packStrings('data/5')), 'ENOSPC');
  assert.equal(guest.write('data/1', 'still writable'), OK);
  assert.equal(guest.remove('data/2'), OK);
  assert.equal(xenstored.store.nodesOwned(5), 2);
  assert.equal(guest.write('data/5', ''), OK);
  for (let i = 0; i < 20; i++) xs.write(`/domain-0-has-no-limit/${i}`, '');
});

test('nodes, in transactions', () => {
  const { guest } = setUp({ nodes: 5 });
  const [first, second] = [guest.begin(), guest.begin()];
  guest.write('data/seen', '1');
  guest.write('data/seen/a/b', '');
  // Started before, these do not see the four nodes that there are now.
  assert.equal(guest.end(first, 'F'), OK);
  assert.equal(guest.end(second), OK);
  const tx = guest.begin();
  assert.equal(guest.write('data/seen/a/b/c', '', tx), OK);
  assert.equal(guest.write('data/seen/a/b/d', '', tx), 'ENOSPC');
  assert.equal(guest.write('data/seen/a/b/c/e', '', tx), 'ENOSPC');
  assert.equal(guest.end(tx), OK);
});

test('two transactions that fit alone do not commit together beyond the limit', () => {
  const { guest, xs } = setUp({ nodes: 4 });
  for (const name of ['p', 'q']) {
    xs.mkdir(`/${name}`);
    xs.setPermissions(`/${name}`, ['b0']);
  }
  const [first, second] = [guest.begin(), guest.begin()];
  assert.equal(guest.write('/p/1/2', '', first), OK);
  assert.equal(guest.write('/q/1/2', '', second), OK);
  assert.equal(guest.end(first), OK);
  assert.equal(guest.end(second), 'ENOSPC');
  assert.deepEqual(xs.directory('/q'), []);
});

test('watches, transactions', () => {
  const { guest } = setUp({ watches: 2, transactions: 2 });
  assert.equal(guest.watch('data', '1'), OK);
  assert.equal(guest.watch('data', '2'), OK);
  assert.equal(guest.watch('data', '3'), 'ENOSPC');
  assert.equal(guest.request(MessageType.UNWATCH, packStrings('data', '1')), OK);
  assert.equal(guest.watch('data', '3'), OK);
  const tx = guest.begin();
  assert.notEqual(guest.begin(), tx);
  assert.equal(guest.request(MessageType.TRANSACTION_START, '\0'), 'ENOSPC');
  assert.equal(guest.end(tx, 'F'), OK);
  assert.ok(guest.begin() > 0);
});

test('nodes that one transaction touches', () => {
  const { guest } = setUp({ transactionNodes: 5 });
  const tx = guest.begin();
  guest.write('data/a', '', tx);
  assert.equal(guest.write('data/b', '', tx), OK);
  assert.equal(guest.write('data/c', '', tx), OK);
  assert.equal(guest.write('data/d', '', tx), OK);
  assert.equal(guest.write('data/e', '', tx), 'ENOSPC');
  assert.equal(guest.end(tx), 'ENOMEM');
  assert.deepEqual(guest.directory('data'), []);
});

test('size of a node, number of permissions, length of a path', () => {
  const { guest, xs } = setUp({});
  assert.equal(guest.write('data/v', 'x'.repeat(2048 - 24 - 8 - 1)), OK);
  assert.equal(guest.write('data/v', 'x'.repeat(2048 - 24 - 8)), 'ENOSPC');
  assert.equal(guest.write('data/w', 'x'.repeat(2048)), 'ENOSPC');
  assert.equal(guest.read('data/v').length, 2015);
  xs.write('/big', 'x'.repeat(4000));
  const tx = guest.begin();
  assert.equal(guest.write('data/v', 'x'.repeat(2048), tx), 'ENOSPC');
  assert.equal(guest.end(tx), 'ENOMEM', 'the transaction is not what was meant');

  const five = ['n5', 'r1', 'r2', 'r3', 'r4'];
  assert.equal(guest.request(MessageType.SET_PERMS, packStrings('data', ...five)), OK);
  assert.equal(guest.request(MessageType.SET_PERMS, packStrings('data', ...five, 'r6')), 'ENOSPC');

  const deep = (bytes: number) =>
    `data/${'a'.repeat(200)}/${'b/'.repeat(1000)}`.slice(0, bytes - 1).concat('c');
  assert.equal(guest.read(deep(2048)), 'ENOENT');
  assert.equal(guest.read(deep(2049)), 'EINVAL');
  // The same for domain 0, and for paths outside of a domain's directory.
  assert.equal(xs.read(`/${'a'.repeat(2047)}`), undefined);
  assert.throws(() => xs.read(`/${'a'.repeat(2048)}`), { errno: 'EINVAL' });
});

test('a directory of many names is as bounded as a value', () => {
  const { guest } = setUp({});
  const long = 'n'.repeat(100);
  let made = 0;
  while (guest.write(`data/${long}${made}`, '') === OK) made += 1;
  assert.ok(made > 15 && made < 21, String(made));
});
