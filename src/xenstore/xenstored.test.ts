import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TestGuest } from './guest-fixture.ts';
import { MessageType, packStrings } from './wire.ts';
import { createXenstored, type Xenstored } from './xenstored.ts';

const OK = 'OK\0';

/** A store with the usual tree for domain 5, and its guest. */
function withGuest(domid = 5): { xenstored: Xenstored; guest: TestGuest } {
  const xenstored = createXenstored();
  const xs = xenstored.client();
  xs.write(`/local/domain/${domid}/name`, 'guest');
  xs.setPermissions(`/local/domain/${domid}`, ['n0', `r${domid}`]);
  xs.setPermissions(`/local/domain/${domid}/name`, ['n0', `r${domid}`]);
  xs.mkdir(`/local/domain/${domid}/data`);
  xs.setPermissions(`/local/domain/${domid}/data`, [`n${domid}`]);
  return { xenstored, guest: new TestGuest(xenstored, domid) };
}

test('a guest reads, writes, lists and removes by absolute and relative path', () => {
  const { guest } = withGuest();
  assert.equal(guest.read('name'), 'guest');
  assert.equal(guest.read('/local/domain/5/name'), 'guest');
  assert.equal(guest.write('data/a/b', 'value'), OK);
  assert.equal(guest.read('data/a/b'), 'value');
  assert.equal(guest.read('data/a'), '');
  assert.equal(guest.request(MessageType.MKDIR, packStrings('data/c')), OK);
  assert.deepEqual(guest.directory('data'), ['a', 'c']);
  assert.equal(guest.request(MessageType.MKDIR, packStrings('data/a/b')), OK);
  assert.equal(guest.read('data/a/b'), 'value');
  assert.equal(guest.remove('data/a'), OK);
  assert.deepEqual(guest.directory('data'), ['c']);
  assert.equal(guest.read('data/a/b'), 'ENOENT');
  assert.equal(guest.request(MessageType.GET_PERMS, packStrings('data')), 'n5\0');
  assert.equal(guest.request(MessageType.GET_DOMAIN_PATH, packStrings('7')), '/local/domain/7\0');
});

test('values are bytes: a nul and all 256 values come back', () => {
  const { guest } = withGuest();
  const value = String.fromCharCode(...Array.from({ length: 256 }, (_, i) => i));
  assert.equal(guest.write('data/v', value), OK);
  assert.equal(guest.read('data/v'), value);
});

test('errors are named as xenstored names them', () => {
  const { guest } = withGuest();
  assert.equal(guest.read('data/none'), 'ENOENT');
  assert.equal(guest.read('/tool'), 'EACCES');
  assert.equal(guest.read('/none'), 'EACCES');
  assert.equal(guest.read('data//x'), 'EINVAL');
  assert.equal(guest.read('data/'), 'EINVAL');
  assert.equal(guest.read('data/x y'), 'EINVAL');
  assert.equal(guest.read('@releaseDomain'), 'EINVAL');
  assert.equal(guest.read(''), 'EINVAL');
  assert.equal(guest.request(MessageType.READ, 'data'), 'EINVAL');
  assert.equal(guest.request(MessageType.READ, 'data\0more\0'), 'EINVAL');
  assert.equal(guest.request(MessageType.READ, ''), 'EINVAL');
  assert.equal(guest.request(MessageType.WRITE, 'data/x'), 'EINVAL');
  assert.equal(guest.write(`data/${'x'.repeat(2100)}`, ''), 'EINVAL');
  assert.equal(guest.remove('data/none'), OK);
  assert.equal(guest.remove('data/none/none'), 'ENOENT');
  assert.equal(guest.request(MessageType.SET_PERMS, packStrings('data')), 'EINVAL');
  assert.equal(guest.request(MessageType.SET_PERMS, packStrings('data', 'x5')), 'EINVAL');
  assert.equal(guest.request(MessageType.SET_PERMS, packStrings('data', 'n5x')), 'EINVAL');
  assert.equal(guest.request(MessageType.SET_PERMS, packStrings('data', 'n6')), 'EPERM');
  assert.equal(guest.request(MessageType.SET_PERMS, packStrings('name', 'n5')), 'EACCES');
  assert.equal(guest.request(MessageType.TRANSACTION_END, packStrings('X'), 0), 'EINVAL');
  assert.equal(guest.request(MessageType.TRANSACTION_END, packStrings('T'), 0), 'ENOENT');
  assert.equal(guest.read('name', 77), 'ENOENT');
  assert.equal(guest.request(MessageType.UNWATCH, packStrings('data', 't')), 'ENOENT');
  for (const type of [20, 23, 99, MessageType.WATCH_EVENT, MessageType.ERROR, 0xffff_ffff]) {
    assert.equal(guest.request(type, packStrings('x')), 'ENOSYS');
  }
  for (const type of [MessageType.CONTROL, MessageType.INTRODUCE, MessageType.RELEASE, MessageType.RESUME]) {
    assert.equal(guest.request(type, packStrings('6', '1', '1')), 'EACCES');
  }
});

test('a directory too long for one reply is E2BIG and comes in parts', () => {
  const { xenstored } = withGuest();
  const names = Array.from({ length: 300 }, (_, i) => `child-number-${i}`);
  const xs = xenstored.client();
  for (const name of names) xs.mkdir(`/big/${name}`);
  xs.setPermissions('/big', ['r0']);
  const guest = new TestGuest(xenstored, 9);
  assert.equal(guest.request(MessageType.DIRECTORY, packStrings('/big')), 'E2BIG');
  let list = '';
  const generations = new Set<string>();
  for (let parts = 0; ; parts++) {
    assert.ok(parts < 5);
    const reply = guest.request(MessageType.DIRECTORY_PART, packStrings('/big', String(list.length)));
    const nul = reply.indexOf('\0');
    generations.add(reply.slice(0, nul));
    list += reply.slice(nul + 1);
    if (list.endsWith('\0\0')) break;
  }
  assert.deepEqual(list.slice(0, -2).split('\0'), names);
  assert.equal(generations.size, 1);
  const behind = guest.request(MessageType.DIRECTORY_PART, packStrings('/big', '1000000'));
  assert.equal(behind, `${[...generations][0]}\0\0`);
});

test('the ring page announces the server', () => {
  const { guest } = withGuest();
  assert.equal(guest.ring.connection, 0);
  assert.equal(guest.ring.server_features, 3);
  assert.equal(guest.ring.error, 0);
});

test('introduce and release: special watches, and a gone domain leaves nothing behind', () => {
  const { xenstored, guest } = withGuest();
  const xs = xenstored.client();
  const seen: string[] = [];
  xs.watch('@introduceDomain', path => seen.push(path));
  xs.watch('@releaseDomain', path => seen.push(path));
  xenstored.pump();
  assert.deepEqual(seen.splice(0), ['@introduceDomain', '@releaseDomain']);

  guest.write('data/mine', '1');
  assert.equal(guest.request(MessageType.SET_PERMS, packStrings('data/mine', 'n5', 'r6')), OK);
  xs.write('/shared', 'x');
  xs.setPermissions('/shared', ['n0', 'r5', 'r6']);
  new TestGuest(xenstored, 6);
  xenstored.domainShutdown(5);
  xenstored.domainShutdown(5);
  xenstored.pump();
  assert.deepEqual(seen.splice(0), ['@introduceDomain', '@releaseDomain']);

  xenstored.releaseDomain(5);
  xenstored.pump();
  assert.deepEqual(seen.splice(0), ['@releaseDomain']);
  assert.equal(xs.exists('/local/domain/5/data'), false);
  assert.equal(xs.exists('/local/domain/5/name'), true);
  assert.deepEqual(xs.getPermissions('/shared'), ['n0', 'r6']);
  assert.equal(xenstored.isIntroduced(5), false);
  assert.equal(xenstored.store.nodesOwned(5), 0);
});

test('SET_TARGET gives a domain the rights of its target until that is gone', () => {
  const { xenstored, guest } = withGuest();
  const model = new TestGuest(xenstored, 8);
  guest.write('data/x', 'secret');
  assert.equal(model.read('/local/domain/5/data/x'), 'EACCES');
  xenstored.setTarget(8, 5);
  assert.equal(model.read('/local/domain/5/data/x'), 'secret');
  xenstored.releaseDomain(5);
  xenstored.client().write('/local/domain/5/data/x', 'next');
  xenstored.client().setPermissions('/local/domain/5/data/x', ['n5']);
  assert.equal(model.read('/local/domain/5/data/x'), 'EACCES');
});

test('a privileged domain may use the domain messages', () => {
  const xenstored = createXenstored();
  const dom0 = new TestGuest(xenstored, 0);
  assert.equal(dom0.request(MessageType.IS_DOMAIN_INTRODUCED, packStrings('5')), 'F\0');
  new TestGuest(xenstored, 5);
  assert.equal(dom0.request(MessageType.IS_DOMAIN_INTRODUCED, packStrings('5')), 'T\0');
  assert.equal(dom0.request(MessageType.RESUME, packStrings('5')), OK);
  assert.equal(dom0.request(MessageType.RESUME, packStrings('6')), 'ENOENT');
  assert.equal(dom0.request(MessageType.SET_TARGET, packStrings('5', '6')), 'ENOENT');
  assert.equal(dom0.request(MessageType.RELEASE, packStrings('0')), 'EINVAL');
  assert.equal(dom0.request(MessageType.RELEASE, packStrings('70000')), 'EINVAL');
  assert.equal(dom0.request(MessageType.RELEASE, packStrings('5')), OK);
  assert.equal(xenstored.isIntroduced(5), false);
  assert.equal(dom0.request(MessageType.INTRODUCE, packStrings('5', '1', '1')), 'EINVAL');
  assert.equal(dom0.request(MessageType.CONTROL, packStrings('quota')), 'EINVAL');
});
