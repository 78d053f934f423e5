import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { wholeSource } from '../compress/source.ts';
import { fuzz, hasCode, sampleBytes, tool } from '../fuzz.fixture.ts';
import { readAr } from './ar.ts';
import { type CpioEntry, joinCpio, readCpio, writeCpio } from './cpio.ts';
import { fileFromDeb, readDeb } from './deb.ts';
import { readTar } from './tar.ts';

const NONE = new Uint8Array(0);
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const concat = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));

/** One tar entry; `over` changes the header before its checksum is made. */
function tarEntry(
  name: string,
  data: Uint8Array,
  type = '0',
  over?: (header: Uint8Array) => void,
): Uint8Array {
  const header = new Uint8Array(512);
  const put = (at: number, text: string): void => {
    header.set(bytesOf(text), at);
  };
  put(0, name);
  put(100, '0000755\0');
  put(124, `${data.length.toString(8).padStart(11, '0')}\0`);
  put(156, type);
  put(257, 'ustar\x0000');
  over?.(header);
  put(148, '        ');
  const sum = header.reduce((a, b) => a + b, 0);
  put(148, `${sum.toString(8).padStart(6, '0')}\0 `);
  return concat(header, data, new Uint8Array((512 - (data.length % 512)) % 512));
}

const END = new Uint8Array(1024);
const listTar = (bytes: Uint8Array): string[] =>
  [...readTar(wholeSource(bytes))].map(
    entry => `${entry.type} ${entry.name}${entry.link && ` -> ${entry.link}`}`,
  );

test('tar: names, types, long names, pax', () => {
  const long = `${'d'.repeat(90)}/${'f'.repeat(90)}`;
  const pax = (key: string, value: string): Uint8Array => {
    const rest = ` ${key}=${value}\n`;
    let length = bytesOf(rest).length + 1;
    while (bytesOf(`${length}${rest}`).length !== length) length++;
    return bytesOf(`${length}${rest}`);
  };
  const archive = concat(
    tarEntry('./', NONE, '5'),
    tarEntry('./boot/vmlinuz', sampleBytes(1000)),
    tarEntry('x', bytesOf(`${long}\0`), 'L'),
    tarEntry('cut', NONE),
    tarEntry('x', pax('path', 'päth'), 'x'),
    tarEntry('y', bytesOf('hello')),
    tarEntry('link', NONE, '2', header => header.set(bytesOf('target'), 157)),
    tarEntry('part', NONE, '0', header => header.set(bytesOf('pre/fix'), 345)),
    END,
  );
  assert.deepEqual(listTar(archive), [
    'directory ',
    'file boot/vmlinuz',
    `file ${long}`,
    'file päth',
    'symlink link -> target',
    'file pre/fix/part',
  ]);
  const entry = [...readTar(wholeSource(archive))][1]!;
  assert.deepEqual(entry.read(), sampleBytes(1000));
  assert.equal(entry.mode, 0o755);
  fuzz(archive, 31, 400, bytes => [...readTar(wholeSource(bytes))].map(entry => entry.read()));
});

test('tar: what GNU tar writes', {
  skip: tool(['tar', '--version'], NONE) ? false : 'tar is not installed',
}, () => {
  const folder = mkdtempSync(join(tmpdir(), 'domus-tar-'));
  try {
    writeFileSync(join(folder, 'a'.repeat(120)), sampleBytes(700));
    symlinkSync('b'.repeat(130), join(folder, 'link'));
    for (const format of ['gnu', 'pax', 'ustar']) {
      const archive = tool(['tar', '-C', folder, `--format=${format}`, '-c', '.'], NONE);
      // ustar cannot hold these names.
      if (!archive) continue;
      assert.ok(listTar(archive).includes(`file ${'a'.repeat(120)}`), format);
      assert.ok(listTar(archive).includes(`symlink link -> ${'b'.repeat(130)}`), format);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('tar: bad headers', () => {
  const wrongSum = tarEntry('a', NONE);
  wrongSum[0]! ^= 1;
  assert.throws(() => listTar(wrongSum), hasCode('E_IMAGE_CORRUPT'));
  assert.throws(() => listTar(tarEntry('a', NONE).subarray(0, 300)), hasCode('E_IMAGE_TRUNCATED'));
  const huge = tarEntry('a', NONE, 'L', header => header.set(bytesOf('77777777777'), 124));
  assert.throws(() => listTar(huge), hasCode('E_IMAGE_TOO_LARGE'));
  const cut = [...readTar(wholeSource(tarEntry('a', sampleBytes(1000)).subarray(0, 800)))];
  assert.throws(() => cut[0]!.read(), hasCode('E_IMAGE_TRUNCATED'));
});

function ar(...members: readonly (readonly [string, Uint8Array])[]): Uint8Array {
  const parts = members.flatMap(([name, data]) => [
    bytesOf(
      `${name.padEnd(16)}${'0'.padEnd(12)}${'0'.padEnd(6)}${'0'.padEnd(6)}${'100644'.padEnd(8)}${String(data.length).padEnd(10)}\`\n`,
    ),
    data,
    data.length % 2 ? bytesOf('\n') : NONE,
  ]);
  return concat(bytesOf('!<arch>\n'), ...parts);
}

test('ar: members, odd sizes, damage', () => {
  const archive = ar(['debian-binary', bytesOf('2.0\n')], ['odd/', bytesOf('abc')], ['last', bytesOf('z')]);
  assert.deepEqual(
    [...readAr(archive)].map(({ name, data }) => `${name}=${Buffer.from(data)}`),
    ['debian-binary=2.0\n', 'odd=abc', 'last=z'],
  );
  fuzz(archive, 32, 500, bytes => [...readAr(bytes)]);
});

test('deb: every packing of the data part', () => {
  const tar = concat(tarEntry('./bin/', NONE, '5'), tarEntry('./bin/tool', sampleBytes(3000)), END);
  const packings: Record<string, Uint8Array | undefined> = {
    'data.tar': tar,
    'data.tar.gz': gzipSync(tar),
    'data.tar.zst': zstdCompressSync(tar),
    'data.tar.xz': tool(['xz', '-c'], tar),
  };
  for (const [name, data] of Object.entries(packings)) {
    if (!data) continue;
    const deb = ar(['debian-binary', bytesOf('2.0\n')], ['control.tar.gz', gzipSync(END)], [name, data]);
    assert.deepEqual(fileFromDeb(deb, path => path === 'bin/tool')?.data, sampleBytes(3000), name);
    assert.equal(
      fileFromDeb(deb, () => false),
      undefined,
    );
    fuzz(deb, 33, 100, bytes => [...readDeb(bytes)].map(entry => entry.read()));
  }
  assert.throws(() => fileFromDeb(ar(['x', NONE]), () => true), hasCode('E_IMAGE_CORRUPT'));
  assert.throws(
    () => fileFromDeb(ar(['debian-binary', bytesOf('2.0\n')]), () => true),
    hasCode('E_IMAGE_CORRUPT'),
  );
});

const ENTRIES: CpioEntry[] = [
  { type: 'directory', name: 'dev', mode: 0o755 },
  { type: 'char-device', name: 'dev/console', mode: 0o600, major: 5, minor: 1 },
  { type: 'file', name: 'init', mode: 0o755, data: sampleBytes(1001) },
  { type: 'file', name: 'empty', mode: 0o644, data: NONE },
  { type: 'symlink', name: 'bin/sh', target: 'busybox' },
];

test('cpio: what is written is read', () => {
  const archive = writeCpio(ENTRIES);
  assert.deepEqual([...readCpio(archive)], ENTRIES);
  const joined = joinCpio(archive, writeCpio([{ type: 'directory', name: 'more', mode: 0o700 }]));
  assert.equal([...readCpio(joined)].length, ENTRIES.length + 1);
  fuzz(archive, 34, 500, bytes => [...readCpio(bytes)]);
});

test('cpio: other tools read it', {
  skip: tool(['cpio', '--version'], NONE) ? false : 'cpio is not installed',
}, () => {
  const listing = Buffer.from(tool(['cpio', '-t', '--quiet'], writeCpio(ENTRIES))!).toString();
  assert.equal(listing, 'dev\ndev/console\ninit\nempty\nbin/sh\n');
});
