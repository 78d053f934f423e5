import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { readKernel } from './bzimage.ts';
import { openImageCache } from './cache.ts';
import { fuzz, hasCode, sampleBytes, tool } from './fuzz.fixture.ts';

const ELF = Uint8Array.from([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, ...sampleBytes(40_000)]);
const VERSION = '6.1.0-test (someone@example) #1 SMP';

/** A bzImage around `payload`, as the kernel's build lays it out. */
function bzImage(payload: Uint8Array, setupSectors = 4): Uint8Array {
  const setupBytes = (setupSectors + 1) * 512;
  const payloadOffset = 0x100;
  const file = new Uint8Array(setupBytes + payloadOffset + payload.length + 64);
  const view = new DataView(file.buffer);
  view.setUint8(0x1f1, setupSectors);
  view.setUint16(0x1fe, 0xaa55, true);
  view.setUint32(0x202, 0x5372_6448, true);
  view.setUint16(0x206, 0x20f, true);
  view.setUint16(0x20e, 0x300, true);
  new TextEncoder().encodeInto(VERSION, file.subarray(0x500));
  view.setUint32(0x248, payloadOffset, true);
  view.setUint32(0x24c, payload.length, true);
  file.set(payload, setupBytes + payloadOffset);
  return file;
}

/** Packed data with the unpacked size behind them. */
function sized(packed: Uint8Array, size = ELF.length): Uint8Array {
  const bytes = new Uint8Array(packed.length + 4);
  bytes.set(packed);
  new DataView(bytes.buffer).setUint32(packed.length, size, true);
  return bytes;
}

const payloads: Record<string, Uint8Array | undefined> = {
  none: ELF,
  gzip: gzipSync(ELF),
  zstd: sized(zstdCompressSync(ELF)),
  xz: tool(['xz', '-c', '--check=crc32', '--x86', '--lzma2'], ELF),
  lzma: tool(['xz', '-c', '--format=lzma'], ELF),
  lz4: tool(['lz4', '-c', '-l'], ELF),
};
for (const name of ['xz', 'lzma', 'lz4']) {
  const packed = payloads[name];
  if (packed) payloads[name] = sized(packed);
}

for (const [compression, payload] of Object.entries(payloads)) {
  test(`bzImage with ${compression}`, { skip: payload ? false : `no tool for ${compression}` }, () => {
    const kernel = readKernel(bzImage(payload!));
    assert.equal(kernel.format, 'bzImage');
    assert.equal(kernel.compression, compression);
    assert.equal(kernel.version, VERSION);
    assert.ok(Buffer.from(kernel.elf).equals(ELF));
    fuzz(bzImage(payload!), 21, 60, bytes => readKernel(bytes, 1 << 20));
  });
}

test('an ELF image, plain and packed', () => {
  assert.equal(readKernel(ELF).format, 'elf');
  const packed = readKernel(gzipSync(ELF));
  assert.equal(packed.compression, 'gzip');
  assert.ok(Buffer.from(packed.elf).equals(ELF));
});

test('what is no kernel', () => {
  const notKernel = hasCode('E_IMAGE_NOT_KERNEL');
  assert.throws(() => readKernel(new Uint8Array(0)), notKernel);
  assert.throws(() => readKernel(new TextEncoder().encode('#!/bin/sh\n')), notKernel);
  assert.throws(() => readKernel(gzipSync('just text')), notKernel);
  assert.throws(() => readKernel(bzImage(gzipSync('just text'))), notKernel);
  assert.throws(() => readKernel(bzImage(new Uint8Array(0))), notKernel);
  const old = bzImage(ELF);
  new DataView(old.buffer).setUint16(0x206, 0x203, true);
  assert.throws(() => readKernel(old), notKernel);
});

test('what is a kernel, but damaged or strange', () => {
  const file = bzImage(gzipSync(ELF));
  assert.throws(() => readKernel(file.subarray(0, file.length - 2000)), hasCode('E_IMAGE_TRUNCATED'));
  assert.throws(() => readKernel(file.subarray(0, 0x220)), hasCode('E_IMAGE_TRUNCATED'));
  assert.throws(() => readKernel(bzImage(sampleBytes(500))), hasCode('E_IMAGE_UNSUPPORTED'));
  assert.throws(
    () => readKernel(bzImage(Uint8Array.from([0x42, 0x5a, 0x68, ...sampleBytes(500)]))),
    hasCode('E_IMAGE_UNSUPPORTED'),
  );
  assert.throws(() => readKernel(bzImage(sized(zstdCompressSync(ELF), 5))), hasCode('E_IMAGE_CORRUPT'));
  assert.throws(() => readKernel(file, 1000), hasCode('E_IMAGE_TOO_LARGE'));
});

const cache = openImageCache();
for (const name of await cache.names()) {
  // The modules of a kernel are cached under a name of several words.
  if (!name.startsWith('linux-image-') || name.includes('_')) continue;
  test(`the cached ${name}`, async () => {
    const kernel = readKernel((await cache.lookUp(name))!.contents);
    assert.equal(kernel.format, 'bzImage');
    assert.ok(kernel.elf.length > 10 << 20);
    assert.match(kernel.version, /^\d+\.\d+/);
  });
}
