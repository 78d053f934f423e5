import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { hasCode, sampleBytes, seeded, tool } from '../../fuzz.fixture.ts';
import { FileTree, plainAttributes } from '../tree.ts';
import { Ext4, type StoredFile } from './file-system.ts';

const MIB = 1 << 20;
const skip = tool(['/sbin/e2fsck', '-V'], new Uint8Array(0)) ? false : 'e2fsck is not installed';

/** A new file system of `sizeBytes` in a sparse file, and what e2fsprogs says about it. */
async function withFileSystem(
  sizeBytes: number,
  fill: (fs: Ext4, tree: FileTree<StoredFile>) => Promise<void>,
  check: (run: (program: string, ...words: string[]) => string, path: string) => void,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'domus-ext4-'));
  const path = join(folder, 'disk.raw');
  const file = openSync(path, 'w+');
  try {
    ftruncateSync(file, sizeBytes);
    const write = (offset: number, from: Uint8Array): void => {
      assert.equal(writeSync(file, from, 0, from.length, offset), from.length);
      assert.ok(offset + from.length <= sizeBytes);
    };
    const fs = new Ext4(
      { write },
      {
        sizeBytes,
        uuid: sampleBytes(16, 5),
        hashSeed: sampleBytes(16, 6),
        label: 'test',
        time: 1_700_000_000,
      },
    );
    const tree = new FileTree<StoredFile>();
    await fill(fs, tree);
    await fs.finish(tree);
    const run = (program: string, ...words: string[]): string => {
      const result = spawnSync(program, words, { encoding: 'latin1', maxBuffer: 1 << 28 });
      assert.equal(result.status, 0, `${program} ${words.join(' ')}: ${result.stdout}${result.stderr}`);
      return result.stdout;
    };
    run('/sbin/e2fsck', '-fn', path);
    check(run, path);
  } finally {
    closeSync(file);
    rmSync(folder, { recursive: true });
  }
}

const attributes = plainAttributes(0o644);

test('ext4: files, folders, links, devices, owners, attributes', { skip }, async () => {
  const big = sampleBytes(3 * MIB + 17, 3);
  const acl = new Uint8Array(4 + 8 * 4);
  const words = new DataView(acl.buffer);
  words.setUint32(0, 2, true);
  for (const [i, [tag, perm, id]] of [
    [1, 6, -1],
    [2, 4, 1000],
    [4, 4, -1],
    [32, 4, -1],
  ].entries()) {
    words.setUint16(4 + i * 8, tag!, true);
    words.setUint16(6 + i * 8, perm!, true);
    words.setInt32(8 + i * 8, id!, true);
  }
  acl.set(acl.subarray(20, 36).slice(), 20);
  await withFileSystem(
    256 * MIB,
    async (fs, tree) => {
      const store = async (path: string, bytes: Uint8Array, more: Partial<typeof attributes> = {}) =>
        tree.put(path, {
          kind: 'file',
          attributes: { ...attributes, ...more },
          contents: await fs.store(bytes.length, [bytes.subarray(0, 7), bytes.subarray(7)]),
        });
      await store('etc/hello', new TextEncoder().encode('hello, world\n'), { mtime: 1_234_567_890.25 });
      await store('big', big);
      await store('empty', new Uint8Array(0));
      await store('usr/bin/su', sampleBytes(5000), { mode: 0o4755, uid: 70_000, gid: 0x1_0002 });
      const capability = Uint8Array.from([1, 0, 0, 2, 0, 0x20, 0, 0, ...new Uint8Array(12)]);
      const user = new Map([['user.comment', sampleBytes(900)]]);
      await store('bin/ping', sampleBytes(10), { xattrs: new Map([['security.capability', capability]]) });
      await store('bin/large-attribute', sampleBytes(10), { xattrs: user });
      await store('bin/acl', sampleBytes(10), { xattrs: new Map([['system.posix_acl_access', acl]]) });
      tree.link('bin/pong', 'bin/ping');
      tree.put('short', { kind: 'symlink', attributes, target: 'etc/hello' });
      tree.put('long', { kind: 'symlink', attributes, target: `etc/${'x'.repeat(100)}` });
      tree.put('dev/null', { kind: 'char-device', attributes, major: 1, minor: 3 });
      tree.put('dev/huge', { kind: 'block-device', attributes, major: 259, minor: 70_000 });
      tree.put('run/pipe', { kind: 'fifo', attributes, major: 0, minor: 0 });
      for (let i = 0; i < 3000; i++)
        await store(`many/a-name-that-takes-some-room-${i}`, sampleBytes(i % 50));
      for (let i = 0; i < 400; i++)
        tree.put(`folders/${i}/inner`, {
          kind: 'directory',
          attributes: plainAttributes(0o750),
          entries: new Map(),
        });
      await store('gone', sampleBytes(100_000));
      tree.remove('gone');
    },
    (run, path) => {
      const debugfs = (request: string): string => run('/sbin/debugfs', '-R', request, path);
      assert.equal(debugfs('cat /etc/hello'), 'hello, world\n');
      assert.ok(Buffer.from(debugfs('cat /big'), 'latin1').equals(big));
      assert.match(debugfs('stat /usr/bin/su'), /Mode:\s+04755.*User:\s+70000\s+Group:\s+65538/s);
      assert.match(debugfs('stat /etc/hello'), /mtime: 0x499602d2:3b9aca00/);
      assert.match(debugfs('stat /bin/ping'), /Links: 2/);
      assert.match(debugfs('ea_get -x /bin/ping security.capability'), /01 00 00 02 00 20/);
      debugfs(`ea_get -f ${path}.value /bin/large-attribute user.comment`);
      assert.deepEqual(new Uint8Array(readFileSync(`${path}.value`)), sampleBytes(900));
      assert.match(debugfs('stat /short'), /Fast link dest: "etc\/hello"/);
      assert.match(debugfs('stat /long'), /Type: symlink.*Size: 104/s);
      assert.match(debugfs('stat /dev/null'), /Device major\/minor number: 01:03/);
      assert.match(debugfs('stat /dev/huge'), /Device major\/minor number: 259:70000/);
      assert.equal(
        debugfs('ls -p /many')
          .split('\n')
          .filter(line => line.startsWith('/')).length,
        3002,
      );
      assert.match(debugfs('stats'), /has_journal.*needs|Filesystem features:.*has_journal/s);
    },
  );
});

test('ext4: contents over many groups, in several pieces', { skip }, async () => {
  const size = 700 * MIB + 123;
  const chunk = sampleBytes(MIB, 9);
  await withFileSystem(
    2560 * MIB,
    async (fs, tree) => {
      const chunks = function* () {
        for (let at = 0; at < size; at += MIB) yield chunk.subarray(0, Math.min(MIB, size - at));
      };
      tree.put('large', { kind: 'file', attributes, contents: await fs.store(size, chunks()) });
    },
    (run, path) => {
      assert.match(run('/sbin/debugfs', '-R', 'stat /large', path), new RegExp(`Size: ${size}`));
      const end = run('/sbin/debugfs', '-R', 'blocks /large', path).trim().split(/\s+/);
      assert.equal(end.length >= Math.ceil(size / 4096), true);
    },
  );
});

test('ext4: more groups than the last sixteen fill, and more inodes than one group has', {
  skip,
}, async () => {
  await withFileSystem(
    128 * MIB * 19,
    async (_fs, tree) => {
      for (let i = 0; i < 20_000; i++)
        tree.put(`l/${i % 100}/${i}`, { kind: 'symlink', attributes, target: `${i}` });
    },
    (run, path) => {
      assert.match(run('/sbin/debugfs', '-R', 'stat /l/99/19999', path), /Fast link dest: "19999"/);
    },
  );
});

test('ext4: what does not fit is refused', async () => {
  const options = {
    sizeBytes: 256 * MIB,
    uuid: new Uint8Array(16),
    hashSeed: new Uint8Array(16),
    label: '',
    time: 0,
  };
  const fs = new Ext4({ write: () => {} }, options);
  await assert.rejects(fs.store(3, [sampleBytes(2)]), hasCode('E_IMAGE_TRUNCATED'));
  await assert.rejects(fs.store(3, [sampleBytes(9000)]), hasCode('E_IMAGE_TRUNCATED'));
  await assert.rejects(fs.store(300 * MIB, []), hasCode('E_IMAGE_TOO_LARGE'));
  assert.throws(() => new Ext4({ write: () => {} }, { ...options, sizeBytes: 5 }), hasCode('E_DISK_SIZE'));
});

test('ext4: random trees are clean', { skip }, async () => {
  for (const seed of [1, 2, 3]) {
    const random = seeded(seed * 77);
    await withFileSystem(
      256 * MIB,
      async (fs, tree) => {
        const paths = [''];
        const pick = () => paths[random(paths.length)]!;
        for (let i = 0; i < 1500; i++) {
          const path = `${pick()}/${'n'.repeat(1 + random(random(10) ? 20 : 240))}${i}`;
          const mode = {
            ...attributes,
            mode: random(0o10000),
            uid: random(100_000),
            mtime: random(2 ** 31) * 4,
          };
          const kind = random(10);
          if (kind < 3) {
            tree.put(path, { kind: 'directory', attributes: mode, entries: new Map() });
            if (path.split('/').length < 30) paths.push(path);
          } else if (kind < 4)
            tree.put(path, { kind: 'symlink', attributes: mode, target: 't'.repeat(1 + random(200)) });
          else {
            const bytes = sampleBytes(random(random(5) ? 9000 : 200_000), i);
            tree.put(path, {
              kind: 'file',
              attributes: mode,
              contents: await fs.store(bytes.length, [bytes]),
            });
            if (random(4) === 0) tree.link(`${pick()}/link-${i}`, path);
          }
        }
      },
      () => {},
    );
  }
});
