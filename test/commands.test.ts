/**
 * Commands of the documentation as users type them, with a real Debian: packages over the guest's own network, a port and a folder of
 * the host, a guest that stays. The whole takes minutes: only in `npm run test:full`.
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { commandLine } from './command-line.fixture.ts';

const TIMEOUT_MS = 1_200_000;
const folder = mkdtempSync(join(tmpdir(), 'domus-commands-'));
after(() => rmSync(folder, { recursive: true, force: true }));
mkdirSync(join(folder, 'site'));
writeFileSync(join(folder, 'site', 'index.html'), 'a page of the host\n');

const full = (name: string, run: () => Promise<void>) =>
  test(name, { timeout: TIMEOUT_MS, skip: !process.env.DOMUS_TEST_FULL && 'only in npm run test:full' }, run);

const { start: domus, ok } = commandLine(folder, join(folder, 'state'));

/** One that was free a moment ago. */
function freePort(): Promise<number> {
  return new Promise(resolve => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

async function page(port: number, isAwaited: () => boolean): Promise<string> {
  while (isAwaited()) {
    const answer = await fetch(`http://127.0.0.1:${port}/`, { signal: AbortSignal.timeout(5000) }).catch(
      () => undefined,
    );
    if (answer) return answer.text();
    await sleep(200);
  }
  assert.fail('the command ended before it answered');
}

for (const release of ['12', '13']) {
  full(`a package is installed and runs, Debian ${release}`, async () => {
    const script = 'cat /etc/debian_version && apt-get update && apt-get install -y -q hello && hello';
    const said = await ok('run', `debian:${release}`, '--', 'sh', '-c', script);
    assert.match(said, new RegExp(`^${release}\\.[\\s\\S]*\nHello, world!\n$`));
    // Nothing is half configured, and folders are merged as the release has them.
    const state = 'dpkg --audit; dpkg -l | grep -vc "^ii"; readlink /bin /sbin /lib';
    assert.match(
      await ok('run', `debian:${release}`, '--', 'sh', '-c', state),
      /^5\nusr\/bin\nusr\/sbin\nusr\/lib\n$/,
    );
  });
}

full('a folder of the host behind a port of the host', async () => {
  const port = await freePort();
  const words = `-p ${port}:80 -v ./site:/srv debian:12 -- busybox httpd -f -p 80 -h /srv`.split(' ');
  const { child, end } = domus('run', ...words);
  assert.equal(await page(port, () => child.exitCode === null), 'a page of the host\n');
  child.kill('SIGINT');
  assert.equal((await end).code, 130);
});

full('the same as a guest that stays, with two vCPUs on two threads', async () => {
  const port = await freePort();
  const words = `-d --name web --vcpus 2 --pcpus 2 -p ${port}:80 -v ./site:/srv debian:12`.split(' ');
  try {
    await ok('run', ...words, '--', 'busybox', 'httpd', '-f', '-p', '80', '-h', '/srv');
    assert.equal(await page(port, () => true), 'a page of the host\n');
    writeFileSync(join(folder, 'site', 'index.html'), 'another\n');
    assert.equal(await page(port, () => true), 'another\n');
    assert.match(await ok('exec', 'web', '--', 'sh', '-c', 'nproc; cat /etc/debian_version'), /^2\n12\./);
    assert.match(await ok('logs', '--console', 'web'), /EXT4-fs \(xvda\): mounted/);
  } finally {
    await ok('destroy', '--all');
  }
});
