/**
 * Networks of guests that stay, changed while they run, by the command as users type it: two guests on a switch that is parted and healed,
 * a line that is cut, rules that come and go, a capture. Without a kernel to be had the test is skipped.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { NetworkView } from '../src/toolstack/daemon/guest-network.ts';
import type { SwitchView } from '../src/toolstack/daemon/switches.ts';
import { commandLine } from './command-line.fixture.ts';

const TIMEOUT_MS = 600_000;
const folder = mkdtempSync(join(tmpdir(), 'domus-live-network-'));
const { ok, start } = commandLine(folder, join(folder, 'state'));
let unavailable: string | undefined;

const create = (name: string, ...options: string[]) =>
  start('run', '-q', '-d', '--name', name, '-m', '128M', ...options, '--', 'sleep', '100000').end;

before(
  async () => {
    const { code, stderr } = await create('a', '--net', 'switch:lan');
    if (code === 0) return;
    if (!/E_(NO_PACKAGE_CLIENT|PACKAGE_)|package/.test(stderr)) assert.fail(stderr);
    unavailable = `no Debian kernel to be had: ${stderr}`;
  },
  { timeout: TIMEOUT_MS },
);
after(async () => {
  await start('destroy', '--all').end;
  rmSync(folder, { recursive: true, force: true });
});

/** Whether one guest hears another; a guest that should hear may take its time. */
const hears = async (name: string, address: string, waitS: number): Promise<boolean> =>
  (await start('exec', name, '--', 'ping', '-c', '1', '-W', String(waitS), address).end).code === 0;
const HEARS_S = 60;
const DEAF_S = 2;

async function networks(): Promise<(NetworkView & { name: string })[]> {
  return JSON.parse(await ok('network-list', '-o', 'json'));
}

test('guests on a switch are parted, healed, and cut off one by one', { timeout: TIMEOUT_MS }, async t => {
  if (unavailable !== undefined) return t.skip(unavailable);
  const { code, stderr } = await create('b', '--net', 'switch:lan');
  assert.equal(code, 0, stderr);
  assert.ok(await hears('a', '10.0.3.2', HEARS_S));
  const rows = (await ok('switch-list')).trim().split('\n').slice(1);
  assert.deepEqual(
    rows.map(row => row.split(/\s+/).slice(0, 4)),
    [
      ['lan', 'a', '1', '10.0.3.1'],
      ['lan', 'b', '2', '10.0.3.2'],
    ],
  );
  const parted = JSON.parse(await ok('switch-partition', 'lan', 'a', 'b', '-o', 'json')) as SwitchView;
  assert.ok(parted.isPartitioned);
  assert.equal(await hears('a', '10.0.3.2', DEAF_S), false);
  await ok('switch-heal', 'lan');
  assert.ok(await hears('a', '10.0.3.2', HEARS_S));

  // What comes for b does not arrive, and b can still speak: its questions are heard and its answers are not.
  await ok('network-set', 'b', '--net-fault', 'cut', '--direction', 'in');
  assert.equal(await hears('a', '10.0.3.2', DEAF_S), false);
  const [, b] = await networks();
  assert.deepEqual(b?.faults, { in: { isCut: true }, out: {} });
  assert.ok((b?.lostFrames ?? 0) > 0);
  assert.match(await ok('network-list', 'b'), /^b +2 switch:lan +10\.0\.3\.2 .* in:cut out:none$/m);
  await ok('network-set', 'b', '--net-fault', 'none');
  assert.ok(await hears('a', '10.0.3.2', HEARS_S));

  const refused = await start('network-set', 'b', '--deny', 'all').end;
  assert.deepEqual([refused.code, /rules have no meaning on a switch/.test(refused.stderr)], [1, true]);
  const unknown = await start('switch-heal', 'nowhere').end;
  assert.deepEqual([unknown.code, /no switch nowhere/.test(unknown.stderr)], [1, true]);
});

test('rules and captures of a guest that runs', { timeout: TIMEOUT_MS }, async t => {
  if (unavailable !== undefined) return t.skip(unavailable);
  const server = createServer((_, response) => response.end('a page\n'));
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const { code, stderr } = await create('web', '--net', 'nat');
  assert.equal(code, 0, stderr);
  const fetch = () =>
    start('exec', 'web', '--', 'timeout', '60', 'wget', '-q', '-O', '-', `http://10.0.2.2:${port}/`).end;
  assert.equal((await fetch()).code, 1, 'the host is closed');
  const file = join(folder, 'web.pcap');
  await ok('network-set', 'web', '--allow', '127.0.0.1', '--capture', 'web.pcap');
  assert.equal((await fetch()).stdout, 'a page\n');
  const listed = (await networks()).find(({ name }) => name === 'web');
  assert.deepEqual([listed?.rules, listed?.capture], [{ allow: ['127.0.0.1'], deny: [] }, file]);
  await ok('network-set', 'web', '--no-capture');
  const captured = readFileSync(file);
  assert.ok(captured.includes('a page'), 'what passed is in the file');
  assert.ok(await hears('web', '10.0.2.2', HEARS_S));
  await ok('network-set', 'web', '--allow', '127.0.0.1', '--deny', '10.0.2.2');
  assert.equal((await fetch()).code, 1, 'what is denied is denied');
  assert.equal(await hears('web', '10.0.2.2', DEAF_S), false);
  await ok('network-set', 'web', '--no-rules');
  assert.ok(await hears('web', '10.0.2.2', HEARS_S));
  assert.equal(readFileSync(file).length, captured.length, 'the capture has ended');
});

test('what says nothing to be done is refused before a host process is asked', async () => {
  for (const words of [
    ['network-set', 'web'],
    ['network-set', '--net-fault', 'none'],
    ['network-set', 'web', '--direction', 'in'],
    ['network-set', 'web', '--net-fault', 'cut', '--direction', 'up'],
    ['network-set', 'web', '--no-rules', '--deny', 'all'],
    ['network-set', 'web', '--capture', 'x', '--no-capture'],
    ['switch-partition', 'lan'],
    ['switch-heal'],
    ['switch-list', 'lan'],
  ]) {
    const { code, stderr } = await start(...words).end;
    assert.deepEqual([code, stderr.split('\n').length], [2, 2], `${words.join(' ')}: ${stderr}`);
  }
});
