/** One vCPU stops the others for the time of an instruction. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { MACHINE_HEADER, MachineHeader } from '../../machine/header.ts';
import { KICK, KICK_ASIDE, Vcpu } from '../vcpu/layout.ts';
import { createTestMachine } from './test-machine.ts';

test('who is alone is so until the others are let go on, and nobody who executes waits for it', () => {
  const { runtime, vcpus, header } = createTestMachine({}, 2);
  const [first, second] = vcpus;
  // That the vCPU itself executes is no obstacle.
  first!.engaged = 1;
  assert.equal(runtime.stopOthers(first!.address), 1);
  assert.equal(header.aloneLock, 1);
  assert.equal(runtime.stopOthers(second!.address), 0, 'it has to leave');
  runtime.letOthersGoOn(first!.address);
  assert.deepEqual([header.aloneLock, first!.engaged, first!.kick, second!.kick], [0, 1, 0, 0]);
});

for (const kick of [0, KICK]) {
  test(`vCPUs that execute are kicked and waited for, with ${kick} as their kick before`, () => {
    const { runtime, vcpus, memory } = createTestMachine({}, 2);
    const [first, second] = vcpus;
    second!.engaged = 1;
    second!.kick = kick;
    const [engaged, kicked] = (['engaged', 'kick'] as const).map(
      field => (second!.address + Vcpu.offsets[field]) >>> 2,
    );
    // Another thread plays the part of the second one: it leaves when somebody sleeps for it.
    const source = `
      const { workerData: words } = require('node:worker_threads');
      while (Atomics.load(words, ${kicked}) === 0 || Atomics.load(words, ${engaged}) !== 2) {}
      Atomics.store(words, ${engaged}, 0);
      Atomics.notify(words, ${engaged});`;
    new Worker(source, { eval: true, workerData: memory.i32 });
    assert.equal(runtime.stopOthers(first!.address), 1);
    assert.deepEqual([second!.engaged, second!.kick], [0, kick || KICK_ASIDE]);
    runtime.letOthersGoOn(first!.address);
  });
}

test('whoever sleeps until the others may go on is woken', async () => {
  const { runtime, vcpus, memory } = createTestMachine({}, 2);
  const lock = (MACHINE_HEADER + MachineHeader.offsets.aloneLock) >>> 2;
  assert.equal(runtime.stopOthers(vcpus[0]!.address), 1);
  assert.equal(Atomics.load(memory.i32, lock), 1, 'this is the lock');
  const source = `
    const { workerData: words, parentPort } = require('node:worker_threads');
    Atomics.store(words, ${lock}, 2);
    parentPort.postMessage(Atomics.wait(words, ${lock}, 2));`;
  const sleeper = new Worker(source, { eval: true, workerData: memory.i32 });
  const woken = new Promise(resolve => sleeper.once('message', resolve));
  while (Atomics.load(memory.i32, lock) !== 2) {}
  runtime.letOthersGoOn(vcpus[0]!.address);
  assert.notEqual(await woken, 'timed-out');
});
