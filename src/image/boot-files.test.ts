import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { loadInitrd, loadKernel, loadUserland } from './boot-files.ts';
import { openImageCache } from './cache.ts';
import { hasCode } from './fuzz.fixture.ts';

const folder = mkdtempSync(join(tmpdir(), 'domus-boot-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const cache = openImageCache(join(folder, 'cache'));
const run = async () => undefined;
const ELF = Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1, 1);

test('a kernel by file, by bytes, by package', async () => {
  const path = join(folder, 'vmlinux.gz');
  writeFileSync(path, gzipSync(ELF));
  assert.deepEqual((await loadKernel({ cache, run }, path)).elf, ELF);
  assert.equal((await loadKernel({ cache, run }, path)).origin, path);
  assert.deepEqual((await loadKernel({ cache, run }, ELF)).elf, ELF);
  await cache.store(
    'linux-image-1-amd64',
    { package: 'linux-image-1.2-amd64', version: '1.2-3', file: 'boot/vmlinuz' },
    ELF,
  );
  assert.equal(
    (await loadKernel({ cache, run }, 'linux-image-1-amd64')).origin,
    'linux-image-1.2-amd64 1.2-3',
  );
  await assert.rejects(loadKernel({ cache, run }), hasCode('E_NO_PACKAGE_CLIENT'));
});

test('files that cannot be read', async () => {
  await assert.rejects(
    loadKernel({ cache, run }, join(folder, 'none')),
    /cannot read the kernel .*: there is no such file/,
  );
  await assert.rejects(loadKernel({ cache, run }, folder), /it is a folder/);
  await assert.rejects(loadInitrd(join(folder, 'none')), hasCode('E_IMAGE_FILE'));
  assert.deepEqual(await loadInitrd(ELF), ELF);
  await assert.rejects(loadUserland({ cache, run }), hasCode('E_NO_PACKAGE_CLIENT'));
});
