import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { DomusError } from '../base/errors.ts';
import { Elf64Header, Elf64SectionHeader } from './elf/structures.ts';
import {
  type KernelModule,
  moduleDependencies,
  modulesFromDeb,
  packModules,
  unpackModules,
} from './modules.ts';

/** An ELF file with a `.modinfo` section. */
function moduleFile(depends: string): Uint8Array {
  const info = new TextEncoder().encode(`license=GPL\0depends=${depends}\0name=x\0`);
  const names = new TextEncoder().encode('\0.modinfo\0.shstrtab\0');
  const infoAt = Elf64Header.size;
  const namesAt = infoAt + info.length;
  const tableAt = Math.ceil((namesAt + names.length) / 8) * 8;
  const bytes = new Uint8Array(tableAt + 3 * Elf64SectionHeader.size);
  bytes.set(info, infoAt);
  bytes.set(names, namesAt);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  const view = new DataView(bytes.buffer);
  view.setUint16(16, 1, true);
  view.setUint16(18, 62, true);
  view.setUint32(20, 1, true);
  view.setUint32(40, tableAt, true);
  view.setUint16(52, Elf64Header.size, true);
  view.setUint16(58, Elf64SectionHeader.size, true);
  view.setUint16(60, 3, true);
  view.setUint16(62, 2, true);
  const section = (index: number, name: number, type: number, at: number, size: number) => {
    const base = tableAt + index * Elf64SectionHeader.size;
    view.setUint32(base, name, true);
    view.setUint32(base + 4, type, true);
    view.setUint32(base + 24, at, true);
    view.setUint32(base + 32, size, true);
  };
  section(1, 1, 1, infoAt, info.length);
  section(2, 10, 3, namesAt, names.length);
  return bytes;
}

function tarEntry(name: string, data: Uint8Array): Uint8Array {
  const header = Buffer.alloc(512);
  header.write(`./${name}`);
  header.write('0000644\0', 100);
  header.write(`${data.length.toString(8).padStart(11, '0')}\0`, 124);
  header.write('        0', 148);
  const sum = header.reduce((a, b) => a + b, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return Buffer.concat([header, data, Buffer.alloc((512 - (data.length % 512)) % 512)]);
}

function deb(files: Readonly<Record<string, Uint8Array>>): Uint8Array {
  const entries = Object.entries(files).map(([name, data]) => tarEntry(name, data));
  const tar = gzipSync(Buffer.concat([...entries, Buffer.alloc(1024)]));
  const member = (title: string, body: Uint8Array): Buffer =>
    Buffer.concat([
      Buffer.from(`${title.padEnd(48)}${String(body.length).padEnd(10)}\`\n`),
      body,
      Buffer.alloc(body.length % 2),
    ]);
  return Buffer.concat([
    Buffer.from('!<arch>\n'),
    member('debian-binary', new TextEncoder().encode('2.0\n')),
    member('data.tar.gz', tar),
  ]);
}

const BASE = 'lib/modules/6.1.0-1-amd64';
const PACKAGE = deb({
  [`${BASE}/kernel/lib/crc16.ko`]: moduleFile(''),
  [`${BASE}/kernel/fs/jbd2/jbd2.ko`]: moduleFile('crc32c_generic'),
  [`${BASE}/kernel/fs/ext4/ext4.ko`]: moduleFile('mbcache,jbd2,crc16'),
  [`${BASE}/kernel/fs/broken.ko`]: moduleFile('no_such'),
  [`${BASE}/kernel/fs/mbcache.ko`]: moduleFile(''),
  [`${BASE}/kernel/drivers/net/xen-netfront.ko`]: gzipSync(moduleFile('')),
  [`${BASE}/modules.builtin`]: new TextEncoder().encode(
    'kernel/crypto/crc32c_generic.ko\nkernel/net/ipv6.ko\n',
  ),
});

test('a module names what it needs', () => {
  assert.deepEqual(moduleDependencies(moduleFile('a-b,c')), ['a_b', 'c']);
  assert.deepEqual(moduleDependencies(moduleFile('')), []);
});

const namesOf = (modules: readonly KernelModule[] | undefined) => modules?.map(({ name }) => name);

test('modules come with what they need, each behind it; what is built in needs none', () => {
  const modules = modulesFromDeb(PACKAGE, ['ext4', 'xen-netfront', 'ipv6']);
  const names = namesOf(modules.get('ext4'))!;
  assert.deepEqual([...names].sort(), ['crc16', 'ext4', 'jbd2', 'mbcache']);
  assert.equal(names.at(-1), 'ext4');
  assert.deepEqual(namesOf(modules.get('ipv6')), []);
  assert.deepEqual(namesOf(modules.get('xen-netfront')), ['xen_netfront']);
  assert.deepEqual(modules.get('xen-netfront')?.[0]?.contents, moduleFile(''), 'unpacked');
});

test('a kernel without a module says so, unless it was not really wanted', () => {
  for (const missing of ['no-such', 'broken'])
    assert.throws(
      () => modulesFromDeb(PACKAGE, ['xen-netfront', missing]),
      (error: unknown) =>
        error instanceof DomusError && error.code === 'E_MODULE_MISSING' && /no_such/.test(error.message),
    );
  const modules = modulesFromDeb(PACKAGE, ['xen-netfront'], ['no-such', 'broken', 'mbcache']);
  assert.deepEqual([...modules.keys()], ['xen-netfront', 'mbcache']);
});

test('modules go through the cache unchanged and in order', () => {
  const modules = modulesFromDeb(PACKAGE, ['ext4']).get('ext4')!;
  assert.deepEqual(
    unpackModules(packModules(modules)).map(({ name, contents }) => [name, new Uint8Array(contents)]),
    modules.map(({ name, contents }) => [name, new Uint8Array(contents)]),
  );
});
