import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { crc32 } from './checksum.ts';
import { closeRandom, openRandom, readPieces } from './random-files.ts';

const folder = mkdtempSync(join(tmpdir(), 'domus-pieces-'));
after(() => rmSync(folder, { recursive: true }));

test('pieces of a file are what it has, in order, up to where it ends', () => {
  const contents = Uint8Array.from({ length: 300_001 }, (_, i) => (i * 7) >> 3);
  writeFileSync(join(folder, 'file'), contents);
  const { fd, sizeBytes } = openRandom(join(folder, 'file'));
  for (const [position, length, isThere] of [
    [0, sizeBytes, true],
    [5, 131_072, true],
    [5, 0, true],
    [5, sizeBytes, false],
  ] as const) {
    const shown = new Uint8Array(length);
    let end = 0;
    let sum = 0;
    const isRead = readPieces(fd, position, length, (piece, from) => {
      assert.equal(from, end);
      shown.set(piece, from);
      sum = crc32(piece, sum);
      end += piece.length;
    });
    assert.equal(isRead, isThere);
    if (!isThere) continue;
    assert.equal(end, length);
    assert.deepEqual(shown, contents.subarray(position, position + length));
    assert.equal(sum, crc32(shown));
  }
  closeRandom({ fd, sizeBytes });
});
