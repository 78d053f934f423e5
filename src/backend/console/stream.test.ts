import assert from 'node:assert/strict';
import { test } from 'node:test';
import { maddr, PAGE_SIZE } from '../../base/brand.ts';
import { createMachineMemory } from '../../machine/memory.ts';
import type { Fault } from '../../xenstore/faults.ts';
import { TaskQueue } from '../../xenstore/queue.ts';
import { ConsoleRing, IN_BYTES, OUT_BYTES } from './ring.ts';
import { createPrimaryConsole } from './stream.ts';

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const bytesOf = (s: string): Uint8Array => new TextEncoder().encode(s);

function setUp(fault: () => Fault = () => 'none') {
  const memory = createMachineMemory(1 << 16);
  const queue = new TaskQueue();
  let notified = 0;
  const ring = ConsoleRing.at(memory.view, PAGE_SIZE);
  const options = {
    domid: 5,
    memory,
    ringAddress: maddr(PAGE_SIZE),
    notify: () => {
      notified += 1;
    },
    defer: (task: () => void) => queue.defer(task),
    faults: { onTransfer: fault },
  };
  const start = () => createPrimaryConsole(options);
  return {
    memory,
    ring,
    queue,
    start,
    notified: () => notified,
    /** The domain writes: returns what found no room. */
    print(s: string): string {
      const room = OUT_BYTES - ((ring.out_prod - ring.out_cons) >>> 0);
      for (let i = 0; i < Math.min(room, s.length); i++) {
        ring.out[(ring.out_prod + i) % OUT_BYTES] = s.charCodeAt(i);
      }
      ring.out_prod += Math.min(room, s.length);
      return s.slice(room);
    },
    /** The domain reads its input. */
    type(max = IN_BYTES): string {
      let s = '';
      while (ring.in_cons !== ring.in_prod && s.length < max) {
        s += String.fromCharCode(ring.in[ring.in_cons % IN_BYTES]!);
        ring.in_cons += 1;
      }
      return s;
    },
  };
}

test('output reaches the listener in order, across the end of the ring and of the index range', () => {
  const t = setUp();
  t.ring.out_cons = 0xffff_ff00;
  t.ring.out_prod = 0xffff_ff00;
  const console = t.start();
  let seen = '';
  console.onData(bytes => {
    seen += text(bytes);
  });
  let sent = '';
  for (let i = 0; i < 40; i++) {
    const line = `line ${i} ${'x'.repeat(i * 7)}\n`;
    assert.equal(t.print(line), '');
    sent += line;
    console.onEvent();
  }
  assert.equal(seen, sent);
  assert.equal(text(console.history()), sent);
  assert.equal(t.notified(), 40);
});

test('history keeps the last 64 KiB', () => {
  const t = setUp();
  const console = t.start();
  let sent = '';
  for (let i = 0; i < 100; i++) {
    const block = String.fromCharCode(97 + (i % 26)).repeat(1999);
    t.print(block);
    sent += block;
    console.onEvent();
  }
  assert.equal(text(console.history()), sent.slice(-65536));
});

test('input is accepted as far as there is room, and the writer hears of new room once', () => {
  const t = setUp();
  const console = t.start();
  let writable = 0;
  console.onWritable(() => {
    writable += 1;
  });
  const input = Array.from({ length: 2500 }, (_, i) => String.fromCharCode(33 + (i % 90))).join('');
  let accepted = console.write(bytesOf(input));
  assert.equal(accepted, IN_BYTES);
  assert.equal(console.write(bytesOf('x')), 0);
  console.onEvent();
  assert.equal(writable, 0);
  let typed = t.type(100);
  console.onEvent();
  console.onEvent();
  assert.equal(writable, 1);
  for (let i = 0; i < 10 && typed.length < input.length; i++) {
    accepted += console.write(bytesOf(input.slice(accepted)));
    typed += t.type();
  }
  assert.equal(typed, input);
});

test('a paused console holds the domain up; resumed, it gives everything', () => {
  const t = setUp();
  const console = t.start();
  let seen = '';
  console.onData(bytes => {
    seen += text(bytes);
  });
  console.pause();
  const rest = t.print('y'.repeat(3000));
  console.onEvent();
  assert.equal(rest.length, 3000 - OUT_BYTES);
  assert.equal(seen, '');
  console.resume();
  t.queue.pump();
  assert.equal(t.print(rest), '');
  console.onEvent();
  assert.equal(seen, 'y'.repeat(3000));
});

test('a listener that returns a promise holds the domain up until it settles', async () => {
  const t = setUp();
  const console = t.start();
  let seen = '';
  let release = () => {};
  console.onData(bytes => {
    seen += text(bytes);
    return new Promise<void>(resolve => {
      release = resolve;
    });
  });
  t.print('one ');
  console.onEvent();
  t.print('two ');
  console.onEvent();
  assert.equal(seen, 'one ');
  release();
  await Promise.resolve();
  await Promise.resolve();
  t.queue.pump();
  assert.equal(seen, 'one two ');
  t.print('last words');
  console.onEvent();
  assert.equal(seen, 'one two ');
  console.drain();
  assert.equal(seen, 'one two last words');
});

test('a closed console takes no input; output goes on', () => {
  const t = setUp();
  const console = t.start();
  let seen = '';
  console.onData(bytes => {
    seen += text(bytes);
  });
  console.close();
  t.print('bye');
  console.onEvent();
  assert.equal(seen, 'bye');
  assert.equal(text(console.history()), 'bye');
  assert.equal(console.write(bytesOf('x')), 0);
});

test('faults: delayed output comes later, lost output does not', () => {
  const faults: Fault[] = ['delay', 'none', 'lose', 'none'];
  const t = setUp(() => faults.shift() ?? 'none');
  const console = t.start();
  let seen = '';
  console.onData(bytes => {
    seen += text(bytes);
  });
  t.print('one ');
  console.onEvent();
  assert.equal(seen, '');
  t.queue.pump();
  assert.equal(seen, 'one ');
  t.print('two ');
  console.onEvent();
  t.print('three');
  console.onEvent();
  assert.equal(seen, 'one three');
});

test('random ring contents never do harm', () => {
  let seed = 12345;
  const random = () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed;
  };
  const t = setUp();
  const console = t.start();
  let got = 0;
  console.onData(bytes => {
    got += bytes.length;
  });
  const outside = () => [...t.memory.u8.subarray(0, PAGE_SIZE), ...t.memory.u8.subarray(2 * PAGE_SIZE)];
  const before = outside();
  const indices = ['in_cons', 'in_prod', 'out_cons', 'out_prod'] as const;
  for (let i = 0; i < 5000; i++) {
    for (const index of indices) {
      const kind = random() % 4;
      if (kind === 0) t.ring[index] = random();
      if (kind === 1) t.ring[index] = (t.ring[index] + (random() % 4096)) >>> 0;
    }
    const gotBefore = got;
    const { out_prod: prod, out_cons: cons } = t.ring;
    console.onEvent();
    const expected = (prod - cons) >>> 0;
    assert.equal(got - gotBefore, expected <= OUT_BYTES ? expected : 0);
    assert.ok(console.write(new Uint8Array(random() % 3000)) <= IN_BYTES);
    t.queue.pump();
  }
  assert.deepEqual(outside(), before);
  assert.ok(got > 0);
});
