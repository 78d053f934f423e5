/** Copying: archives that other tars read, hostile archives, and the way through the agent's own channel. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { DomusError } from '../../base/errors.ts';
import { readTarStream } from '../../image/archive/tar-stream.ts';
import { padding, TAR_END, tarHeader } from '../../image/archive/tar-writer.ts';
import { damaged, sampleBytes, seeded } from '../../image/fuzz.fixture.ts';
import { packTar } from './pack.ts';
import { unpackTar } from './unpack.ts';

const scratch = mkdtempSync(join(tmpdir(), 'domus-copy-'));
after(() => rmSync(scratch, { recursive: true, force: true }));
let nrFolders = 0;
function newFolder(): string {
  const folder = join(scratch, String(++nrFolders));
  mkdirSync(folder);
  return folder;
}

const collect = async (chunks: AsyncIterable<Uint8Array>) => {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return new Uint8Array(Buffer.concat(all));
};
async function* pieces(bytes: Uint8Array, size = 1000) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
const hasTar = spawnSync('tar', ['--version']).stdout?.toString().includes('GNU tar') ?? false;

/** A folder with everything that is to survive. */
function sampleTree(): string {
  const folder = join(newFolder(), 'tree');
  mkdirSync(join(folder, 'inner', 'deep'), { recursive: true });
  writeFileSync(join(folder, 'file'), sampleBytes(70_000), { mode: 0o640 });
  writeFileSync(join(folder, 'empty'), '');
  writeFileSync(join(folder, 'inner', 'program'), '#!/bin/sh\n');
  chmodSync(join(folder, 'inner', 'program'), 0o755);
  writeFileSync(join(folder, 'inner', 'deep', `${'long'.repeat(40)}ä`), 'long name');
  symlinkSync('../file', join(folder, 'inner', 'link'));
  symlinkSync('x'.repeat(150), join(folder, 'longlink'));
  utimesSync(join(folder, 'file'), 1_000_000_000, 1_000_000_000);
  chmodSync(join(folder, 'inner', 'deep'), 0o500);
  utimesSync(join(folder, 'inner'), 1_100_000_000, 1_100_000_000);
  return folder;
}

/** What is in a folder, so that two can be compared. */
function describeTree(folder: string, prefix = ''): unknown[] {
  return readdirSync(folder)
    .sort()
    .flatMap(name => {
      const path = join(folder, name);
      const facts = lstatSync(path);
      const row = [`${prefix}${name}`, facts.isSymbolicLink() ? readlinkSync(path) : facts.mode & 0o7777];
      if (facts.isDirectory()) return [[...row, 'folder'], ...describeTree(path, `${prefix}${name}/`)];
      if (facts.isSymbolicLink()) return [row];
      return [[...row, Math.floor(facts.mtimeMs / 1000), readFileSync(path).toString('base64')]];
    });
}

test('a tree packed and unpacked is the same, also by another tar', async () => {
  const tree = sampleTree();
  const archive = await collect(packTar(tree, { rootName: 'copy', onSkip: () => assert.fail() }));
  const target = newFolder();
  await unpackTar(pieces(archive), {
    folder: target,
    rootName: 'copy',
    newName: 'back',
    onSkip: () => assert.fail(),
  });
  assert.deepEqual(describeTree(join(target, 'back')), describeTree(tree));
  assert.equal(lstatSync(join(target, 'back', 'inner')).mtimeMs, 1_100_000_000_000);
  if (!hasTar) return;
  const other = newFolder();
  assert.equal(spawnSync('tar', ['xpf', '-', '-C', other], { input: archive }).status, 0);
  assert.deepEqual(describeTree(join(other, 'copy')), describeTree(tree));
  const packed = spawnSync('tar', ['cf', '-', '-C', join(tree, '..'), './tree'], {
    maxBuffer: 1 << 24,
  }).stdout;
  const third = newFolder();
  await unpackTar(pieces(packed), {
    folder: third,
    rootName: 'tree',
    newName: 'tree',
    onSkip: () => assert.fail(),
  });
  assert.deepEqual(describeTree(join(third, 'tree')), describeTree(tree));
});

test('numbers that do not fit into octal digits', async () => {
  const header = tarHeader({ name: 'big', type: 'file', mode: 0o644, mtime: 2 ** 34, size: 2 ** 36 });
  async function* archive() {
    yield header;
  }
  for await (const { name, size, mtime } of readTarStream(archive())) {
    assert.deepEqual([name, size, mtime], ['big', 2 ** 36, 2 ** 34]);
    break;
  }
});

interface Member {
  name: string;
  type?: 'file' | 'directory' | 'symlink';
  text?: string;
  link?: string;
  mode?: number;
  /** Type byte, for what the writer does not write. */
  raw?: string;
}

function archiveOf(members: readonly Member[]): Uint8Array {
  const blocks = members.flatMap(({ name, type = 'file', text = '', link, mode = 0o644, raw }) => {
    const header = tarHeader({
      name,
      type,
      mode,
      mtime: 5,
      size: text.length,
      ...(link !== undefined && { link }),
    });
    if (raw) {
      const last = header.length - 512;
      header[last + 156] = raw.charCodeAt(0);
      header.fill(0x20, last + 148, last + 156);
      const sum = header.subarray(last).reduce((total, byte) => total + byte, 0);
      header.set(Buffer.from(`${sum.toString(8).padStart(6, '0')}\0 `), last + 148);
    }
    return [header, Buffer.from(text), padding(text.length)];
  });
  return new Uint8Array(Buffer.concat([...blocks, TAR_END]));
}

async function unpackAt(folder: string, members: readonly Member[], options = {}): Promise<string[]> {
  const skipped: string[] = [];
  await unpackTar(pieces(archiveOf(members)), {
    folder,
    rootName: 'a',
    newName: 'a',
    onSkip: name => void skipped.push(name),
    ...options,
  });
  return skipped;
}

const ATTACKS: readonly (readonly [what: string, members: readonly Member[]])[] = [
  ['dots', [{ name: 'a/../../evil', text: 'x' }]],
  ['dots alone', [{ name: '..', type: 'directory' }]],
  ['an absolute name', [{ name: '/tmp/evil', text: 'x' }]],
  ['another root', [{ name: 'b/evil', text: 'x' }]],
  [
    'a link of its own',
    [
      { name: 'a/l', type: 'symlink', link: '../..' },
      { name: 'a/l/evil', text: 'x' },
    ],
  ],
  [
    'a link in place of a folder',
    [
      { name: 'a/d/', type: 'directory' },
      { name: 'a/d', type: 'symlink', link: '/' },
      { name: 'a/d/evil', text: 'x' },
    ],
  ],
  [
    'a root that is a link',
    [
      { name: 'a', type: 'symlink', link: '..' },
      { name: 'a/evil', text: 'x' },
    ],
  ],
  ['a link that was there', [{ name: 'a/there/evil', text: 'x' }]],
  ['a hard link to outside', [{ name: 'a/h', raw: '1', link: '../outside' }]],
  ['a hard link to what was there', [{ name: 'a/h', raw: '1', link: 'a/mine' }]],
  [
    'a hard link through a link',
    [
      { name: 'a/l', type: 'symlink', link: '..' },
      { name: 'a/h', raw: '1', link: 'a/l/outside' },
    ],
  ],
  ['a file in place of a folder', [{ name: 'a/folder', text: 'x' }]],
  [
    'a folder through a file',
    [
      { name: 'a/f', text: 'x' },
      { name: 'a/f/g', text: 'x' },
    ],
  ],
  ['too long a name', [{ name: `a/${'n'.repeat(300)}`, text: 'x' }]],
];

for (const [what, members] of ATTACKS) {
  test(`a hostile archive ends the copying and reaches nothing: ${what}`, async () => {
    const outer = newFolder();
    const folder = join(outer, 'target');
    mkdirSync(join(folder, 'a', 'folder'), { recursive: true });
    writeFileSync(join(outer, 'outside'), 'untouched');
    writeFileSync(join(folder, 'a', 'mine'), 'mine');
    mkdirSync(join(outer, 'elsewhere'));
    symlinkSync('../../elsewhere', join(folder, 'a', 'there'));
    await assert.rejects(unpackAt(folder, members), { code: 'E_COPY_UNSAFE' });
    assert.deepEqual(readdirSync(outer).sort(), ['elsewhere', 'outside', 'target']);
    assert.deepEqual(readdirSync(join(outer, 'elsewhere')), []);
    assert.equal(readFileSync(join(outer, 'outside'), 'utf8'), 'untouched');
    assert.equal(readFileSync(join(folder, 'a', 'mine'), 'utf8'), 'mine');
    assert.equal(existsSync('/tmp/evil') || existsSync(join(tmpdir(), '..', 'evil')), false);
  });
}

test('a file takes the place of a link that was there, not of what it leads to', async () => {
  const folder = newFolder();
  mkdirSync(join(folder, 'a'));
  writeFileSync(join(folder, 'precious'), 'untouched');
  symlinkSync('../precious', join(folder, 'a', 'f'));
  await unpackAt(folder, [{ name: 'a/f', text: 'new' }]);
  assert.equal(readFileSync(join(folder, 'precious'), 'utf8'), 'untouched');
  assert.equal(lstatSync(join(folder, 'a', 'f')).isFile(), true);
});

test('rights of another user, devices and pipes are left out; hard links of its own are made', async () => {
  const folder = newFolder();
  const skipped = await unpackAt(folder, [
    { name: 'a/', type: 'directory', mode: 0o7755 },
    { name: 'a/suid', text: 'x', mode: 0o6755 },
    { name: 'a/hard', raw: '1', link: './a/suid' },
    { name: 'a/device', raw: '3' },
    { name: 'a/pipe', raw: '6' },
  ]);
  assert.deepEqual(skipped, ['a/device', 'a/pipe']);
  assert.equal(lstatSync(join(folder, 'a', 'suid')).mode & 0o7777, 0o755);
  assert.equal(lstatSync(join(folder, 'a')).mode & 0o7777, 0o755);
  assert.equal(lstatSync(join(folder, 'a', 'hard')).ino, lstatSync(join(folder, 'a', 'suid')).ino);
  assert.deepEqual(readdirSync(join(folder, 'a')).sort(), ['hard', 'suid']);
});

test('the number of files is bounded', async () => {
  const members = Array.from({ length: 20 }, (_, i) => ({ name: `a/${i}`, text: 'x' }));
  await assert.rejects(unpackAt(newFolder(), members, { entriesMax: 10 }), { code: 'E_COPY_UNSAFE' });
});

test('damaged archives: an error or fewer files, nothing outside', async () => {
  const random = seeded(77);
  const outer = newFolder();
  const good = archiveOf([
    { name: 'a/', type: 'directory' },
    { name: 'a/one', text: 'x'.repeat(2000) },
    { name: 'a/l', type: 'symlink', link: 'one' },
    { name: 'a/two', text: 'y' },
  ]);
  for (let i = 0; i < 300; i++) {
    const folder = join(outer, 'target');
    mkdirSync(folder);
    try {
      const options = { folder, rootName: 'a', newName: 'a', onSkip() {} };
      await unpackTar(pieces(damaged(good, random), 1 + random(2000)), options);
    } catch (error) {
      assert.ok(error instanceof DomusError, String(error));
    }
    assert.deepEqual(readdirSync(outer), ['target']);
    assert.ok(readdirSync(folder).every(name => name === 'a'));
    rmSync(folder, { recursive: true });
  }
});
