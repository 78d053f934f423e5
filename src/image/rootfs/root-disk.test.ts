/** Children of a root that many are made of: it is opened once by who makes them. */
import assert from 'node:assert/strict';
import { linkSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { createImage } from '../../disk/create.ts';
import { openDisk } from '../../disk/open.ts';
import { nodeBlockFiles } from '../../platform/node/block-files.ts';
import { createNodeClock } from '../../platform/node/clock.ts';
import { nodeEntropy } from '../../platform/node/entropy.ts';
import { sealRootDisk } from './make-root.ts';
import { throwawayChild } from './root-disk.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'domus-root-disk-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('children of a root that is held: none opens it where it is, and it stays with who holds it', async () => {
  const opened: string[] = [];
  const open: typeof nodeBlockFiles.open = (path, mode) => {
    opened.push(path);
    return nodeBlockFiles.open(path, mode);
  };
  const host = { files: { ...nodeBlockFiles, open }, clock: createNodeClock(), entropy: nodeEntropy };
  const path = join(folder, 'root.vhd');
  await createImage(host, path, { format: 'vhd', sizeBytes: 64 << 20 });
  const written = await openDisk(host, path);
  await written.write(1 << 20, new Uint8Array(4096).fill(7));
  await written.close();
  await sealRootDisk(host, path);
  opened.length = 0;
  const root = await openDisk(host, path, { isReadOnly: true, format: 'vhd' });
  assert.deepEqual(opened, [path], 'of what is only read, and known, there is nothing to find out');

  const gather = async (_root: unknown, to: string) => {
    const second = join(to, 'second.vhd');
    linkSync(path, second);
    return second;
  };
  for (let i = 0; i < 2; i++) {
    opened.length = 0;
    const child = await throwawayChild(host, path, folder, { gather, root, format: 'vhd' });
    const disk = await child.open();
    const read = new Uint8Array(4096);
    await disk.read(1 << 20, read);
    assert.equal(read[0], 7);
    assert.deepEqual(opened, [disk.path], 'only what is its own');
    assert.deepEqual(disk.layers.slice(1), root.layers);
    await disk.close();
    const again = await child.open();
    assert.deepEqual(again.layers.slice(1), root.layers);
    await again.close();
    await child.remove();
  }
  await root.read(1 << 20, new Uint8Array(4096));
  assert.ok(!root.isClosed);
  await root.close();
  assert.deepEqual(readdirSync(folder), [basename(path)], 'locks and children are gone');
});
