/** How a Debian is chosen, fetched and unpacked, with an apt that is made up; what dpkg itself makes of the records. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { sha256Hex } from '../../platform/node/native-codecs.ts';
import type { RunProgram } from '../apt.ts';
import { readDeb } from '../archive/deb.ts';
import { type ImageCache, openImageCache } from '../cache.ts';
import { hasCode, tool } from '../fuzz.fixture.ts';
import { type SampleEntry, tarOf } from '../oci/sample.fixture.ts';
import { Ext4, type StoredFile } from '../rootfs/ext4/file-system.ts';
import { FileTree } from '../rootfs/tree.ts';
import { openDebian } from '../source/debian.ts';
import { DpkgDatabase } from './dpkg-database.ts';

let folder = '';
let cache: ImageCache;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'domus-bootstrap-'));
  cache = openImageCache(join(folder, 'cache'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const bytesOf = (text: string) => new TextEncoder().encode(text);

function deb(control: readonly SampleEntry[], data: readonly SampleEntry[]): Uint8Array {
  const member = (title: string, body: Uint8Array) =>
    Buffer.concat([
      Buffer.from(`${title.padEnd(48)}${String(body.length).padEnd(10)}\`\n`),
      body,
      Buffer.alloc(body.length % 2),
    ]);
  return Buffer.concat([
    Buffer.from('!<arch>\n'),
    member('debian-binary', bytesOf('2.0\n')),
    member('control.tar.gz', gzipSync(tarOf(control))),
    member('data.tar.gz', gzipSync(tarOf(data))),
  ]);
}

const control = (name: string, more = '') =>
  `Package: ${name}\nVersion: 1:2-3\nArchitecture: amd64\nMaintainer: A <a@example.org>\nDescription: x\n y\n${more}`;

const PACKAGES: Readonly<Record<string, Uint8Array>> = {
  'base-files': deb(
    [
      { name: './control', data: control('base-files') },
      { name: './conffiles', data: '/etc/issue\n' },
      { name: './preinst', data: '#!/bin/sh\n', mode: 0o755 },
    ],
    [
      { name: './', type: '5', mode: 0o755 },
      { name: './bin/', type: '5', mode: 0o755 },
      { name: './bin/su', data: 'su', mode: 0o4755, uid: 0, gid: 42 },
      { name: './etc/', type: '5', mode: 0o755 },
      { name: './etc/issue', data: 'hello\n' },
    ],
  ),
  libc6: deb(
    [
      { name: './control', data: control('libc6', 'Multi-Arch: same\n') },
      {
        name: './triggers',
        data: 'interest-noawait ldconfig\ninterest /usr/lib/x\nactivate-noawait other\n',
      },
    ],
    [{ name: './lib/libc.so', data: 'libc' }],
  ),
};

/** An apt that has a suite with these packages; `tamper` changes what it downloads. */
function fakeApt(targets: string, tamper = (file: Uint8Array) => file) {
  const calls: string[][] = [];
  const run: RunProgram = async command => {
    const words = command.filter(word => word !== '-q');
    const [program, , configuration = '', ...rest] = words;
    calls.push([program!, ...rest]);
    const ok = (stdout = '') => ({ code: 0, stdout, stderr: '' });
    if (rest[0] === 'indextargets') return ok(targets);
    if (program === 'apt-config') {
      return ok(
        'Acquire::http::Proxy "http://10.0.0.1:3142/";\nAcquire::https::Proxy "http://u:p@h/";\n' +
          'Acquire::Check-Date "false";\nDir "/";\nAcquire::Retries "";\n',
      );
    }
    if (rest[0] === 'update') return ok();
    if (rest[0] === '--simulate') {
      return ok(
        Object.keys(PACKAGES)
          .map(name => `Inst ${name} (1:2-3 Debian:12/stable [amd64])\n`)
          .join(''),
      );
    }
    if (program === 'apt-cache') {
      return ok(
        Object.entries(PACKAGES)
          .map(
            ([name, file]) =>
              `Package: ${name}\nVersion: 1:2-3\nSize: ${file.length}\nSHA256: ${sha256Hex(file)}\n\n`,
          )
          .join(''),
      );
    }
    for (const [name, file] of Object.entries(PACKAGES)) {
      const archives = join(dirname(configuration), 'cache/archives');
      writeFileSync(join(archives, `${name}_1%3a2-3_amd64.deb`), tamper(file));
    }
    return ok();
  };
  return { run, calls };
}

const TARGETS =
  'http://other.example/ main Other\nhttp://u:secret@deb.example/debian/ main Debian\n' +
  'http://deb.example/debian/ contrib Debian\nhttp://deb.example/debian/ main Debian\n' +
  'http://deb.example/security/ main Debian-Security\n';

test('a Debian from packages: chosen, checked, unpacked, and dpkg believes it', async () => {
  const { run, calls } = fakeApt(TARGETS);
  const source = await openDebian({ cache, suite: '12', include: ['gcc'], run });
  assert.match(source.identity, /^debian bookworm [0-9a-f]{64}$/);
  const install = calls.find(words => words[1] === '--simulate')!;
  for (const word of ['?essential', 'apt', 'usr-is-merged', 'gcc']) assert.ok(install.includes(word), word);

  const written = new Map<StoredFile, Uint8Array>();
  const facts = { uuid: new Uint8Array(16), hashSeed: new Uint8Array(16), label: '', time: 0 };
  const fs = new Ext4({ write: () => {} }, { sizeBytes: 256 << 20, ...facts });
  const store = fs.store.bind(fs);
  fs.store = async (size, chunks) => {
    const parts: Uint8Array[] = [];
    for await (const chunk of chunks) parts.push(chunk.slice());
    const stored = await store(size, parts);
    written.set(stored, Buffer.concat(parts));
    return stored;
  };
  const tree = new FileTree<StoredFile>();
  await source.fill(fs, tree);
  const read = (path: string): string => {
    const node = tree.find(path);
    assert.equal(node?.kind, 'file', path);
    return node.kind === 'file' ? new TextDecoder().decode(written.get(node.contents)) : '';
  };
  assert.equal(tree.find('bin')?.kind, 'symlink');
  assert.deepEqual(
    { ...tree.find('usr/bin/su')!.attributes, mtime: 0, xattrs: 0 },
    {
      mode: 0o4755,
      uid: 0,
      gid: 42,
      mtime: 0,
      xattrs: 0,
    },
  );
  assert.equal(read('lib/libc.so'), 'libc');
  assert.equal(tree.find('etc/issue'), undefined);
  assert.equal(read('etc/issue.dpkg-new'), 'hello\n');
  assert.equal(
    read('etc/apt/sources.list.d/debian.sources').replace(/^Signed-By.*\n/gm, ''),
    'Types: deb\nURIs: http://deb.example/debian/\nSuites: bookworm bookworm-updates\nComponents: main\n\n' +
      'Types: deb\nURIs: http://deb.example/security/\nSuites: bookworm-security\nComponents: main\n',
  );
  const settings = read('etc/apt/apt.conf.d/90domus');
  assert.match(settings, /^Acquire::http::Proxy "http:\/\/10\.0\.0\.1:3142\/";$/m);
  assert.match(settings, /^Acquire::Check-Date "false";$/m);
  assert.doesNotMatch(settings, /u:p@h|Retries|^Dir/m);
  assert.equal(read('var/lib/dpkg/triggers/ldconfig'), 'libc6/noawait\n');
  assert.equal(read('var/lib/dpkg/triggers/File'), '/usr/lib/x libc6\n');
  assert.equal(read('var/lib/dpkg/info/base-files.list'), '/.\n/bin\n/bin/su\n/etc\n/etc/issue\n');
  assert.match(source.finishing!(), /^preinst 'base-files' 'base-files'$/m);
});

test('a Debian: what goes wrong', async () => {
  const open = (suite: string, run: RunProgram, include: readonly string[] = []) =>
    openDebian({ cache, suite, include, run });
  await assert.rejects(
    open('12', fakeApt('http://other.example/ main Other\n').run),
    hasCode('E_DEBIAN_SOURCES'),
  );
  await assert.rejects(open('99', fakeApt(TARGETS).run), hasCode('E_DEBIAN_SUITE'));
  await assert.rejects(open('12', fakeApt(TARGETS).run, ['-o', 'x']), hasCode('E_PACKAGE_UNKNOWN'));
  await assert.rejects(
    open('12', async () => undefined),
    hasCode('E_NO_PACKAGE_CLIENT'),
  );
  const tampered = fakeApt(TARGETS, file => file.map((byte, i) => (i === 200 ? byte ^ 1 : byte)));
  const source = await open('12', tampered.run);
  const facts = { uuid: new Uint8Array(16), hashSeed: new Uint8Array(16), label: '', time: 0 };
  const fs = new Ext4({ write: () => {} }, { sizeBytes: 256 << 20, ...facts });
  await assert.rejects(source.fill(fs, new FileTree<StoredFile>()), hasCode('E_PACKAGE_HASH'));
});

/** As dpkg-query writes fields. */
const field = (name: string) => `$${'{'}${name}}`;

test('dpkg reads the records', {
  skip: tool(['dpkg-query', '--version'], new Uint8Array(0)) ? false : 'no dpkg',
}, () => {
  const database = new DpkgDatabase();
  for (const file of Object.values(PACKAGES))
    database.addList(database.add(readDeb(file, 'control')), ['/etc']);
  for (const { path, contents } of database.files()) {
    const name = join(folder, path);
    mkdirSync(dirname(name), { recursive: true });
    writeFileSync(name, contents);
  }
  const admin = `--admindir=${join(folder, 'var/lib/dpkg')}`;
  const query = (...words: string[]) =>
    new TextDecoder().decode(tool(['dpkg-query', admin, ...words], new Uint8Array(0)));
  assert.equal(
    query('-W', '-f', `${field('binary:Package')} ${field('Version')} ${field('Status')}\n`),
    'base-files 1:2-3 install ok unpacked\nlibc6:amd64 1:2-3 install ok unpacked\n',
  );
  assert.equal(query('-W', '-f', field('Conffiles'), 'base-files'), ' /etc/issue newconffile');
  assert.equal(query('-L', 'libc6'), '/.\n/etc\n');
  assert.match(readFileSync(join(folder, 'var/lib/dpkg/info/base-files.preinst'), 'utf8'), /^#!/);
});
