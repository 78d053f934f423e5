import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TestGuest } from './guest-fixture.ts';
import { MessageType, packStrings } from './wire.ts';
import { createXenstored } from './xenstored.ts';

const OK = 'OK\0';

/** Two guests over one area that both may change. */
function setUp() {
  const xenstored = createXenstored();
  const xs = xenstored.client();
  for (const path of ['/a', '/a/x', '/a/y', '/b']) {
    xs.write(path, '0');
    xs.setPermissions(path, ['b0']);
  }
  return { xenstored, xs, one: new TestGuest(xenstored, 1), two: new TestGuest(xenstored, 2) };
}

test('what a transaction does is seen inside at once and outside after the commit', () => {
  const { one, two } = setUp();
  const tx = one.begin();
  assert.equal(one.write('/a/x', '1', tx), OK);
  assert.equal(one.write('/a/new/deep', '2', tx), OK);
  assert.equal(one.remove('/a/y', tx), OK);
  assert.equal(one.read('/a/x', tx), '1');
  assert.deepEqual(one.directory('/a', tx), ['x', 'new']);
  assert.equal(two.read('/a/x'), '0');
  assert.deepEqual(two.directory('/a'), ['x', 'y']);
  assert.equal(one.end(tx), OK);
  assert.equal(two.read('/a/x'), '1');
  assert.deepEqual(two.directory('/a'), ['x', 'new']);
  assert.equal(one.read('/a/x', tx), 'ENOENT');
});

test('an aborted transaction leaves nothing', () => {
  const { one, two, xs } = setUp();
  const tx = one.begin();
  one.write('/a/x', '1', tx);
  one.write('/a/z', '1', tx);
  assert.equal(one.end(tx, 'F'), OK);
  assert.equal(two.read('/a/x'), '0');
  assert.equal(xs.exists('/a/z'), false);
});

test('a snapshot stays what it was at the start', () => {
  const { one, two } = setUp();
  const tx = one.begin();
  two.write('/a/x', '1');
  two.remove('/a/y');
  assert.equal(one.read('/a/x', tx), '0');
  assert.equal(one.read('/a/y', tx), '0');
  assert.equal(one.end(tx), 'EAGAIN');
  assert.equal(one.end(tx), 'ENOENT');
});

test('which changes from outside conflict', () => {
  type Guest = TestGuest;
  const cases: [string, (one: Guest, tx: number) => unknown, (two: Guest) => unknown, string][] = [
    ['read, and the value changes', (g, t) => g.read('/a/x', t), g => g.write('/a/x', '1'), 'EAGAIN'],
    ['read, and the same value is written', (g, t) => g.read('/a/x', t), g => g.write('/a/x', '0'), 'EAGAIN'],
    ['read, and another node changes', (g, t) => g.read('/a/x', t), g => g.write('/a/y', '1'), OK],
    ['written, and written', (g, t) => g.write('/a/x', '2', t), g => g.write('/a/x', '1'), 'EAGAIN'],
    ['written, and another one written', (g, t) => g.write('/a/x', '2', t), g => g.write('/b', '1'), OK],
    ['read, and removed', (g, t) => g.read('/a/x', t), g => g.remove('/a/x'), 'EAGAIN'],
    ['missed, and created', (g, t) => g.read('/a/new', t), g => g.write('/a/new', '1'), 'EAGAIN'],
    [
      'missed, and another one created beside',
      (g, t) => g.read('/a/new', t),
      g => g.write('/a/other', ''),
      'EAGAIN',
    ],
    ['listed, and a child created', (g, t) => g.directory('/a', t), g => g.write('/a/new', ''), 'EAGAIN'],
    ['listed, and a child changed', (g, t) => g.directory('/a', t), g => g.write('/a/x', '1'), OK],
    [
      'created, and another one created beside',
      (g, t) => g.write('/a/n1', '', t),
      g => g.write('/a/n2', ''),
      'EAGAIN',
    ],
    ['created, and one created elsewhere', (g, t) => g.write('/a/n1', '', t), g => g.write('/b/n2', ''), OK],
    ['removed, and a child of it changed', (g, t) => g.remove('/a', t), g => g.write('/a/x', '1'), 'EAGAIN'],
    ['nothing', () => undefined, g => g.write('/a/x', '1'), OK],
  ];
  for (const [name, inside, outside, expected] of cases) {
    const { one, two, xs } = setUp();
    xs.setPermissions('/', ['b0']);
    const tx = one.begin();
    inside(one, tx);
    outside(two);
    assert.equal(one.end(tx), expected, name);
  }
});

test('of two transactions over the same nodes the first commit wins, and both changes meet when they do not overlap', () => {
  const { one, two, xs } = setUp();
  let [first, second] = [one.begin(), two.begin()];
  one.write('/a/x', 'one', first);
  two.write('/a/x', 'two', second);
  assert.equal(two.end(second), OK);
  assert.equal(one.end(first), 'EAGAIN');
  assert.equal(xs.read('/a/x'), 'two');
  [first, second] = [one.begin(), two.begin()];
  one.write('/a/x/below/it', 'one', first);
  two.write('/a/y', 'two', second);
  two.write('/b/deep', 'two', second);
  assert.equal(one.end(first), OK);
  assert.equal(two.end(second), OK);
  assert.equal(xs.read('/a/x/below/it'), 'one');
  assert.equal(xs.read('/a/y'), 'two');
  assert.equal(xs.read('/b/deep'), 'two');
});

test('a subtree removed and made again inside a transaction holds only the new nodes', () => {
  const { one, two, xs } = setUp();
  const tx = one.begin();
  one.remove('/a/x', tx);
  one.remove('/a/y', tx);
  one.write('/a/y/again', '1', tx);
  two.write('/b', 'meanwhile');
  assert.equal(one.end(tx), OK);
  assert.deepEqual(xs.directory('/a'), ['y']);
  assert.equal(xs.read('/a/y'), '');
  assert.equal(xs.read('/a/y/again'), '1');
  assert.deepEqual(xs.getPermissions('/a/y'), ['b1']);
  assert.equal(xenstoredCount(xs, '/a'), 3);
});

/** Nodes from `path` down. */
function xenstoredCount(xs: { directory(path: string): string[] }, path: string): number {
  return xs.directory(path).reduce((sum, name) => sum + xenstoredCount(xs, `${path}/${name}`), 1);
}

test('the counts of owned nodes follow commits only', () => {
  const { one, xenstored } = setUp();
  let tx = one.begin();
  one.write('/a/p/q', '', tx);
  assert.equal(xenstored.store.nodesOwned(1), 0);
  one.end(tx);
  assert.equal(xenstored.store.nodesOwned(1), 2);
  tx = one.begin();
  one.remove('/a/p', tx);
  one.end(tx, 'F');
  assert.equal(xenstored.store.nodesOwned(1), 2);
  one.remove('/a/p');
  assert.equal(xenstored.store.nodesOwned(1), 0);
});

test('transactions do not nest, and belong to their domain', () => {
  const { one, two } = setUp();
  const tx = one.begin();
  assert.equal(one.request(MessageType.TRANSACTION_START, '\0', tx), 'EBUSY');
  assert.equal(two.read('/a', tx + 1), 'ENOENT');
  assert.equal(two.end(tx + 1), 'ENOENT');
  assert.equal(one.request(MessageType.RESET_WATCHES, '\0'), OK);
  assert.equal(one.end(tx), 'ENOENT');
  assert.equal(one.request(MessageType.GET_PERMS, packStrings('/a')), 'b0\0');
});

test('random histories: committed transactions are as if done alone, one after the other', () => {
  let seed = 99;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return (seed >>> 8) % below;
  };
  const { xenstored, xs } = setUp();
  const access = [xenstored.client(0), xenstored.client(0), xenstored.client(0)];
  const paths = ['/a', '/a/x', '/a/y', '/a/x/p', '/b', '/b/q', '/b/q/r'];
  // A model: the same operations on a plain map, carried out at commit time.
  const model = new Map<string, string>();
  const modelWrite = (m: Map<string, string>, path: string, value: string) => {
    for (let end = path.indexOf('/', 1); end > 0; end = path.indexOf('/', end + 1)) {
      if (!m.has(path.slice(0, end))) m.set(path.slice(0, end), '');
    }
    m.set(path, value);
  };
  const modelRemove = (m: Map<string, string>, path: string) => {
    for (const key of [...m.keys()]) if (key === path || key.startsWith(`${path}/`)) m.delete(key);
  };
  for (const path of paths) model.set(path, xs.read(path) ?? '');
  for (const path of paths) xs.write(path, model.get(path)!);
  let commits = 0;
  let conflicts = 0;
  for (let round = 0; round < 300; round++) {
    const open = access.map(client => ({
      tx: client.begin(),
      log: [] as [string, string | undefined, string | undefined][],
    }));
    for (let step = 0; step < 8; step++) {
      const { tx, log } = open[random(open.length)]!;
      const path = paths[random(paths.length)]!;
      const kind = random(4);
      if (kind === 0) {
        tx.remove(path);
        log.push(['remove', path, undefined]);
      } else if (kind === 1) {
        const value = String(random(1000));
        tx.write(path, value);
        log.push(['write', path, value]);
      } else {
        log.push(['read', path, tx.read(path)]);
      }
    }
    for (const { tx, log } of open) {
      if (!tx.commit()) {
        conflicts += 1;
        continue;
      }
      commits += 1;
      for (const [kind, path, value] of log) {
        if (kind === 'write') modelWrite(model, path!, value!);
        else if (kind === 'remove') modelRemove(model, path!);
        else assert.equal(model.get(path!), value, 'a read in a committed transaction');
      }
    }
    for (const path of paths) assert.equal(xs.read(path), model.get(path), `${round} ${path}`);
  }
  assert.ok(commits > 100 && conflicts > 100, `${commits} commits, ${conflicts} conflicts`);
});
