import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { sha256Hex } from '../platform/node/native-codecs.ts';
import { type ProgramResult, runProgram } from '../platform/node/program.ts';
import { parseStanza, type RunProgram } from './apt.ts';
import { type ImageCache, openImageCache } from './cache.ts';
import {
  listKernelPackages,
  newestKernelPackage,
  obtainBusybox,
  obtainKernel,
  obtainModules,
} from './debian.ts';
import { hasCode, sampleBytes } from './fuzz.fixture.ts';
import { DEFAULT_KERNEL_PACKAGE } from './package-names.ts';

let folder = '';
let cache: ImageCache;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'domus-debian-'));
  cache = openImageCache(folder);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

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

function deb(name: string, data: Uint8Array, more: Readonly<Record<string, Uint8Array>> = {}): Uint8Array {
  const entries = Object.entries({ [name]: data, ...more }).map(entry => tarEntry(...entry));
  const tar = Buffer.concat([...entries, Buffer.alloc(1024)]);
  const member = (title: string, body: Uint8Array): Buffer =>
    Buffer.concat([
      Buffer.from(`${title.padEnd(48)}${String(body.length).padEnd(10)}\`\n`),
      body,
      Buffer.alloc(body.length % 2),
    ]);
  return Buffer.concat([
    Buffer.from('!<arch>\n'),
    member('debian-binary', bytesOf('2.0\n')),
    member('data.tar.gz', gzipSync(tar)),
  ]);
}

interface FakePackage {
  readonly version: string;
  readonly depends?: string;
  readonly file?: Uint8Array;
  readonly sha256?: string;
}

/** An apt with the packages of two sets of lists; the private ones are known after an update. */
function fakeApt(system: Record<string, FakePackage>, archive: Record<string, FakePackage> = system) {
  const calls: string[] = [];
  let updated = false;
  const ok = (stdout = ''): ProgramResult => ({ code: 0, stdout, stderr: '' });
  const no = (stderr: string): ProgramResult => ({ code: 100, stdout: '', stderr });
  const run: RunProgram = async (command, options) => {
    const [program, , , configuration, verb] = command as [string, string, string, string, string];
    assert.match(readFileSync(configuration, 'utf8'), /APT::Architecture "amd64"/);
    const isPrivate = configuration.endsWith('private.conf');
    const lists = isPrivate ? (updated ? archive : {}) : system;
    const target = command.at(-1)!;
    calls.push(`${program} ${isPrivate ? 'private' : 'system'} ${verb} ${target}`);
    if (verb === 'update') {
      updated = true;
      writeFileSync(join(folder, 'apt', 'lists', 'x_Packages'), '');
      return ok();
    }
    if (verb === 'pkgnames') return ok(Object.keys(lists).join('\n'));
    if (verb === 'show') {
      const found = lists[target];
      if (!found) return no(`N: Unable to locate package ${target}`);
      const sha256 = found.sha256 ?? (found.file ? sha256Hex(found.file) : '0'.repeat(64));
      return ok(
        `Package: ${target}\nVersion: ${found.version}\nDepends: ${found.depends ?? ''}\nDescription: x\n y: z\nSHA256: ${sha256}\n\n`,
      );
    }
    const [name, version] = target.split('=') as [string, string];
    const found = archive[name];
    if (!found?.file || found.version !== version) return no('W: odd\nE: Failed to fetch it  404  Not Found');
    writeFileSync(join(options!.folder!, `${name}.deb`), found.file);
    return ok();
  };
  return { run, calls };
}

const IMAGE = sampleBytes(9000);
const KERNEL: FakePackage = {
  version: '6.1.5-1',
  file: deb('boot/vmlinuz-6.1.5', IMAGE),
  depends: 'kmod, linux-base (>= 4)',
};
const META: FakePackage = { version: '6.1.5-1', depends: 'linux-image-6.1.5-cloud-amd64 (= 6.1.5-1)' };
const KERNELS = { [DEFAULT_KERNEL_PACKAGE]: META, 'linux-image-6.1.5-cloud-amd64': KERNEL };

test('the default kernel, through its meta-package; the second time without asking anybody', async () => {
  const apt = fakeApt(KERNELS);
  const phases: string[] = [];
  const kernel = await obtainKernel({ cache, run: apt.run, progress: phase => phases.push(phase) });
  assert.deepEqual(kernel.contents, IMAGE);
  assert.equal(kernel.package, 'linux-image-6.1.5-cloud-amd64');
  assert.equal(kernel.file, 'boot/vmlinuz-6.1.5');
  assert.equal(kernel.fromCache, false);
  assert.deepEqual(phases, ['resolve', 'download', 'unpack']);
  assert.ok(apt.calls.every(call => call.includes(' system ')));
  assert.deepEqual(readdirSync(join(folder, 'scratch')), []);

  const again = await obtainKernel({
    cache,
    run: () => assert.fail('the package client was started'),
    progress: () => assert.fail('there is nothing to wait for'),
  });
  assert.deepEqual(again, { ...kernel, fromCache: true });

  const refreshed = await obtainKernel({ cache, run: fakeApt(KERNELS).run, refresh: true });
  assert.equal(refreshed.fromCache, false);
});

test('drivers that may be wanted another time come with those that are', async () => {
  const base = 'lib/modules/6.1.5/kernel';
  const file = deb('boot/vmlinuz-6.1.5', IMAGE, {
    [`${base}/one.ko`]: bytesOf('1'),
    [`${base}/two.ko`]: bytesOf('2'),
    [`${base}/three.ko`]: bytesOf('3'),
  });
  const { run, calls } = fakeApt({
    [DEFAULT_KERNEL_PACKAGE]: META,
    'linux-image-6.1.5-cloud-amd64': { ...KERNEL, file },
  });
  const obtain = async (wanted: readonly string[], client: RunProgram = run) =>
    (await obtainModules({ cache, run: client }, wanted, undefined, ['two', 'none'])).map(({ name }) => name);
  const nobody: RunProgram = () => assert.fail('the package client was started');
  assert.deepEqual(await obtain(['one']), ['one']);
  assert.deepEqual(await obtain(['two', 'one'], nobody), ['two', 'one']);
  assert.equal((await obtainKernel({ cache, run: nobody })).fromCache, true);
  // What was not thought of is fetched, and what the kernel lacks is missed only where it is wanted.
  assert.deepEqual(await obtain(['three', 'two']), ['three', 'two']);
  await assert.rejects(obtain(['none']), { code: 'E_MODULE_MISSING' });
  assert.equal(calls.filter(call => call.includes(' download ')).length, 3);
});

test('two at the same time download once', async () => {
  const apt = fakeApt(KERNELS);
  const [a, b] = await Promise.all([
    obtainKernel({ cache, run: apt.run }),
    obtainKernel({ cache, run: apt.run }),
  ]);
  assert.deepEqual(a.contents, b.contents);
  assert.equal(apt.calls.filter(call => call.includes(' download ')).length, 1);
});

test('lists that are missing or too old are replaced by private ones', async () => {
  const missing = fakeApt({}, KERNELS);
  assert.equal((await obtainKernel({ cache, run: missing.run })).version, '6.1.5-1');
  assert.ok(missing.calls.some(call => call.startsWith('apt-get private update')));
  await cache.forget(DEFAULT_KERNEL_PACKAGE);
  rmSync(join(folder, 'apt'), { recursive: true });

  const old = {
    [DEFAULT_KERNEL_PACKAGE]: { ...META, depends: 'linux-image-6.1.4-cloud-amd64' },
    'linux-image-6.1.4-cloud-amd64': { version: '6.1.4-1' },
  };
  const stale = fakeApt(old, KERNELS);
  assert.equal((await obtainKernel({ cache, run: stale.run })).version, '6.1.5-1');
});

test('errors say what to do', async () => {
  await assert.rejects(obtainKernel({ cache, run: async () => undefined }), (error: unknown) => {
    assert.ok(hasCode('E_NO_PACKAGE_CLIENT')(error));
    assert.match((error as { remedy: string }).remedy, /--kernel FILE.*--initrd FILE/);
    return true;
  });
  await assert.rejects(obtainKernel({ cache, run: fakeApt({}).run }), hasCode('E_PACKAGE_UNKNOWN'));
  assert.throws(() => obtainKernel({ cache }, 'vmlinuz; reboot'), hasCode('E_KERNEL_NAME'));
  assert.throws(() => obtainKernel({ cache }, '-o=x'), hasCode('E_KERNEL_NAME'));
  const wrong = { ...KERNELS, 'linux-image-6.1.5-cloud-amd64': { ...KERNEL, sha256: 'ab'.repeat(32) } };
  await assert.rejects(obtainKernel({ cache, run: fakeApt(wrong).run }), hasCode('E_PACKAGE_HASH'));
  const empty = { ...KERNELS, 'linux-image-6.1.5-cloud-amd64': { ...KERNEL, file: deb('etc/x', IMAGE) } };
  await assert.rejects(obtainKernel({ cache, run: fakeApt(empty).run }), hasCode('E_PACKAGE_CONTENTS'));
  const gone = { ...KERNELS, 'linux-image-6.1.5-cloud-amd64': { version: '6.1.5-1' } };
  // An earlier attempt has fetched private lists, which stay fresh for a while.
  rmSync(join(folder, 'apt'), { recursive: true });
  await assert.rejects(obtainKernel({ cache, run: fakeApt(gone).run }), /404 {2}Not Found/);
  // After all these failures nothing is half there.
  assert.equal(await cache.lookUp(DEFAULT_KERNEL_PACKAGE), undefined);
  assert.deepEqual(readdirSync(join(folder, 'scratch')), []);
});

test('the kernel series on offer, newest first', async () => {
  const packages = {
    ...KERNELS,
    'linux-image-6.12-cloud-amd64': { version: '6.12.3-1~deb12u1' },
    'linux-image-6.9-cloud-amd64': { version: '6.9.10-1' },
    'linux-image-6.12-rt-amd64': { version: '6.12.3-1' },
    'linux-image-amd64': { version: '6.1.5-1' },
  };
  const { run } = fakeApt(packages);
  const names = (await listKernelPackages({ cache, run })).map(found => found.name);
  assert.deepEqual(names, [
    'linux-image-6.12-cloud-amd64',
    'linux-image-6.9-cloud-amd64',
    'linux-image-amd64',
    'linux-image-cloud-amd64',
  ]);
  assert.equal(await newestKernelPackage({ cache, run }), 'linux-image-6.12-cloud-amd64');
  assert.equal(await newestKernelPackage({ cache, run }, 'generic'), 'linux-image-amd64');
});

test('control stanzas', () => {
  const fields = parseStanza('A: 1\nB:\n two\n three: 3\nno colon\n\nA: other\n');
  assert.deepEqual(
    [...fields],
    [
      ['a', '1'],
      ['b', '\ntwo\nthree: 3'],
    ],
  );
});

test("the real busybox-static, through this machine's apt", async context => {
  if (!(await runProgram(['apt-get', '--version']))) return context.skip('apt is not installed');
  let busybox: Awaited<ReturnType<typeof obtainBusybox>>;
  try {
    busybox = await obtainBusybox({ cache, signal: AbortSignal.timeout(120_000) });
  } catch (error) {
    if (hasCode('E_PACKAGE_LISTS')(error) || hasCode('E_PACKAGE_DOWNLOAD')(error))
      return context.skip(String(error));
    throw error;
  }
  assert.match(busybox.file, /bin\/busybox$/);
  assert.deepEqual(busybox.contents.slice(0, 4), Uint8Array.of(0x7f, 0x45, 0x4c, 0x46));
  assert.equal((await obtainBusybox({ cache })).fromCache, true);
});
