/** Records are copied from a machine that another thread executes, and that throws its code away again and again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { chooser, codeMachine, PAGES } from './decoded-before.fixture.ts';

const FIXTURE = new URL('./decoded-before.fixture.ts', import.meta.url).href;

test('what is copied is right, whatever the other machine does with its code cache meanwhile', async () => {
  const first = codeMachine(() => undefined);
  /** Is the other thread done, and how many records were wrong. */
  const state = new Int32Array(new SharedArrayBuffer(8));
  const source = `
    const { parentPort, workerData: { state, memory, frame } } = require('node:worker_threads');
    import('${FIXTURE}').then(({ copyAndCompare }) => {
      parentPort.postMessage('ready');
      try {
        state[1] = copyAndCompare(memory, frame);
      } finally {
        Atomics.store(state, 0, 1);
      }
    });`;
  const workerData = { state, memory: first.memory.wasm, frame: first.frame };
  const worker = new Worker(source, { eval: true, workerData });
  await new Promise(resolve => worker.once('message', resolve));
  const choose = chooser(8);
  for (let i = 0; Atomics.load(state, 0) === 0; i++) {
    if (i % PAGES === 0) first.discard();
    first.lookup(...choose());
  }
  await new Promise(resolve => worker.once('exit', resolve));
  assert.equal(state[1], 0);
});
