/** Rates out of two looks, and numbers as people read them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GuestView } from '../../toolstack/daemon/guest-record.ts';
import type { HostInfo } from '../../toolstack/daemon/host-info.ts';
import { bytes, duration, percent, plural, rate } from './format.ts';
import { History, SPAN_MS } from './history.ts';

const INFO = { processTimeNs: 0, processMemoryBytes: 5, memoryBytes: 9 } as HostInfo;

function guest(id: number, cpuTimeNs: number, written = 0): GuestView {
  const traffic = { diskReadBytes: 0, diskWrittenBytes: written, netReceivedBytes: 0, netSentBytes: 0 };
  const domain = { cpuTimeNs, traffic, memoryBytes: 4096, residentBytes: 1024 };
  return { id, name: `g${id}`, domain } as unknown as GuestView;
}

test('rates are over the time that has really passed', () => {
  const history = new History();
  history.look([guest(1, 0, 100)], INFO, 1000);
  assert.deepEqual(history.samples(1), [], 'one look tells no rate');
  history.look([guest(1, 1e9, 4100)], { ...INFO, processTimeNs: 4e9 }, 5000);
  const [sample] = history.samples(1);
  assert.deepEqual([sample?.cpu, sample?.diskWritten, sample?.residentBytes], [25, 1000, 1024]);
  assert.deepEqual([history.hostSamples[0]?.cpu, history.hostSamples[0]?.residentBytes], [100, 5]);
});

test('counters that begin anew give no negative rate, and a clock that stands still no sample', () => {
  const history = new History();
  history.look([guest(1, 5e9, 100)], INFO, 1000);
  history.look([guest(1, 1e9, 50)], INFO, 2000);
  history.look([guest(1, 2e9, 50)], INFO, 2000);
  assert.deepEqual(
    history.samples(1).map(({ cpu, diskWritten }) => [cpu, diskWritten]),
    [[0, 0]],
  );
});

test('what is too old is forgotten, and so is a machine that is gone; one that has ended keeps its curve', () => {
  const history = new History();
  for (let second = 0; second < 200; second++)
    history.look([guest(1, second), guest(2, 0)], INFO, second * 1000);
  assert.equal(history.samples(1).length, SPAN_MS / 1000 + 1);
  history.look([{ ...guest(1, 0), domain: undefined } as unknown as GuestView], INFO, 201_000);
  assert.ok(history.samples(1).length > 0);
  assert.deepEqual(history.samples(2), []);
});

test('sizes, rates, shares, times and plurals', () => {
  assert.deepEqual([0, 1023, 1024, 1536, 150 * 1024, 3 * 2 ** 30].map(bytes), [
    ...['0 B', '1023 B', '1 KiB', '1.5 KiB', '150 KiB', '3 GiB'],
  ]);
  assert.equal(rate(2048), '2 KiB/s');
  assert.deepEqual([0, 9.96, 42.4].map(percent), ['0.0 %', '10.0 %', '42 %']);
  assert.deepEqual([-5, 59_000, 61_000, 3_700_000, 90_000_000].map(duration), [
    ...['0 s', '59 s', '1 min 1 s', '1 h 1 min', '1 d 1 h'],
  ]);
  assert.deepEqual([plural(1, 'page'), plural(2, 'page')], ['1 page', '2 pages']);
});
