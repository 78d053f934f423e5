import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setUp } from '../../backend/net/frontend.fixture.ts';
import { createTestWorld } from './guest.fixture.ts';

const COUNT = 50;
/** Room for a single large frame is 64 KiB. */
const LITTLE_BYTES = 16 << 10;

/** Of what `make` makes: each one's bytes in array buffers. */
function bufferBytes(make: () => unknown): number {
  const before = process.memoryUsage().arrayBuffers;
  const all = Array.from({ length: COUNT }, make);
  return (process.memoryUsage().arrayBuffers - before) / all.length;
}

test('a network that has carried no large frame has no room for one', () => {
  assert.ok(bufferBytes(createTestWorld) < LITTLE_BYTES);
});

test('nor has a device that is connected to one', () => {
  const memory = bufferBytes(() => setUp());
  const connected = bufferBytes(() => {
    const world = setUp();
    world.connect();
    return world;
  });
  assert.ok(connected - memory < LITTLE_BYTES, `${connected} bytes, ${memory} of them before`);
});
