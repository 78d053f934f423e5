import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { closeRandom, identityOf, openRandom, readInPool } from './random-files.ts';

const folder = mkdtempSync(join(tmpdir(), 'domus-random-'));
after(() => rmSync(folder, { recursive: true }));

test('the pool reads what a file has to shared memory, and says when it ends before', async () => {
  const contents = Uint8Array.from({ length: 300_001 }, (_, i) => (i * 7) >> 3);
  writeFileSync(join(folder, 'file'), contents);
  const file = openRandom(join(folder, 'file'));
  for (const [position, length, isThere] of [
    [0, contents.length, true],
    [5, 131_072, true],
    [5, 0, true],
    [5, contents.length, false],
  ] as const) {
    const read = new Uint8Array(new SharedArrayBuffer(length));
    assert.equal(await readInPool(file.fd, read, position), isThere);
    if (isThere)
      assert.deepEqual(Buffer.from(read), Buffer.from(contents.subarray(position, position + length)));
  }
  closeRandom(file);
  const unreadable = openRandom(folder);
  assert.equal(await readInPool(unreadable.fd, new Uint8Array(1), 0), false);
  closeRandom(unreadable);
});

test('a file has an identity of its own, whatever its name and its time of change', () => {
  const identities = ['one', 'two', 'one'].map(name => {
    writeFileSync(join(folder, name), name);
    const file = openRandom(join(folder, name));
    const identity = identityOf(file);
    closeRandom(file);
    return identity;
  });
  const [one, two, again] = identities;
  // A file system that does not note when files are made has none.
  if (one === undefined) return;
  assert.notDeepEqual(one, two);
  assert.deepEqual(again, one);
});
