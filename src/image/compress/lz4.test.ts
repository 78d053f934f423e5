import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fuzz, hasCode, sampleBytes, tool } from '../fuzz.fixture.ts';
import { decodeLz4 } from './lz4.ts';
import { xxh32 } from './xxh32.ts';

const LIMIT = 1 << 26;
const skip = tool(['lz4', '--version'], new Uint8Array(0)) ? false : 'the lz4 tool is not installed';
const lz4 = (input: Uint8Array, ...options: string[]): Uint8Array => tool(['lz4', '-c', ...options], input)!;

/** One legacy frame with one block: 4 literals "abcd", a match of 8 at distance 4, 5 literals "EFGHI". */
const BLOCK = [0x44, 0x61, 0x62, 0x63, 0x64, 0x04, 0x00, 0x50, 0x45, 0x46, 0x47, 0x48, 0x49];
const LEGACY = Uint8Array.from([0x02, 0x21, 0x4c, 0x18, BLOCK.length, 0, 0, 0, ...BLOCK]);

test('XXH32 of known strings', () => {
  const hash = (text: string): string => xxh32(new TextEncoder().encode(text), 0, text.length).toString(16);
  assert.equal(hash(''), '2cc5d05');
  assert.equal(hash('abc'), '32d153ff');
  assert.equal(hash('Nobody inspects the spammish repetition'), 'e2293b2f');
});

test('a legacy frame by hand', () => {
  assert.equal(Buffer.from(decodeLz4(LEGACY, LIMIT)).toString(), 'abcdabcdabcdEFGHI');
});

test('what the tool packs, in both frames', { skip }, () => {
  for (const input of [
    sampleBytes(300_000),
    new Uint8Array(9 << 20),
    Uint8Array.of(9),
    sampleBytes(9 << 20, 4),
  ]) {
    for (const options of [['-l'], ['-1'], ['-9', '-BD'], ['-B4', '-BX', '--no-frame-crc'], ['-l', '-9']]) {
      const output = decodeLz4(lz4(input, ...options), LIMIT);
      assert.ok(Buffer.from(output).equals(input), `${input.length} bytes, ${options}`);
    }
  }
});

test('frames behind one another', { skip }, () => {
  const input = sampleBytes(5000);
  const both = new Uint8Array([...lz4(input, '-l'), ...lz4(input)]);
  assert.deepEqual(decodeLz4(both, LIMIT), new Uint8Array([...input, ...input]));
});

test('truncation, bad references, limits', () => {
  for (let length = 5; length < LEGACY.length; length++) {
    assert.throws(() => decodeLz4(LEGACY.subarray(0, length), LIMIT), hasCode('E_IMAGE_TRUNCATED'));
  }
  const far = LEGACY.slice();
  far[13] = 5;
  assert.throws(() => decodeLz4(far, LIMIT), hasCode('E_IMAGE_CORRUPT'));
  far[13] = 0;
  assert.throws(() => decodeLz4(far, LIMIT), hasCode('E_IMAGE_CORRUPT'));
  assert.throws(() => decodeLz4(LEGACY, 10), hasCode('E_IMAGE_CORRUPT'));
  assert.throws(() => decodeLz4(Uint8Array.of(1, 2, 3, 4, 5), LIMIT), hasCode('E_IMAGE_CORRUPT'));
});

test('checksums of the modern frame', { skip }, () => {
  const packed = lz4(sampleBytes(10_000), '-BX');
  for (const at of [4, 6, 20, packed.length - 1]) {
    const wrong = packed.slice();
    wrong[at]! ^= 0x10;
    assert.throws(() => decodeLz4(wrong, LIMIT), /./, `byte ${at}`);
  }
});

test('damaged data never do more than fail', () => {
  fuzz(LEGACY, 3, 2000, bytes => decodeLz4(bytes, 1 << 20));
});

test('damaged modern frames never do more than fail', { skip }, () => {
  fuzz(lz4(sampleBytes(20_000), '-BD'), 4, 300, bytes => decodeLz4(bytes, 1 << 20));
});
