import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TestGuest } from './guest-fixture.ts';
import { Access, accessOf, formatPermission, type Permissions, parsePermission } from './permissions.ts';
import { MessageType, packStrings } from './wire.ts';
import { createXenstored } from './xenstored.ts';

const subject = (domid: number, target?: number) => ({ domid, target });

test('what each kind of domain may do, for every letter', () => {
  const all = Access.read | Access.write | Access.owner;
  const expected = { n: 0, r: Access.read, w: Access.write, b: Access.read | Access.write } as const;
  for (const [others, otherAccess] of Object.entries(expected)) {
    for (const [own, ownAccess] of Object.entries(expected)) {
      const permissions = [`${others}3`, `${own}4`].map(parsePermission);
      assert.equal(accessOf(subject(0), permissions), all);
      assert.equal(accessOf(subject(3), permissions), all);
      assert.equal(accessOf(subject(4), permissions), ownAccess);
      assert.equal(accessOf(subject(5), permissions), otherAccess);
      assert.equal(accessOf(subject(6, 3), permissions), all);
      assert.equal(accessOf(subject(6, 4), permissions), ownAccess);
    }
  }
});

test('the first entry that fits counts', () => {
  const permissions: Permissions = ['n3', 'r4', 'b4'].map(parsePermission);
  assert.equal(accessOf(subject(4), permissions), Access.read);
});

test('permissions as text', () => {
  for (const text of ['n0', 'r1', 'w22', 'b65535'])
    assert.equal(formatPermission(parsePermission(text)), text);
  for (const text of ['', 'n', 'x1', 'n-1', 'n65536', 'n1 ', 'n0x1']) {
    assert.throws(() => parsePermission(text), { errno: 'EINVAL' });
  }
});

test('the matrix through the protocol: each operation for each letter', () => {
  const xenstored = createXenstored();
  const xs = xenstored.client();
  const guest = new TestGuest(xenstored, 7);
  // By letter: READ, DIRECTORY, GET_PERMS, WRITE, MKDIR of the node, SET_PERMS, WRITE of a child, RM.
  const matrix = {
    n: ['EACCES', 'EACCES', 'EACCES', 'EACCES', 'EACCES', 'EACCES', 'EACCES', 'EACCES'],
    r: ['value', '', 'n1\0r7\0', 'EACCES', 'EACCES', 'EACCES', 'EACCES', 'EACCES'],
    w: ['EACCES', 'EACCES', 'EACCES', 'OK\0', 'OK\0', 'EACCES', 'OK\0', 'OK\0'],
    b: ['value', '', 'n1\0b7\0', 'OK\0', 'OK\0', 'EACCES', 'OK\0', 'OK\0'],
  } as const;
  for (const [letter, expected] of Object.entries(matrix)) {
    const path = `/shared-${letter}`;
    xs.write(path, 'value');
    xs.setPermissions(path, ['n1', `${letter}7`]);
    const one = packStrings(path);
    const results = [
      guest.request(MessageType.READ, one),
      guest.request(MessageType.DIRECTORY, one),
      guest.request(MessageType.GET_PERMS, one),
      guest.write(path, 'next'),
      guest.request(MessageType.MKDIR, one),
      guest.request(MessageType.SET_PERMS, packStrings(path, 'n1', 'b7')),
      guest.write(`${path}/child`, ''),
    ];
    if (xs.exists(`${path}/child`)) {
      // Permissions are inherited; whoever creates is the owner.
      assert.deepEqual(xs.getPermissions(`${path}/child`), ['n7', `${letter}7`]);
    }
    results.push(guest.remove(path));
    assert.deepEqual(results, expected, letter);
  }
});

test('existence is not betrayed: without access to the parent all answers are EACCES', () => {
  const xenstored = createXenstored();
  const xs = xenstored.client();
  xs.write('/secret/there', '');
  xs.write('/open/secret', '');
  xs.setPermissions('/open', ['r0']);
  const guest = new TestGuest(xenstored, 7);
  assert.equal(guest.read('/secret/there'), 'EACCES');
  assert.equal(guest.read('/secret/missing'), 'EACCES');
  assert.equal(guest.read('/secret/missing/deeper'), 'EACCES');
  assert.equal(guest.read('/open/secret'), 'EACCES');
  assert.equal(guest.read('/open/missing'), 'ENOENT');
  assert.equal(guest.read('/open/missing/deeper'), 'ENOENT');
  assert.equal(guest.remove('/open/missing'), 'EACCES');
});

test('only domain 0 changes owners; the owner changes the rest', () => {
  const xenstored = createXenstored();
  const xs = xenstored.client();
  xs.mkdir('/mine');
  xs.setPermissions('/mine', ['n7']);
  const guest = new TestGuest(xenstored, 7);
  assert.equal(guest.request(MessageType.SET_PERMS, packStrings('/mine', 'r7', 'b8')), 'OK\0');
  assert.equal(guest.request(MessageType.SET_PERMS, packStrings('/mine', 'r8')), 'EPERM');
  assert.equal(guest.request(MessageType.SET_PERMS, packStrings('/mine', 'r0')), 'EPERM');
  assert.deepEqual(xs.getPermissions('/mine'), ['r7', 'b8']);
  assert.equal(xenstored.store.nodesOwned(7), 1);
  xs.setPermissions('/mine', ['n8']);
  assert.equal(xenstored.store.nodesOwned(7), 0);
  assert.equal(xenstored.store.nodesOwned(8), 1);
});
