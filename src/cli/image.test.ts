/** `domus image` as users meet it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const DOMUS = fileURLToPath(new URL('../../bin/domus.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'domus-image-'));
after(() => rmSync(folder, { recursive: true, force: true }));

function domus(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [DOMUS, ...args], {
    cwd: folder,
    encoding: 'utf8',
    env: { ...process.env, DOMUS_CACHE: join(folder, 'cache') },
  });
  return { status, stdout, stderr };
}

function json(...args: string[]) {
  const { status, stdout, stderr } = domus('image', ...args, '-o', 'json', '-q');
  assert.equal(stderr, '');
  assert.equal(status, 0);
  return JSON.parse(stdout);
}

test('an image is built, listed, exported, checked and removed', () => {
  mkdirSync(join(folder, 'root/etc'), { recursive: true });
  writeFileSync(join(folder, 'root/etc/motd'), 'hello\n');
  assert.deepEqual(json('list'), []);
  const built = json('build', '-t', 'box', '--size', '300M', 'dir:root');
  assert.equal(built.name, 'box:latest');
  assert.equal(built.diskBytes, 384 << 20);
  assert.equal(json('build', 'dir:root').name, 'dir:root');
  assert.equal(json('list').length, 2);
  assert.match(domus('image', 'list').stdout, /^NAME .*\nbox:latest .*384 MiB.*\ndir:root /);
  const exported = domus('image', 'export', 'box', 'box.vhd');
  assert.deepEqual(exported, {
    status: 0,
    stdout: 'box.vhd: 384 MiB, holds box:latest\n',
    stderr: 'domus: export: box.vhd\n',
  });
  assert.match(domus('vhd', 'info', 'box.vhd').stdout, /vhd, dynamic\n.*disk size +384 MiB/);
  assert.deepEqual(json('check', 'box'), [{ name: 'box:latest', isIntact: true }]);
  assert.ok(json('rm', 'box').freedBytes > 0);
  assert.equal(json('list').length, 1);
});

test('mistakes', () => {
  for (const [args, status, message] of [
    [['image'], 2, /what to do; use one of list/],
    [['image', 'push'], 2, /image cannot "push"/],
    [['image', 'pull'], 2, /write domus image pull IMAGE/],
    [['image', 'pull', 'dir:x'], 2, /comes from nowhere else/],
    [['image', 'build', '--include', 'gcc', 'dir:x'], 2, /--include needs packages/],
    [['image', 'build', '--size', '1G', 'dir:x'], 2, /add -t NAME/],
    [['image', 'build', 'dir:missing'], 1, /cannot read the folder missing/],
    [['image', 'rm', 'nothing:1'], 1, /there is no image nothing:1/],
    [['run', 'nothing:1'], 125, /there is no image nothing:1 in the store/],
    [['run', 'No:such', 'x'], 125, /names no image/],
  ] as const) {
    const result = domus(...args);
    assert.equal(result.status, status, `${args.join(' ')}: ${result.stderr}`);
    assert.match(result.stderr, message);
    assert.equal(result.stdout, '');
  }
});
