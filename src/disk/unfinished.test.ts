/** What a killed process leaves beside a disk, in files of the host. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, linkSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { nodeBlockFiles } from '../platform/node/block-files.ts';
import { nodeDiskHost } from '../toolstack/disk-host.ts';
import { createImage } from './create.ts';
import { openDisk } from './open.ts';

const FIXTURE = fileURLToPath(new URL('./killed-snapshot.fixture.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'domus-unfinished-'));
after(() => rmSync(folder, { recursive: true }));
const file = (name: string) => join(folder, name);
const images = () => readdirSync(folder).filter(name => name.includes('.vhd') && !name.includes('lock'));

test('a snapshot whose moment did not come is gone when the disk is opened; other names of the disk and copies of it stay', async () => {
  const host = nodeDiskHost();
  const path = file('disk.vhd');
  await createImage(host, path, { format: 'vhd', sizeBytes: 4 << 20 });
  const { signal, stderr } = spawnSync(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', FIXTURE, path, file('snapshot.vhd')],
    { encoding: 'utf8', timeout: 60_000 },
  );
  assert.equal(signal, 'SIGKILL', stderr);
  assert.ok(images().includes('snapshot.vhd') && images().some(name => name.startsWith('disk.vhd.tmp-')));
  assert.ok(await nodeBlockFiles.isSame(path, file('snapshot.vhd')));
  linkSync(path, file('second.vhd'));
  copyFileSync(path, file('copy.vhd'));
  const reader = await openDisk(host, path, { isReadOnly: true });
  await reader.close();
  assert.ok(images().includes('snapshot.vhd'), 'who only reads changes nothing');

  const disk = await openDisk(host, path);
  await disk.close();
  assert.deepEqual(images().sort(), ['copy.vhd', 'disk.vhd', 'second.vhd']);
  assert.ok(!(await nodeBlockFiles.isSame(path, file('copy.vhd'))));
  assert.ok(!(await nodeBlockFiles.isSame(file('none.vhd'), file('none.vhd'))));
});
