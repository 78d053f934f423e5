import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TestGuest } from './guest-fixture.ts';
import { MessageType, packStrings } from './wire.ts';
import { createXenstored } from './xenstored.ts';

function setUp() {
  const xenstored = createXenstored();
  const xs = xenstored.client();
  xs.mkdir('/local/domain/5/data');
  xs.setPermissions('/local/domain/5', ['n0', 'r5']);
  xs.setPermissions('/local/domain/5/data', ['b5']);
  xs.mkdir('/pub');
  xs.setPermissions('/pub', ['b0']);
  return { xenstored, xs, guest: new TestGuest(xenstored, 5), other: new TestGuest(xenstored, 6) };
}

test('a watch fires once when set, behind its reply, also where nothing exists', () => {
  const { guest } = setUp();
  assert.equal(guest.watch('/no/such/node', 'tok'), 'OK\0');
  assert.deepEqual(guest.takeEvents(), ['/no/such/node tok']);
  assert.equal(guest.watch('data', 'rel'), 'OK\0');
  assert.deepEqual(guest.takeEvents(), ['data rel']);
  assert.equal(guest.watch('@releaseDomain', 'special'), 'OK\0');
  assert.deepEqual(guest.takeEvents(), ['@releaseDomain special']);
  assert.equal(guest.watch('data', 'rel'), 'EEXIST');
  assert.equal(guest.watch('/local/domain/5/data', 'rel'), 'EEXIST');
  assert.equal(guest.watch('da ta', 'rel'), 'EINVAL');
  assert.equal(guest.request(MessageType.WATCH, 'data\0unended'), 'EINVAL');
  assert.deepEqual(guest.takeEvents(), []);
});

test('events come for changes at and below, in order, with the path as the watch was set', () => {
  const { guest, xs } = setUp();
  guest.watch('data', 'rel');
  guest.watch('/local/domain/5/data/a', 'abs');
  guest.takeEvents();
  xs.write('/local/domain/5/data/a', '1');
  xs.write('/local/domain/5/data/a/b', '1');
  xs.write('/local/domain/5/data', '1');
  xs.setPermissions('/local/domain/5/data/a', ['n5', 'b0']);
  xs.mkdir('/local/domain/5/data/a');
  xs.write('/local/domain/5/database', '');
  assert.deepEqual(guest.takeEvents(), [
    'data/a rel',
    '/local/domain/5/data/a abs',
    'data/a/b rel',
    '/local/domain/5/data/a/b abs',
    'data rel',
    // The change of permissions; MKDIR of a node that exists changes nothing.
    'data/a rel',
    '/local/domain/5/data/a abs',
  ]);
  xs.setPermissions('/local/domain/5/data/a', ['n5']);
  assert.deepEqual(guest.takeEvents(), ['data/a rel', '/local/domain/5/data/a abs']);
  assert.equal(guest.request(MessageType.UNWATCH, packStrings('/local/domain/5/data', 'rel')), 'OK\0');
  xs.write('/local/domain/5/data/x', '1');
  assert.deepEqual(guest.takeEvents(), []);
});

test('two watches with one token see an event once', () => {
  const { guest, xs } = setUp();
  guest.watch('data', 't');
  guest.watch('data/a', 't');
  assert.equal(guest.watch('/local/domain/5', 't'), 'OK\0');
  guest.takeEvents();
  xs.write('/local/domain/5/data/a', '1');
  assert.deepEqual(guest.takeEvents(), ['data/a t', '/local/domain/5/data/a t']);
});

test('removal of a tree: watches above see its root, watches inside see their own node', () => {
  const { guest, xs } = setUp();
  xs.write('/local/domain/5/data/a/b/c', '1');
  xs.write('/local/domain/5/data/a/d', '1');
  for (const path of ['data', 'data/a', 'data/a/b', 'data/a/b/c', 'data/a/d', 'data/a/none']) {
    guest.watch(path, path.replaceAll('/', '.'));
  }
  guest.takeEvents();
  xs.remove('/local/domain/5/data/a');
  assert.deepEqual(guest.takeEvents(), [
    'data/a/b/c data.a.b.c',
    'data/a/b data.a.b',
    'data/a/d data.a.d',
    'data/a data',
    'data/a data.a',
  ]);
});

test('events of a transaction come at its commit, one for each path, and never without it', () => {
  const { guest, xs } = setUp();
  guest.watch('data', 't');
  guest.takeEvents();
  let tx = xs.begin();
  assert.equal(tx.read('/local/domain/5/data/b'), undefined);
  tx.write('/local/domain/5/data/a', '1');
  tx.write('/local/domain/5/data/b', '1');
  tx.write('/local/domain/5/data/b', '2');
  assert.deepEqual(guest.takeEvents(), []);
  assert.equal(tx.commit(), true);
  assert.deepEqual(guest.takeEvents(), ['data/b t', 'data/a t']);
  tx = xs.begin();
  tx.write('/local/domain/5/data/c', '1');
  tx.abort();
  tx = xs.begin();
  tx.write('/local/domain/5/data/c', '1');
  xs.write('/local/domain/5/data/c', '2');
  assert.equal(tx.commit(), false);
  assert.deepEqual(guest.takeEvents(), ['data/c t']);
  tx = xs.begin();
  tx.remove('/local/domain/5/data/a');
  tx.write('/local/domain/5/data/a', '3');
  assert.equal(tx.commit(), true);
  assert.deepEqual(guest.takeEvents(), ['data/a t']);
});

test('who may read neither the node nor its parent hears nothing', () => {
  const { guest, other, xs } = setUp();
  other.watch('/local/domain/5', 'o');
  other.watch('/pub', 'o');
  guest.watch('data', 'g');
  other.takeEvents();
  guest.takeEvents();
  guest.write('data/x', '1');
  xs.write('/local/domain/5/name', 'n');
  assert.deepEqual(guest.takeEvents(), ['data/x g']);
  // Inherited from data, `b5` lets everyone read.
  assert.deepEqual(other.takeEvents(), ['/local/domain/5/data/x o']);
  xs.setPermissions('/local/domain/5/data', ['n5']);
  assert.deepEqual(
    other.takeEvents(),
    ['/local/domain/5/data o'],
    'the change that takes the right away is told',
  );
  guest.write('data/x', '1');
  assert.deepEqual(other.takeEvents(), ['/local/domain/5/data/x o'], 'the node itself is still readable');
  xs.setPermissions('/local/domain/5/data/x', ['n5']);
  other.takeEvents();
  guest.write('data/x', '1');
  assert.deepEqual(other.takeEvents(), []);
  xs.write('/pub/secret', '1');
  xs.setPermissions('/pub/secret', ['n0']);
  other.takeEvents();
  xs.write('/pub/secret', '2');
  assert.deepEqual(other.takeEvents(), ['/pub/secret o'], 'the parent is readable');
});

test('special watches reach domain 0 and those it lets', () => {
  const { guest, other, xenstored, xs } = setUp();
  guest.watch('@introduceDomain', 'g');
  other.watch('@introduceDomain', 'o');
  guest.watch('/', 'root');
  xs.setPermissions('@introduceDomain', ['n0', 'r6']);
  guest.takeEvents();
  other.takeEvents();
  new TestGuest(xenstored, 9);
  assert.deepEqual(guest.takeEvents(), []);
  assert.deepEqual(other.takeEvents(), ['@introduceDomain o']);
  assert.equal(guest.request(MessageType.GET_PERMS, packStrings('@introduceDomain')), 'EACCES');
  assert.equal(other.request(MessageType.GET_PERMS, packStrings('@introduceDomain')), 'n0\0r6\0');
});

test('RESET_WATCHES forgets all watches', () => {
  const { guest, xs } = setUp();
  guest.watch('data', 't');
  guest.takeEvents();
  assert.equal(guest.request(MessageType.RESET_WATCHES, '\0'), 'OK\0');
  xs.write('/local/domain/5/data/x', '1');
  assert.deepEqual(guest.takeEvents(), []);
  assert.equal(guest.watch('data', 't'), 'OK\0');
});

test('callbacks of in-process clients come later, in order, and not after the watch ended', () => {
  const { xenstored, xs } = setUp();
  const seen: string[] = [];
  const end = xs.watch('/pub', path => {
    seen.push(path);
    if (path === '/pub/a') xs.write('/pub/from-callback', '1');
  });
  assert.deepEqual(seen, []);
  xs.write('/pub/a', '1');
  xs.write('/pub/a', '2');
  xs.write('/pub/b', '1');
  assert.deepEqual(seen, []);
  assert.equal(xenstored.hasWork, true);
  xenstored.pump();
  assert.deepEqual(seen.splice(0), ['/pub', '/pub/a', '/pub/b', '/pub/from-callback']);
  xs.write('/pub/c', '1');
  end();
  end();
  xenstored.pump();
  assert.deepEqual(seen, []);
});

test('a callback that throws does not swallow the ones behind it', () => {
  const { xenstored, xs } = setUp();
  const seen: string[] = [];
  xs.watch('/pub/a', () => {
    throw new Error('broken callback');
  });
  xs.watch('/pub/b', path => seen.push(path));
  assert.throws(() => xenstored.pump(), /broken callback/);
  xenstored.pump();
  assert.deepEqual(seen, ['/pub/b']);
});

test('wake is told when work comes up, once until it is done', () => {
  let woken = 0;
  const xenstored = createXenstored({
    wake: () => {
      woken += 1;
    },
  });
  const xs = xenstored.client();
  xs.watch('/a', () => {});
  xs.write('/a', '1');
  assert.equal(woken, 1);
  xenstored.pump();
  xs.write('/a', '2');
  assert.equal(woken, 2);
});

test('the client: values, absence, errors, transactions', () => {
  const { xs, xenstored } = setUp();
  xs.write('/pub/text', 'grüße');
  assert.equal(xs.read('/pub/text'), 'grüße');
  xs.write('/pub/number', 42);
  assert.equal(xs.read('/pub/number'), '42');
  const bytes = Uint8Array.of(0, 255, 1);
  xs.write('/pub/bytes', bytes);
  bytes[0] = 9;
  assert.deepEqual(xs.readBytes('/pub/bytes'), Uint8Array.of(0, 255, 1));
  assert.equal(xs.read('/pub/none'), undefined);
  assert.deepEqual(xs.directory('/pub/none'), []);
  assert.equal(xs.exists('/pub/none'), false);
  xs.remove('/pub/none/none');
  assert.throws(() => xs.read('not a path'), { name: 'XenstoreError', errno: 'EINVAL' });
  assert.throws(() => xs.getPermissions('/pub/none'), { errno: 'ENOENT' });
  const nine = xenstored.client(9);
  assert.throws(() => nine.read('/tool'), { errno: 'EACCES' });
  assert.throws(() => {
    xs.transaction(t => {
      t.write('/pub/half', '1');
      throw new Error('no');
    });
  }, /no/);
  assert.equal(xs.exists('/pub/half'), false);
  assert.equal(
    xs.transaction(t => {
      t.write('/pub/whole', '1');
      return t.read('/pub/whole');
    }),
    '1',
  );
  assert.equal(xs.read('/pub/whole'), '1');
});
