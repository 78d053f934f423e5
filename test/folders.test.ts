/**
 * Shared folders of a real guest, end to end: Debian's generic kernel with its own 9p client, a program that checks what programs
 * expect of a file system (folders/checks.c), and what is then found on the host.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { DomusError } from '../src/base/errors.ts';
import { Host, type VirtualMachine } from '../src/toolstack/index.ts';

const TIMEOUT_MS = 600_000;
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const folder = fs.mkdtempSync(join(tmpdir(), 'domus-folders-test-'));
const path = (name = '') => join(folder, name);

let host: Host;
let vm: VirtualMachine;
let unavailable: string | undefined;
before(async () => {
  host = await Host.open();
  for (const name of ['site', 'work', 'loose', 'outside']) fs.mkdirSync(path(name));
  fs.writeFileSync(path('site/index.html'), 'hello from the host\n');
  fs.writeFileSync(path('outside/secret'), 'secret\n');
  fs.symlinkSync('../outside/secret', path('site/up'));
  fs.symlinkSync(path('outside/secret'), path('site/absolute'));
  try {
    const source = fileURLToPath(new URL('./folders/checks.c', import.meta.url));
    execFileSync('gcc', ['-static', '-O1', '-Wall', '-Werror', '-o', path('site/checks'), source], {
      stdio: 'pipe',
    });
    vm = await host.create({
      vcpus: 2,
      folders: [
        `${path('site')}:/srv:ro`,
        `${path('work')}:/mnt/a folder`,
        { path: path('work'), target: '/second' },
        { path: path('loose'), target: '/loose', cache: 'loose' },
      ],
      network: { publish: ['0:80'] },
    });
    await exec('true');
  } catch (error) {
    const isMissing = error instanceof DomusError ? /^E_(NO_PACKAGE_CLIENT|PACKAGE_)/.test(error.code) : true;
    if (!isMissing) throw error;
    unavailable = `no Debian kernel or no gcc: ${(error as Error).message}`;
  }
});
after(async () => {
  await host[Symbol.asyncDispose]();
  fs.rmSync(folder, { recursive: true, force: true });
});

const guest = (name: string, run: () => Promise<void>) =>
  test(name, { timeout: TIMEOUT_MS }, async t => {
    if (unavailable !== undefined) t.skip(unavailable);
    else await run();
  });

async function exec(command: string, exitCode = 0): Promise<string> {
  const result = await vm.exec(command);
  assert.equal(result.exitCode, exitCode, text(result.stdout) + text(result.stderr));
  return text(result.stdout) + text(result.stderr);
}

guest('folders are where they should be, with what the host has there', async () => {
  assert.equal(await exec('cat /srv/index.html'), 'hello from the host\n');
  assert.match(await exec('echo x >/srv/index.html', 1), /Read-only file system/);
  assert.equal(await exec('stat -c "%u %g %a %s" /srv/index.html'), `0 0 644 20\n`);
  // Each sees what the other does, without delay.
  fs.writeFileSync(path('work/from-host'), 'one\n');
  assert.equal(await exec('cat "/mnt/a folder/from-host"'), 'one\n');
  fs.appendFileSync(path('work/from-host'), 'two\n');
  assert.equal(await exec('cat "/mnt/a folder/from-host"'), 'one\ntwo\n');
  await exec('echo three >>/second/from-host');
  assert.equal(fs.readFileSync(path('work/from-host'), 'utf8'), 'one\ntwo\nthree\n');
  fs.rmSync(path('work/from-host'));
  assert.equal(await exec('ls -A "/mnt/a folder"'), '');
});

guest('programs find what they expect of a file system', async () => {
  for (const [place, name] of [
    ['/mnt/a folder', 'work'],
    ['/loose', 'loose'],
  ] as const) {
    const said = await exec(`mkdir "${place}/checks" && cd "${place}/checks" && /srv/checks && sync`);
    assert.equal(said.match(/^ok /gm)?.length, 18, said);
    const at = (entry: string) => path(`${name}/checks/${entry}`);
    // What it left on the host is harmless: no devices, no set-user-id, one owner.
    const found = execFileSync('find', [path(name), '-printf', '%y %m %U %P\\0'], { encoding: 'utf8' });
    for (const line of found.split('\0').slice(0, -1)) {
      assert.match(line, new RegExp(`^[dfl] [0-7]?[0-7]{3} ${process.getuid?.()} `), line);
    }
    assert.equal(fs.readFileSync(at('unlinked'), 'utf8'), 'other');
    assert.equal(fs.readlinkSync(at('soft')), 'linked');
    assert.equal(fs.statSync(at('owned')).mode & 0o7777, 0o755);
    assert.equal(fs.statSync(at('null')).size, 0);
    assert.equal(fs.readFileSync(at('mapped')).subarray(4090, 4106).toString(), 'across two pages');
    assert.equal(fs.statSync(at('timed')).mtimeMs > 1_700_000_000_000, true);
  }
  // The other mount of the same folder sees it all the same, owners and devices too.
  assert.equal(
    await exec('cd /second/checks && stat -c "%u %g %a %F" owned null moved-pipe soft'),
    '1001 2000 755 regular file\n0 0 644 character special file\n0 0 644 fifo\n7 8 777 symbolic link\n',
  );
  await exec('rm -r /second/checks');
  assert.deepEqual(fs.readdirSync(path('work')), ['.domus-metadata']);
  assert.deepEqual(fs.readdirSync(path('work/.domus-metadata')), []);
});

guest('trees go in and out as they are', async () => {
  await exec(
    'cd /loose && mkdir tree && cp -a /bin /etc /root /init tree/ && mkdir -p tree/deep/er && chown -R 33:33 tree/deep && ' +
      'tar cf tree.tar tree && mkdir copy && tar xf tree.tar -C copy && sync',
  );
  const sums = await exec('cd /loose/copy/tree && find . -type f | sort | xargs md5sum');
  assert.equal(await exec('cd /loose/tree && find . -type f | sort | xargs md5sum'), sums);
  const ours = execFileSync('sh', ['-c', 'find . -type f | sort | xargs md5sum'], {
    cwd: path('loose/copy/tree'),
    encoding: 'utf8',
  });
  assert.equal(ours, sums);
  assert.equal(fs.readlinkSync(path('loose/copy/tree/bin/ls')), 'busybox');
  assert.equal(await exec('stat -c %u /loose/copy/tree/deep/er'), '33\n');
  await exec('rm -r /loose/tree /loose/copy /loose/tree.tar');
});

guest('there is no way out', async () => {
  // Links are the guest's own business: it has no such file.
  assert.match(await exec('cat /srv/up /srv/absolute', 1), /No such file[\s\S]*No such file/);
  const inode = fs.statSync(folder).ino;
  const said = await exec(
    'cd /second && ln -s ../../outside out && ln -s / root && mkdir d && cd d && ls -a ../.. && ls -id /second/../.. && ' +
      'cat ../out/secret ../root/../outside/secret /second/../outside/secret 2>&1; mv ../d ../../outside 2>&1; ls -a /second',
  );
  assert.doesNotMatch(said, /^secret$/m);
  assert.doesNotMatch(said, new RegExp(`^${inode} `, 'm'));
  assert.doesNotMatch(said, /domus-metadata/);
  await exec('cat /second/.domus-metadata', 1);
  await exec('mkdir /second/.domus-metadata', 1);
  assert.deepEqual(fs.readdirSync(path('outside')), ['secret']);
  await exec('rm -r /second/*');
});

guest('a web server of the guest serves the folder', async () => {
  void vm.exec('busybox httpd -f -p 80 -h /srv').catch(() => {});
  const port = vm.network?.ports[0]?.hostPort;
  let served: string | undefined;
  for (let tries = 0; served === undefined && tries < 200; tries++) {
    served = await fetch(`http://127.0.0.1:${port}/index.html`).then(
      reply => reply.text(),
      () => undefined,
    );
    if (served === undefined) await new Promise(resolve => setTimeout(resolve, 50));
  }
  assert.equal(served, 'hello from the host\n');
});

guest('what cannot be shared is refused before anything boots', async () => {
  const run = (folders: string[], options = {}) =>
    host.run({ command: 'true', folders, timeoutMs: TIMEOUT_MS, ...options });
  await assert.rejects(run([`${path('none')}:/mnt`]), { code: 'E_FOLDER_NOT_FOUND' });
  await assert.rejects(run([`${path('site/index.html')}:/mnt`]), { code: 'E_FOLDER_NOT_FOUND' });
  await assert.rejects(run([`${path('site')}:mnt`]), { code: 'E_USAGE' });
  await assert.rejects(run([`${path('site')}:/mnt`], { deterministic: { seed: 1 } }), {
    code: 'E_FOLDER_DETERMINISTIC',
  });
  await assert.rejects(run([`${path('site')}:/mnt`], { kernel: 'linux-image-cloud-amd64' }), {
    code: 'E_FOLDER_KERNEL',
  });
});
