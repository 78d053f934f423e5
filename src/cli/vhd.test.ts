/** `domus vhd` as users meet it: results on standard output, one line for a mistake, exit codes. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const DOMUS = fileURLToPath(new URL('../../bin/domus.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'domus-vhd-'));
after(() => rmSync(folder, { recursive: true, force: true }));

function domus(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [DOMUS, 'vhd', ...args], {
    cwd: folder,
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

function json(...args: string[]) {
  const { status, stdout, stderr } = domus(...args, '-o', 'json', '-q');
  assert.equal(stderr, '');
  assert.equal(status, 0);
  return JSON.parse(stdout);
}

test('a disk is created, kept, cloned, grown, copied, merged and checked', () => {
  assert.deepEqual(json('create', 'disk.vhd', '64M'), {
    path: 'disk.vhd',
    format: 'vhd',
    sizeBytes: 64 << 20,
  });
  json('snapshot', 'disk.vhd', 'before.vhd');
  json('clone', 'disk.vhd', 'clone.vhd');
  assert.equal(json('resize', 'disk.vhd', '+36M').sizeBytes, 100 << 20);
  const info = json('info', 'disk.vhd');
  assert.equal(info.type, 'differencing');
  assert.deepEqual(
    info.parents.map((parent: { isParent: boolean }) => parent.isParent),
    [true],
  );
  assert.match(domus('info', 'clone.vhd').stdout, /differencing[\s\S]*before\.vhd/);
  json('convert', 'disk.vhd', 'copy.raw');
  json('convert', '--fixed', 'disk.vhd', 'fixed.vhd');
  assert.deepEqual(json('check', 'disk.vhd'), { path: 'disk.vhd', isSound: true, findings: [] });
  json('compact', 'disk.vhd');
  const refused = domus('coalesce', 'disk.vhd');
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /^domus: .*before\.vhd is also the parent of .*clone\.vhd/m);
  rmSync(join(folder, 'clone.vhd'));
  json('coalesce', 'disk.vhd');
  assert.deepEqual(readdirSync(folder).sort(), ['copy.raw', 'disk.vhd', 'fixed.vhd']);
  assert.deepEqual(json('info', 'disk.vhd').parents, []);
});

test('mistakes are one line, and the exit code says of which kind', () => {
  for (const [args, status, message] of [
    [[], 2, /what to do; use one of create/],
    [['frob', 'x'], 2, /cannot "frob"/],
    [['create', 'x.vhd'], 2, /needs 2 operands, not 1; write domus vhd create FILE SIZE/],
    [['create', 'x.vhd', 'big'], 2, /"big" is not a size/],
    [['create', 'x.vhd', '3T'], 1, /2040 GiB at most.*raw/],
    [['create', 'x.vhd', '1000'], 1, /multiple of 512/],
    [['create', 'x.qcow2', '1G'], 2, /qcow2 images are only read/],
    [['info', 'none.vhd'], 1, /no such file/],
  ] as const) {
    const result = domus(...args);
    assert.equal(result.stdout, '');
    assert.match(result.stderr, message);
    assert.equal(result.stderr.trim().split('\n').length, 1, result.stderr);
    assert.equal(result.status, status, args.join(' '));
  }
});

test('a damaged image ends check with 1 and is mended by --repair', () => {
  domus('create', 'broken.vhd', '8M');
  writeFileSync(join(folder, 'broken.vhd'), new Uint8Array(512), { flag: 'r+' });
  const found = domus('check', 'broken.vhd');
  assert.equal(found.status, 1);
  assert.match(found.stdout, /copy of the footer is missing[\s\S]*damaged; --repair/);
  assert.equal(domus('check', '--repair', 'broken.vhd').status, 0);
  assert.equal(domus('check', 'broken.vhd').stdout, 'broken.vhd: sound\n');
});
