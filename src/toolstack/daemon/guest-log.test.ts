/** A guest's log: bounds, order, and what a reader finds after a cut. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { seeded } from '../../image/fuzz.fixture.ts';
import { nodeTimers } from '../../platform/node/clock.ts';
import { GuestLog, type LogStream, readLog, recordBytes } from './guest-log.ts';

const scratch = mkdtempSync(join(tmpdir(), 'domus-log-'));
after(() => rmSync(scratch, { recursive: true, force: true }));
const ALL: readonly LogStream[] = ['console', 'stdout', 'stderr'];
const FILE_BYTES_MAX = 8192;
const RECORD_OVERHEAD_BYTES = 100;

function openLog(name: string) {
  const folder = mkdtempSync(join(scratch, name));
  let time = 0;
  const now = () => new Date(time++ * 1000).toISOString();
  const log = new GuestLog({ folder, timers: nodeTimers, now, fileBytesMax: FILE_BYTES_MAX });
  return { folder, log };
}
const textOf = (folder: string, streams = ALL) =>
  Buffer.concat(readLog(folder, { streams }).map(recordBytes)).toString('latin1');

test('every byte of a stream comes back in its order, whatever the pieces', () => {
  const { folder, log } = openLog('bytes');
  const random = seeded(5);
  const bytes = Uint8Array.from({ length: 2000 }, () => (random(20) === 0 ? 10 : random(256)));
  for (let at = 0; at < bytes.length; ) {
    const size = 1 + random(100);
    log.write('stdout', bytes.subarray(at, at + size));
    log.write('stderr', Uint8Array.of(33, 10));
    at += size;
  }
  log.close();
  assert.equal(textOf(folder, ['stdout']), Buffer.from(bytes).toString('latin1'));
});

test('a guest that writes without end fills two files at most, and its last lines are there', () => {
  const { folder, log } = openLog('bounds');
  for (let i = 0; i < 2000; i++) log.write('console', Buffer.from(`line ${i}\n`));
  log.write('console', new Uint8Array(100_000).fill(65));
  for (let i = 0; i < 50; i++) log.write('console', Buffer.from(`\nlate ${i}`));
  log.close();
  const size = statSync(join(folder, 'log')).size + statSync(join(folder, 'log.old')).size;
  // A record may be longer than what is left, and the long line's are.
  assert.ok(size < 2 * FILE_BYTES_MAX + 2 * (16384 + RECORD_OVERHEAD_BYTES), String(size));
  assert.match(textOf(folder), /late 48\nlate 49$/);
});

test('a file that is cut anywhere is read up to the cut', () => {
  const { folder, log } = openLog('cut');
  for (let i = 0; i < 10; i++) log.write('stdout', Buffer.from(`line ${i}\n`));
  log.close();
  const file = join(folder, 'log');
  const whole = textOf(folder);
  for (let size = readFileSync(file).length - 1; size >= 0; size -= 7) {
    truncateSync(file, size);
    assert.ok(whole.startsWith(textOf(folder)));
  }
  assert.deepEqual(readLog(join(folder, 'nowhere'), { streams: ALL }), []);
});

test('the last lines, and those since a moment', () => {
  const { folder, log } = openLog('query');
  for (let i = 0; i < 5; i++) log.write(i % 2 ? 'stderr' : 'stdout', Buffer.from(`line ${i}\n`));
  log.write('stdout', Buffer.from('no end'));
  log.close();
  const query = (options: object) =>
    readLog(folder, { streams: ALL, ...options }).map(record => Buffer.from(recordBytes(record)).toString());
  assert.deepEqual(query({ tail: 2 }), ['line 4\n', 'no end']);
  assert.deepEqual(query({ tail: 0 }), []);
  assert.deepEqual(query({ tail: 100 }).length, 6);
  assert.deepEqual(query({ since: new Date(4000).toISOString() }), ['line 4\n', 'no end']);
  assert.deepEqual(query({ streams: ['stderr'] }), ['line 1\n', 'line 3\n']);
});
