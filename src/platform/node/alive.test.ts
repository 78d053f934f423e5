import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isAlive, startOf } from './alive.ts';

test('a process runs, and does not when it has ended, whether or not somebody has waited for it', async () => {
  assert.ok(isAlive(process.pid));
  // Its child ends, and it never waits for it.
  const script = 'sleep 0.1 & echo $!; exec sleep 100';
  const parent = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [said] = (await once(parent.stdout, 'data')) as [Buffer];
  while (isAlive(Number(said))) await sleep(10);
  // It has not gone altogether.
  assert.equal(process.kill(Number(said), 0), true);
  assert.ok(isAlive(parent.pid as number));
  parent.kill();
  await once(parent, 'close');
  assert.ok(!isAlive(parent.pid as number));
});

test('a number that is used again is another process', { skip: process.platform !== 'linux' }, () => {
  const start = startOf(process.pid);
  assert.match(String(start), /^\d+$/);
  assert.ok(isAlive(process.pid, start));
  assert.ok(!isAlive(process.pid, `${Number(start) - 1}`));
  assert.equal(startOf(0x7fff_fff0), undefined);
});
