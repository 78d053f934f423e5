/** Order of stores between threads. On x86 that is the processor's own, so what is tested here is the hosts that need a barrier. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { fence, makeAtomicFence } from './fence.ts';

const ROUNDS = 200_000;

test('what was stored before the barrier is seen by who sees what was stored behind it', async () => {
  makeAtomicFence()();
  const words = new Int32Array(new SharedArrayBuffer(4096));
  const [FLAG, DATA, STOP] = [0, 512, 1000];
  // How often the other thread has seen the flag of a round and older data.
  const source = `
    const { parentPort, workerData: words } = require('node:worker_threads');
    let nrWrong = 0;
    while (Atomics.load(words, ${STOP}) === 0) {
      const flag = Atomics.load(words, ${FLAG});
      if (words[${DATA}] < flag) nrWrong += 1;
    }
    parentPort.postMessage(nrWrong);`;
  const worker = new Worker(source, { eval: true, workerData: words });
  await new Promise(resolve => worker.once('online', resolve));
  const answer = new Promise(resolve => worker.once('message', resolve));
  for (let round = 1; round <= ROUNDS; round++) {
    words[DATA] = round;
    fence();
    words[FLAG] = round;
  }
  Atomics.store(words, STOP, 1);
  assert.equal(await answer, 0);
});
