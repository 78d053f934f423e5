import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readTar } from '../archive/tar.ts';
import { wholeSource } from '../compress/source.ts';
import { hasCode, seeded } from '../fuzz.fixture.ts';
import type { SampleEntry } from '../oci/sample.fixture.ts';
import { tarOf } from '../oci/sample.fixture.ts';
import { applyEntry, applyWhiteout } from './layer.ts';
import { type DirectoryNode, FileTree, plainAttributes } from './tree.ts';

/** All paths of a tree with what is there. */
function listing(tree: FileTree<string>): Record<string, string> {
  const found: Record<string, string> = {};
  const visit = (folder: DirectoryNode<string>, path: string): void => {
    for (const [name, { node }] of folder.entries) {
      const inner = path === '' ? name : `${path}/${name}`;
      found[inner] =
        node.kind === 'file' ? node.contents : node.kind === 'symlink' ? `-> ${node.target}` : node.kind;
      if (node.kind === 'directory') visit(node, inner);
    }
  };
  visit(tree.root, '');
  return found;
}

async function apply(
  tree: FileTree<string>,
  entries: readonly SampleEntry[],
  keepsFolderLinks = false,
): Promise<void> {
  tree.beginLayer();
  for (const entry of readTar(wholeSource(tarOf(entries)))) {
    if (applyWhiteout(tree, entry.name.replace(/\/$/, ''))) continue;
    await applyEntry(tree, entry, () => new TextDecoder().decode(entry.read()), { keepsFolderLinks });
  }
}

test('layers: files replace files, folders keep what is in them', async () => {
  const tree = new FileTree<string>();
  await apply(tree, [
    { name: 'etc/', type: '5', mode: 0o755 },
    { name: 'etc/a', data: 'one' },
    { name: 'etc/b', data: 'two' },
    { name: 'x', data: 'file' },
  ]);
  await apply(tree, [
    { name: 'etc/', type: '5', mode: 0o700 },
    { name: 'etc/a', data: 'new' },
    { name: 'x/y', data: 'in a folder now' },
  ]);
  assert.deepEqual(listing(tree), {
    etc: 'directory',
    'etc/a': 'new',
    'etc/b': 'two',
    x: 'directory',
    'x/y': 'in a folder now',
  });
  assert.equal(tree.find('etc')?.attributes.mode, 0o700);
});

test('layers: whiteouts take away what lower layers brought, and only that', async () => {
  const tree = new FileTree<string>();
  await apply(tree, [
    { name: 'a', data: '1' },
    { name: 'd/old', data: '1' },
    { name: 'd/deep/older', data: '1' },
    { name: 'gone/with/all', data: '1' },
    { name: 'keep', data: '1' },
  ]);
  await apply(tree, [
    { name: 'd/new', data: '2' },
    { name: 'd/deep/newer', data: '2' },
    { name: 'd/.wh..wh..opq' },
    { name: '.wh.gone' },
    { name: '.wh.a' },
    { name: 'a', data: '2' },
    { name: '.wh.a' },
    { name: '.wh.was-never-there' },
    { name: '.wh..wh.plnk', data: 'AUFS' },
  ]);
  assert.deepEqual(listing(tree), {
    a: '2',
    d: 'directory',
    'd/new': '2',
    'd/deep': 'directory',
    'd/deep/newer': '2',
    keep: '1',
  });
});

test('layers: links are followed inside the tree, and nothing leads out of it', async () => {
  const tree = new FileTree<string>();
  await apply(tree, [
    { name: '../../../escape', data: '1' },
    { name: '/absolute', data: '1' },
    { name: 'up', type: '2', link: '../../../../etc' },
    { name: 'up/inside', data: '2' },
    { name: 'root', type: '2', link: '/' },
    { name: 'root/at-root', data: '3' },
    { name: 'a/./b//c', data: '4' },
  ]);
  assert.deepEqual(listing(tree), {
    escape: '1',
    absolute: '1',
    up: '-> ../../../../etc',
    etc: 'directory',
    'etc/inside': '2',
    root: '-> /',
    'at-root': '3',
    a: 'directory',
    'a/b': 'directory',
    'a/b/c': '4',
  });
  await assert.rejects(
    apply(tree, [{ name: 'hard', type: '1', link: '../nothing' }]),
    hasCode('E_IMAGE_CORRUPT'),
  );
  await assert.rejects(apply(tree, [{ name: 'hard', type: '1', link: 'etc' }]), hasCode('E_IMAGE_CORRUPT'));
  await assert.rejects(
    apply(tree, [
      { name: 'l1', type: '2', link: 'l2' },
      { name: 'l2', type: '2', link: 'l1' },
      { name: 'l1/x', data: '' },
    ]),
    hasCode('E_IMAGE_CORRUPT'),
  );
});

test('layers: a package goes where links to folders lead, an image layer replaces them', async () => {
  const first = [
    { name: 'usr/bin/', type: '5' },
    { name: 'bin', type: '2', link: 'usr/bin' },
  ];
  const second = [
    { name: 'bin/', type: '5' },
    { name: 'bin/sh', data: 'sh' },
  ];
  const debian = new FileTree<string>();
  await apply(debian, first);
  await apply(debian, second, true);
  assert.deepEqual(Object.keys(listing(debian)), ['usr', 'usr/bin', 'usr/bin/sh', 'bin']);
  const oci = new FileTree<string>();
  await apply(oci, first);
  await apply(oci, second);
  assert.deepEqual(Object.keys(listing(oci)), ['usr', 'usr/bin', 'bin', 'bin/sh']);
});

test('layers: what cannot be', async () => {
  const refused = async (entry: SampleEntry, code: string) =>
    assert.rejects(apply(new FileTree<string>(), [entry]), hasCode(code), entry.name);
  await refused({ name: 'dev', type: '3', major: 5000 }, 'E_IMAGE_CORRUPT');
  await refused({ name: 'x', type: 'S' }, 'E_IMAGE_UNSUPPORTED');
  await refused({ name: 'x', type: '9' }, 'E_IMAGE_UNSUPPORTED');
  await refused({ name: 'x', type: '2', link: '' }, 'E_IMAGE_CORRUPT');
  await refused({ name: '..', data: 'x' }, 'E_IMAGE_CORRUPT');
  await refused({ name: 'd/.wh...' }, 'E_IMAGE_CORRUPT');
  const deep = new FileTree<string>();
  assert.throws(
    () => deep.put('d/'.repeat(1000), { kind: 'fifo', attributes: plainAttributes(0), major: 0, minor: 0 }),
    hasCode('E_IMAGE_CORRUPT'),
  );
  assert.throws(
    () => deep.put('n'.repeat(256), { kind: 'fifo', attributes: plainAttributes(0), major: 0, minor: 0 }),
    hasCode('E_IMAGE_CORRUPT'),
  );
});

test('trees: random operations keep to a plain model of folders without links', () => {
  const random = seeded(99);
  const tree = new FileTree<string>();
  const model = new Map<string, string>();
  const names = ['a', 'b', 'c'];
  const below = (path: string) => [...model.keys()].filter(key => key.startsWith(`${path}/`));
  for (let i = 0; i < 3000; i++) {
    const path = Array.from({ length: 1 + random(3) }, () => names[random(3)]!).join('/');
    if (random(4) === 0) {
      tree.remove(path);
      for (const key of [path, ...below(path)]) model.delete(key);
      continue;
    }
    const parents = path
      .split('/')
      .map((_, n, all) => all.slice(0, n).join('/'))
      .slice(1);
    for (const parent of parents) {
      if (model.get(parent) !== 'directory') model.set(parent, 'directory');
    }
    const isFolder = random(2) === 0;
    if (isFolder) {
      tree.put(path, { kind: 'directory', attributes: plainAttributes(0o755), entries: new Map() });
      model.set(path, 'directory');
    } else {
      tree.put(path, { kind: 'file', attributes: plainAttributes(0o644), contents: `${i}` });
      for (const key of below(path)) model.delete(key);
      model.set(path, `${i}`);
    }
    if (i % 100 === 0) assert.deepEqual(listing(tree), Object.fromEntries([...model].sort()));
  }
});
