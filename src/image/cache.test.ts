import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { defaultCacheFolder, withLock, writeWhole } from '../platform/node/cache-folder.ts';
import { openImageCache } from './cache.ts';
import { sampleBytes } from './fuzz.fixture.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'domus-cache-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A process number that belongs to nobody: that of a process that has ended. */
async function deadPid(): Promise<number> {
  const child = spawn(process.execPath, ['-e', '']);
  await new Promise(done => child.on('exit', done));
  return child.pid!;
}

test('where the cache is', () => {
  assert.equal(defaultCacheFolder({ DOMUS_CACHE: '/a', XDG_CACHE_HOME: '/b' }), '/a');
  assert.equal(defaultCacheFolder({ XDG_CACHE_HOME: '/b' }), '/b/domus');
  assert.match(defaultCacheFolder({ XDG_CACHE_HOME: 'relative' }), /\/\.cache\/domus$/);
});

test('stored contents come back, under any name', async () => {
  const cache = openImageCache(folder);
  const facts = { package: 'p', version: '1:2~3', file: 'boot/x' };
  for (const name of ['linux-image-6.12.1+deb12-amd64', '../evil/ü', '.', '..']) {
    const contents = sampleBytes(5000, name.length);
    await cache.store(name, facts, contents);
    const found = await cache.lookUp(name);
    assert.deepEqual(found?.contents, contents);
    assert.equal(found?.record.version, '1:2~3');
  }
  assert.equal((await cache.names()).length, 4);
  assert.deepEqual(readdirSync(folder).sort(), ['objects', 'records']);
  await cache.forget('..');
  assert.equal(await cache.lookUp('..'), undefined);
});

test('a damaged cache does not know what it cannot give', async () => {
  const cache = openImageCache(folder);
  const facts = { package: 'p', version: '1', file: 'f' };
  const { sha256 } = await cache.store('name', facts, sampleBytes(100));
  writeFileSync(join(folder, 'objects', sha256), 'something else');
  assert.equal(await cache.lookUp('name'), undefined);
  assert.ok(!existsSync(join(folder, 'objects', sha256)));
  for (const text of ['', '{', 'null', '{"sha256":"../../etc/passwd","package":"","version":"","file":""}']) {
    writeFileSync(join(folder, 'records', 'name.json'), text);
    assert.equal(await cache.lookUp('name'), undefined);
  }
  await cache.store('name', facts, sampleBytes(100));
  assert.ok(await cache.lookUp('name'));
});

test('scratch folders vanish, also those of processes that were killed', async () => {
  const cache = openImageCache(folder);
  const left = join(folder, 'scratch', `scratch-${await deadPid()}-abc`);
  mkdirSync(left, { recursive: true });
  writeFileSync(join(left, 'half.deb'), 'half');
  await assert.rejects(
    cache.withScratchFolder(async scratch => {
      writeFileSync(join(scratch, 'x'), 'x');
      throw new Error('interrupted');
    }),
    /interrupted/,
  );
  assert.deepEqual(readdirSync(join(folder, 'scratch')), []);
});

test('half-written files of killed processes vanish, those of living ones stay', async () => {
  const cache = openImageCache(folder);
  mkdirSync(join(folder, 'objects'));
  writeFileSync(join(folder, 'objects', `abc.tmp-${await deadPid()}-1`), 'half');
  writeFileSync(join(folder, 'objects', `abc.tmp-${process.pid}-1`), 'half');
  const { sha256 } = await cache.store('name', { package: 'p', version: '1', file: 'f' }, sampleBytes(10));
  assert.deepEqual(readdirSync(join(folder, 'objects')).sort(), [sha256, `abc.tmp-${process.pid}-1`].sort());
});

test('a write that fails leaves nothing', async () => {
  mkdirSync(join(folder, 'taken', 'x'), { recursive: true });
  await assert.rejects(writeWhole(join(folder, 'taken'), 'text'));
  assert.deepEqual(readdirSync(folder), ['taken']);
});

test('a lock is held by one at a time', async () => {
  let inside = 0;
  let waits = 0;
  const path = join(folder, 'locks', 'name');
  const results = await Promise.all(
    [1, 2, 3].map(n =>
      withLock(
        path,
        async () => {
          assert.equal(++inside, 1);
          await new Promise(setImmediate);
          inside--;
          return n;
        },
        () => waits++,
      ),
    ),
  );
  assert.deepEqual(results, [1, 2, 3]);
  assert.equal(waits, 2);
  assert.deepEqual(readdirSync(join(folder, 'locks')), []);
});

test('a lock of a dead process is taken over, and a failure gives it back', async () => {
  const path = join(folder, 'name');
  writeFileSync(path, `${await deadPid()}\n`);
  await assert.rejects(
    withLock(path, async () => {
      assert.equal(readFileSync(path, 'utf8'), `${process.pid}\n`);
      throw new Error('inside');
    }),
    /inside/,
  );
  assert.deepEqual(readdirSync(folder), []);
});

test('a lock holds between processes', async () => {
  const path = join(folder, 'lock');
  const module = new URL('../platform/node/cache-folder.ts', import.meta.url).href;
  const log = join(folder, 'log');
  const program = `
    import { appendFileSync } from 'node:fs';
    import { withLock } from ${JSON.stringify(module)};
    for (let i = 0; i < 3; i++) await withLock(${JSON.stringify(path)}, async () => {
      appendFileSync(${JSON.stringify(log)}, 'in ');
      await new Promise(done => setTimeout(done, 5));
      appendFileSync(${JSON.stringify(log)}, 'out ');
    });`;
  const ends = [1, 2].map(() => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      ...{ stdio: ['ignore', 'ignore', 'inherit'], timeout: 300_000, killSignal: 'SIGKILL' },
    });
    return new Promise(done => child.on('exit', done));
  });
  assert.deepEqual(await Promise.all(ends), [0, 0]);
  assert.equal(readFileSync(log, 'utf8'), 'in out '.repeat(6));
});
