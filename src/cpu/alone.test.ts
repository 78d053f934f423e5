import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { maddr } from '../base/brand.ts';
import { MACHINE_HEADER, MachineHeader, machineHeader } from '../machine/header.ts';
import { createLock } from '../machine/lock.ts';
import { createMachineMemory } from '../machine/memory.ts';
import { createAlone } from './alone.ts';
import { KICK, KICK_ASIDE, Vcpu } from './vcpu/layout.ts';

const LOCK = new URL('../machine/lock.ts', import.meta.url).href;
const ROUNDS = 20_000;
/** A word that nothing else is in. */
const SEEN = 0x30_0000 >>> 2;

test('a lock keeps two threads apart, and may be taken again by its holder', async () => {
  const words = new Int32Array(new SharedArrayBuffer(64));
  const source = `
    const { workerData } = require('node:worker_threads');
    import('${LOCK}').then(({ createLock }) => {
      const lock = createLock(workerData, 0);
      for (let i = 0; i < ${ROUNDS}; i++) lock.during(() => lock.during(() => { workerData[4] = workerData[4] + 1; }));
    });`;
  const workers = [0, 1].map(() => new Worker(source, { eval: true, workerData: words }));
  await Promise.all(workers.map(worker => new Promise(resolve => worker.once('exit', resolve))));
  assert.equal(words[4], 2 * ROUNDS);
  assert.equal(words[0], 0);
});

test('a lock is not released by who does not hold it', () => {
  const lock = createLock(new Int32Array(new SharedArrayBuffer(64)), 0);
  assert.throws(() => lock.release(), /not held/);
});

test('who wants to be alone kicks the vCPUs that execute, and only those', () => {
  const memory = createMachineMemory(4 << 20);
  const blocks = [0x20_0000, 0x21_0000].map(address => maddr(address));
  const header = machineHeader(memory);
  for (const block of blocks) {
    Vcpu.at(memory.view, block).nextVcpu = header.firstVcpu;
    header.firstVcpu = block;
  }
  const [first, second] = blocks.map(block => Vcpu.at(memory.view, block));
  const alone = createAlone(memory);
  alone.engage(blocks[0]!);
  alone.disengage(blocks[0]!);
  let done = 0;
  alone.during(() => {
    done = memory.i32[(MACHINE_HEADER + MachineHeader.offsets.aloneLock) >>> 2]!;
  });
  assert.equal(done, 1);
  assert.deepEqual([first!.kick, second!.kick], [0, 0]);

  // The second one leaves when it sees the kick: here, another thread plays that part.
  alone.engage(blocks[1]!);
  const engaged = (blocks[1]! + Vcpu.offsets.engaged) >>> 2;
  const kick = (blocks[1]! + Vcpu.offsets.kick) >>> 2;
  const source = `
    const { workerData: words } = require('node:worker_threads');
    Atomics.wait(words, ${kick}, 0);
    while (Atomics.load(words, ${kick}) === 0) {}
    Atomics.store(words, ${engaged}, 0);
    Atomics.notify(words, ${engaged});`;
  new Worker(source, { eval: true, workerData: memory.i32 });
  alone.during(() => {
    assert.equal(second!.engaged, 0);
    assert.equal(second!.kick, KICK_ASIDE);
  });
  assert.equal(first!.kick, 0);
  assert.equal(alone.count, 2);
});

test('a vCPU that is kicked for a moment steps aside and goes on; for any other kick it has to leave', async () => {
  const memory = createMachineMemory(4 << 20);
  const block = maddr(0x20_0000);
  machineHeader(memory).firstVcpu = block;
  const vcpu = Vcpu.at(memory.view, block);
  const alone = createAlone(memory);
  alone.engage(block);
  assert.equal(alone.stepAside(block), false, 'nobody has asked');
  vcpu.kick = KICK;
  assert.equal(alone.stepAside(block), false);
  assert.deepEqual([vcpu.kick, vcpu.engaged], [KICK, 1]);

  // Another thread wants to be alone: its kick does not hide one that is there, and this thread goes on when it has been.
  vcpu.kick = 0;
  const lock = (MACHINE_HEADER + MachineHeader.offsets.aloneLock) >>> 2;
  const [engaged, kick] = (['engaged', 'kick'] as const).map(field => (block + Vcpu.offsets[field]) >>> 2);
  const source = `
    const { workerData: words } = require('node:worker_threads');
    Atomics.store(words, ${lock}, 1);
    Atomics.store(words, ${kick}, ${KICK_ASIDE});
    while (Atomics.load(words, ${engaged}) !== 0) {
      Atomics.compareExchange(words, ${engaged}, 1, 2);
      Atomics.wait(words, ${engaged}, 2);
    }
    words[${SEEN}] = Atomics.load(words, ${kick}) + 1;
    if (Atomics.exchange(words, ${lock}, 0) === 2) Atomics.notify(words, ${lock});`;
  const other = new Worker(source, { eval: true, workerData: memory.i32 });
  const ended = new Promise(resolve => other.once('exit', resolve));
  while (!alone.stepAside(block)) {}
  assert.deepEqual([vcpu.kick, vcpu.engaged, memory.i32[SEEN]], [0, 1, 1]);
  assert.equal(memory.i32[lock], 0);
  await ended;
});

test('a kick that is set stays when somebody wants to be alone', () => {
  const memory = createMachineMemory(4 << 20);
  const block = maddr(0x20_0000);
  machineHeader(memory).firstVcpu = block;
  const vcpu = Vcpu.at(memory.view, block);
  vcpu.kick = KICK;
  vcpu.engaged = 1;
  const engaged = (block + Vcpu.offsets.engaged) >>> 2;
  const source = `
    const { workerData: words } = require('node:worker_threads');
    while (Atomics.load(words, ${engaged}) !== 2) {}
    Atomics.store(words, ${engaged}, 0);
    Atomics.notify(words, ${engaged});`;
  new Worker(source, { eval: true, workerData: memory.i32 });
  createAlone(memory).during(() => assert.deepEqual([vcpu.kick, vcpu.engaged], [KICK, 0]));
  assert.equal(vcpu.kick, KICK);
});
