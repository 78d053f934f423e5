import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fuzz, hasCode, sampleBytes, tool } from '../fuzz.fixture.ts';
import { crc64 } from './crc64.ts';
import { decodeLzmaAlone, looksLikeLzma } from './lzma-alone.ts';
import { decodeXz, isXz, openXz } from './xz.ts';

const LIMIT = 1 << 26;
const hasXz = tool(['xz', '--version'], new Uint8Array(0)) !== undefined;
const skip = hasXz ? false : 'the xz tool is not installed';
const xz = (input: Uint8Array, ...options: string[]): Uint8Array => tool(['xz', '-c', ...options], input)!;

/** Text whose code-like bytes exercise the branch filter. */
function codeLike(length: number): Uint8Array {
  const bytes = sampleBytes(length, 7);
  for (let at = 0; at + 5 < length; at += 3 + (bytes[at]! % 17)) {
    bytes[at] = 0xe8 | (bytes[at]! & 1);
    if (bytes[at + 2]! & 3) bytes[at + 4] = bytes[at + 3]! & 1 ? 0xff : 0;
  }
  return bytes;
}

test('a small stream that needs no tool', () => {
  // "domus domus domus domus\n" packed by xz 5.4 with CRC-64.
  const packed = Buffer.from(SMALL_XZ, 'base64');
  assert.ok(isXz(packed));
  assert.equal(Buffer.from(decodeXz(packed, LIMIT)).toString(), 'domus domus domus domus\n');
});

test('CRC-64 of the customary check string', () => {
  const [low, high] = crc64(new TextEncoder().encode('123456789'), 0, 9);
  assert.equal(high.toString(16) + low.toString(16), '995dc9bbdf1939fa');
});

for (const check of ['none', 'crc32', 'crc64', 'sha256']) {
  test(`checksum ${check}`, { skip }, () => {
    const input = sampleBytes(100_000);
    const packed = xz(input, `--check=${check}`);
    assert.deepEqual(decodeXz(packed, LIMIT), input);
    if (check === 'none') return;
    // The checksum ends before the index; damage it through the last byte before.
    const wrong = packed.slice();
    const indexBytes = (new DataView(packed.buffer).getUint32(packed.length - 8, true) + 1) * 4;
    wrong[packed.length - 12 - indexBytes - 1]! ^= 1;
    assert.throws(() => decodeXz(wrong, LIMIT), hasCode('E_IMAGE_CORRUPT'));
  });
}

test('literal and position settings, presets, stored chunks', { skip }, () => {
  const noise = new Uint8Array(70_000).map((_, i) => Math.imul(i ^ 0x5bd1e995, 0x9e3779b1) >>> 13);
  for (const input of [
    sampleBytes(150_000, 3),
    noise,
    new Uint8Array(0),
    Uint8Array.of(1),
    new Uint8Array(300_000),
  ]) {
    for (const options of [
      ['-0'],
      ['-9e'],
      ['--lzma2=lc=0,lp=4,pb=0'],
      ['--lzma2=lc=4,lp=0,pb=4,dict=4KiB'],
    ]) {
      assert.deepEqual(decodeXz(xz(input, ...options), LIMIT), input);
    }
  }
});

test('the x86 filter', { skip }, () => {
  for (const length of [0, 3, 4, 5, 6, 1000, 200_000]) {
    const input = codeLike(length);
    const packed = xz(input, '--x86', '--lzma2', '--check=crc32');
    assert.deepEqual(decodeXz(packed, LIMIT), input, `${length} bytes`);
  }
  const shifted = codeLike(5000);
  assert.deepEqual(decodeXz(xz(shifted, '--x86=start=4096', '--lzma2'), LIMIT), shifted);
});

test('several blocks, several streams, padding', { skip }, () => {
  const input = sampleBytes(200_000);
  assert.deepEqual(decodeXz(xz(input, '--block-size=30000', '-T1'), LIMIT), input);
  const one = xz(input.subarray(0, 1000));
  const two = xz(input.subarray(1000));
  const both = new Uint8Array([...one, 0, 0, 0, 0, ...two]);
  assert.deepEqual(decodeXz(both, LIMIT), input);
});

test('unpacks only as far as asked', { skip }, () => {
  const input = sampleBytes(6 << 20);
  const packed = xz(input, '-1');
  // Whatever is broken further on is not looked at.
  packed.fill(0xa5, packed.length >> 1);
  const source = openXz(packed, LIMIT);
  assert.ok(source.ensure(1000));
  assert.deepEqual(source.bytes.slice(0, 1000), input.slice(0, 1000));
  assert.ok(source.length < input.length / 2);
  assert.throws(() => source.ensure(input.length), hasCode('E_IMAGE_CORRUPT'));
});

test('limits and other filters are refused', { skip }, () => {
  const input = new Uint8Array(1 << 20);
  assert.throws(() => decodeXz(xz(input), 1000), hasCode('E_IMAGE_TOO_LARGE'));
  assert.throws(() => decodeXz(xz(input, '--arm', '--lzma2'), LIMIT), hasCode('E_IMAGE_UNSUPPORTED'));
  assert.throws(() => decodeXz(xz(input, '--delta', '--lzma2'), LIMIT), hasCode('E_IMAGE_UNSUPPORTED'));
});

test('.lzma files', { skip }, () => {
  const input = sampleBytes(100_000);
  const packed = xz(input, '--format=lzma');
  assert.ok(looksLikeLzma(packed));
  // From a pipe the tool does not know the size: it writes an end marker.
  assert.deepEqual(decodeLzmaAlone(packed, LIMIT), input);
  const sized = packed.slice();
  new DataView(sized.buffer).setUint32(5, input.length, true);
  new DataView(sized.buffer).setUint32(9, 0, true);
  assert.deepEqual(decodeLzmaAlone(sized, LIMIT), input);
  assert.throws(() => decodeLzmaAlone(packed.subarray(0, 5000), LIMIT), hasCode('E_IMAGE_TRUNCATED'));
  fuzz(packed.subarray(0, 3000), 11, 150, bytes => decodeLzmaAlone(bytes, 1 << 18));
});

test('every truncation is noticed', () => {
  const packed = Buffer.from(SMALL_XZ, 'base64');
  for (let length = 0; length < packed.length; length++) {
    assert.throws(() => decodeXz(packed.subarray(0, length), LIMIT), /./);
  }
});

test('damaged data never do more than fail', () => {
  fuzz(Buffer.from(SMALL_XZ, 'base64'), 5, 2000, bytes => decodeXz(bytes, 1 << 20));
});

test('damaged data never do more than fail, with filter and blocks', { skip }, () => {
  fuzz(xz(codeLike(20_000), '--x86', '--lzma2'), 6, 200, bytes => decodeXz(bytes, 1 << 18));
  fuzz(xz(sampleBytes(20_000), '--block-size=3000', '--check=none'), 7, 200, bytes =>
    decodeXz(bytes, 1 << 18),
  );
});

const SMALL_XZ =
  '/Td6WFoAAATm1rRGAgAhARYAAAB0L+Wj4AAXAA1dADIbyfRfa2VuMVxMgAAAAAAAn3ewOdt9WrIAASkYlrKsdx+2830BAAAAAARZWg==';
