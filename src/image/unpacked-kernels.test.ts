/** The cache of unpacked kernels: what it gives back, and what it makes of files that are not right. */
import assert from 'node:assert/strict';
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import type { KernelImage } from '../hypervisor/builder/domain-builder.ts';
import { sha256Hex } from '../platform/node/native-codecs.ts';
import { tinyElf64 } from './elf/sample.fixture.ts';
import { openUnpackedKernels } from './unpacked-kernels.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'domus-kernels-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A kernel with all its bytes in memory, as it would be loaded. */
const loaded = ({ entry, segments }: KernelImage) => ({
  entry,
  segments: segments.map(({ address, memorySize, contents }) => {
    const bytes = new Uint8Array(new SharedArrayBuffer(contents.length));
    if (contents instanceof Uint8Array) bytes.set(contents);
    else contents.readInto(bytes, 0);
    return { address, memorySize, bytes: [...bytes] };
  }),
});
const pvhElf = (mark: number) =>
  tinyElf64(
    undefined,
    Uint8Array.from({ length: 16 }, (_, i) => i * 16 + mark),
  );
const packed = (mark: number) => {
  const file = new Uint8Array(gzipSync(pvhElf(mark)));
  return { file, sha256: sha256Hex(file) };
};
const stored = () => readdirSync(join(folder, 'kernels'));

test('what was unpacked once is found, and is the same', async () => {
  const kernels = openUnpackedKernels(folder);
  const { file, sha256 } = packed(7);
  assert.equal(await kernels.find(sha256), undefined);
  const first = await kernels.unpack(sha256, file);
  const again = await openUnpackedKernels(folder).find(sha256);
  assert.ok(again);
  assert.deepEqual(loaded(again), loaded(first));
  assert.ok(loaded(again).segments.some(({ bytes }) => bytes.includes(7)));
});

test('parts of a segment are read from where they are', async () => {
  const kernels = openUnpackedKernels(folder);
  const { file, sha256 } = packed(9);
  const whole = loaded(await kernels.unpack(sha256, file)).segments[0]!.bytes;
  const contents = (await kernels.find(sha256))!.segments[0]!.contents;
  assert.ok(!(contents instanceof Uint8Array));
  const part = new Uint8Array(8);
  contents.readInto(part, 5);
  assert.deepEqual([...part], whole.slice(5, 13));
  assert.throws(() => contents.readInto(new Uint8Array(1 << 20), 0), /ends early/);
});

test('a kernel that is not packed is not kept', async () => {
  const file = pvhElf(1);
  await openUnpackedKernels(folder).unpack(sha256Hex(file), file);
  assert.deepEqual(readdirSync(folder), []);
});

test('a file that is cut short, longer or spoilt counts as absent and is replaced', async () => {
  const kernels = openUnpackedKernels(folder);
  const { file, sha256 } = packed(3);
  await kernels.unpack(sha256, file);
  const path = join(folder, 'kernels', sha256);
  const good = readFileSync(path);
  const header = good.subarray(0, 4096).toString('latin1').replace(/\0+$/, '');
  const changed = (from: string | RegExp, to: string) => {
    const bytes = Buffer.from(good);
    bytes.fill(0, 0, 4096);
    assert.notEqual(header.replace(from, to), header);
    bytes.write(header.replace(from, to));
    return bytes;
  };
  const spoilt = [
    Buffer.alloc(0),
    good.subarray(0, 100),
    good.subarray(0, good.length - 1),
    Buffer.concat([good, Buffer.alloc(1)]),
    changed('"format":1', '"format":2'),
    changed('"at":4096', '"at":4097'),
    changed(/"memorySize":\d+/, '"memorySize":0'),
    changed(/"address":\d+/, '"address":-4096'),
    changed(/"entry":\d+/, '"entry":1'),
    changed('"segments":[', '"segments":[null,'),
  ];
  for (const bytes of spoilt) {
    writeFileSync(path, bytes);
    assert.equal(await kernels.find(sha256), undefined);
  }
  await kernels.unpack(sha256, file);
  assert.deepEqual(readFileSync(path), good);
  truncateSync(path, 0);
  assert.equal(await kernels.find(sha256), undefined);
});

test('the newest four stay', async () => {
  const kernels = openUnpackedKernels(folder);
  const all = [1, 2, 3, 4, 5, 6].map(packed);
  for (const [i, { file, sha256 }] of all.entries()) {
    await kernels.unpack(sha256, file);
    utimesSync(join(folder, 'kernels', sha256), 1000 + i, 1000 + i);
  }
  assert.deepEqual(
    stored().sort(),
    all
      .slice(2)
      .map(({ sha256 }) => sha256)
      .sort(),
  );
});

test('a folder that cannot be written costs nothing else', async () => {
  writeFileSync(join(folder, 'kernels'), '');
  const { file, sha256 } = packed(1);
  assert.equal(loaded(await openUnpackedKernels(folder).unpack(sha256, file)).segments.length > 0, true);
  assert.equal(await openUnpackedKernels(folder).find(sha256), undefined);
});
