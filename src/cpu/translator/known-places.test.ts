import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MachineMemory } from '../../machine/memory.ts';
import { heatIndex } from '../interpreter/heat.ts';
import { HEAT_OFFSET } from '../vcpu/layout.ts';
import { KnownPlaces } from './known-places.ts';
import type { HotPlace } from './requests.ts';

const CPU = 0x1000;

test('a known place is asked for once, when many jumps have led to it', () => {
  const u16 = new Uint16Array(1 << 18);
  const known = new KnownPlaces({ u16 } as unknown as MachineMemory);
  // More than are looked at in one go.
  const places = Array.from({ length: 3000 }, (_, i) => ({ cpu: CPU, record: 0x8000 + i * 32 }) as HotPlace);
  for (const place of places) known.add(place);
  const looks = () => Array.from({ length: 3 }, () => known.takeWarm()).flat();
  assert.deepEqual(looks(), []);
  const last = places.at(-1) as HotPlace;
  u16[((CPU + HEAT_OFFSET) >>> 1) + heatIndex(last.record)] = 47;
  assert.deepEqual(looks(), []);
  u16[((CPU + HEAT_OFFSET) >>> 1) + heatIndex(last.record)] = 48;
  assert.deepEqual(looks(), [last]);
  assert.deepEqual(looks(), []);
});

test('places that stay cold do not pile up', () => {
  const known = new KnownPlaces({ u16: new Uint16Array(1 << 18).fill(48) } as unknown as MachineMemory);
  for (let i = 0; i < 100_000; i++) known.add({ cpu: CPU, record: 0x8000 + i * 32 } as HotPlace);
  let waiting = 0;
  for (let warm = known.takeWarm(); warm.length > 0; warm = known.takeWarm()) waiting += warm.length;
  assert.ok(waiting > 10_000 && waiting <= 16_384, `${waiting}`);
});
