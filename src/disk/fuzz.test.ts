/** Damaged and hostile images: an error of ours or a disk, within bounds; never anything else. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DomusError } from '../base/errors.ts';
import { checkImage } from './check.ts';
import { createImage } from './create.ts';
import { openDisk } from './open.ts';
import { snapshotDisk } from './snapshot.ts';
import { type Chance, chance, simulatedHost } from './testing.fixture.ts';
import { DynamicHeader, FOOTER_BYTES, Footer, HEADER_BYTES, sealFooter, sealHeader } from './vhd/layout.ts';

const SIZE = 256 * 1024;
const INTERESTING = [0, 1, 0x7f, 0x80, 0xff];

async function images(): Promise<{ parent: Uint8Array; child: Uint8Array }> {
  const host = simulatedHost();
  await createImage(host, '/d/disk.vhd', { format: 'vhd', sizeBytes: SIZE, blockBytes: 16 * 1024 });
  const disk = await openDisk(host, '/d/disk.vhd');
  await disk.write(0, chance(1).bytes(SIZE / 2));
  await snapshotDisk(host, disk, '/d/parent.vhd');
  await disk.write(4096, chance(2).bytes(SIZE / 4));
  await disk.close();
  return { parent: host.files.bytes('/d/parent.vhd'), child: host.files.bytes('/d/disk.vhd') };
}

/** Change some bytes of the structures; half of the time with checksums that are right again. */
function damage(bytes: Uint8Array, { below }: Chance): void {
  const structures = [
    [0, FOOTER_BYTES],
    [512, HEADER_BYTES],
    [1536, 64 + below(bytes.length > 8192 ? 2048 : 64)],
    [bytes.length - FOOTER_BYTES, FOOTER_BYTES],
  ] as const;
  for (let count = 1 + below(4); count > 0; count--) {
    const [start, length] = structures[below(structures.length)] as readonly [number, number];
    const fields = start === 512 ? Object.values(DynamicHeader.offsets) : Object.values(Footer.offsets);
    const inside = below(2) === 0 ? below(length) : (fields[below(fields.length)] as number) + below(8);
    const at = start + Math.min(inside, length - 1);
    bytes[at] = below(2) === 0 ? below(256) : (INTERESTING[below(INTERESTING.length)] as number);
  }
  if (below(2) === 0) return;
  for (const start of [0, bytes.length - FOOTER_BYTES])
    sealFooter(bytes.subarray(start, start + FOOTER_BYTES));
  sealHeader(bytes.subarray(512, 512 + HEADER_BYTES));
}

test('damaged VHD structures never lead to anything but a disk or an error of ours', async () => {
  const { parent, child } = await images();
  let opened = 0;
  let refused = 0;
  for (let seed = 1; seed <= 3000; seed++) {
    const rng = chance(seed);
    const host = simulatedHost(seed);
    const files = { parent: parent.slice(), child: child.slice() };
    if (rng.below(3) > 0) damage(files.child, rng);
    else damage(files.parent, rng);
    if (rng.below(20) === 0) files.child = files.child.slice(0, rng.below(files.child.length));
    host.files.put('/d/parent.vhd', files.parent);
    host.files.put('/d/disk.vhd', files.child);
    try {
      const disk = await openDisk(host, '/d/disk.vhd', { format: 'vhd' });
      opened += 1;
      assert.ok(disk.sizeBytes <= 2 ** 41);
      const length = Math.min(disk.sizeBytes, 1 << 17);
      await disk.read(0, new Uint8Array(length));
      await disk.read(disk.sizeBytes - 512, new Uint8Array(512));
      if (!disk.isReadOnly) {
        await disk.write(0, new Uint8Array(Math.min(4096, disk.sizeBytes)).fill(1));
        await disk.flush();
      }
      await disk.close();
    } catch (error) {
      assert.ok(error instanceof DomusError, `seed ${seed}: ${(error as Error).stack}`);
      refused += 1;
    }
    const repaired = await checkImage(host, '/d/disk.vhd', { format: 'vhd', repair: true }).catch(error => {
      assert.ok(error instanceof DomusError, `seed ${seed}: ${(error as Error).stack}`);
      return undefined;
    });
    // What a repair calls sound can be opened.
    if (repaired?.isSound) await (await openDisk(host, '/d/disk.vhd', { format: 'vhd' })).close();
  }
  assert.ok(opened > 300 && refused > 300, `${opened} opened, ${refused} refused`);
});

test('chains that come back to themselves, or name a file of the host, are refused', async () => {
  const { parent, child } = await images();
  const host = simulatedHost();
  // The child as its own parent: with the parent's identity.
  const loop = child.slice();
  loop.set(parent.subarray(68, 84), 68);
  sealFooter(loop.subarray(0, FOOTER_BYTES));
  host.files.put('/d/parent.vhd', loop);
  host.files.put('/d/disk.vhd', child);
  await assert.rejects(openDisk(host, '/d/disk.vhd'), { code: 'E_DISK_PARENT', message: /comes back/ });

  // No identity, and a raw file elsewhere.
  const anonymous = child.slice();
  anonymous.fill(0, 512 + 40, 512 + 56);
  const name = DynamicHeader.offsets.parentName;
  const locators = DynamicHeader.offsets.locators;
  anonymous.fill(0, 512 + name, 512 + name + 512);
  const view = new DataView(anonymous.buffer);
  const at = Number(view.getBigUint64(512 + locators + 16));
  const text = '..\\etc\\shadow';
  for (let i = 0; i < text.length; i++) view.setUint16(at + 2 * i, text.charCodeAt(i), true);
  view.setUint32(512 + locators + 8, 2 * text.length);
  anonymous.fill(0, 512 + locators + 24, 512 + locators + 192);
  sealHeader(anonymous.subarray(512, 512 + HEADER_BYTES));
  host.files.put('/etc/shadow', new Uint8Array(SIZE));
  host.files.put('/d/disk.vhd', anonymous);
  await assert.rejects(openDisk(host, '/d/disk.vhd'), {
    code: 'E_DISK_PARENT',
    message: /not in the folder/,
  });
});
