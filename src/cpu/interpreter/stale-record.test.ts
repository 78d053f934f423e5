import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { FRAME_TABLE_BASE } from '../../machine/memory.ts';
import { CodeRecord, LINK_OFFSET, RECORD_BYTES } from '../decode/record.ts';
import { FIRST_CALLED, FORMS } from '../isa/forms.ts';
import { Exit } from '../vcpu/exit.ts';
import { Vcpu } from '../vcpu/layout.ts';
import { generateInterpreter } from './generate.ts';
import { Pseudo } from './pseudo.ts';

const CPU = 65536;
const RECORD = FRAME_TABLE_BASE;
const ROUNDS = 5_000_000;

/** Makes a record stale, and good again, as fast as it can; until the word at 0 is not 0. */
const MEDDLER = `
  const { workerData: { memory, at, handler } } = require('node:worker_threads');
  const handlers = new Uint16Array(memory);
  const words = new Int32Array(memory);
  Atomics.store(words, 1, 1);
  while (Atomics.load(words, 0) === 0) {
    Atomics.store(handlers, at, 0);
    Atomics.store(handlers, at, handler);
  }
`;

// Read twice, the handler's number was one of the table the first time and 0 the second.
test('a record may become stale between any two steps of the main loop', async () => {
  const memory = new WebAssembly.Memory({ initial: 32, maximum: 65536, shared: true });
  const view = new DataView(memory.buffer);
  const words = new Int32Array(memory.buffer);
  const form = FORMS.find(({ id, definition }) => id >= FIRST_CALLED && definition.name === 'cld');
  assert.ok(form);
  view.setUint16(RECORD + CodeRecord.offsets.handler, form.id, true);
  view.setUint16(RECORD + RECORD_BYTES + CodeRecord.offsets.handler, Pseudo.proceed, true);
  view.setUint32(RECORD + RECORD_BYTES + LINK_OFFSET, RECORD, true);
  view.setInt32(CPU + Vcpu.offsets.fuel, ROUNDS, true);
  const module = new WebAssembly.Module(new Uint8Array(generateInterpreter(new Uint8Array())));
  const imports: WebAssembly.Imports = { env: { memory }, runtime: {}, services: {} };
  for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
    if (kind === 'function') imports[from]![name] = () => (name === 'lookup' ? RECORD : 0);
  }
  const { run } = new WebAssembly.Instance(module, imports).exports;
  const workerData = { memory: memory.buffer, at: RECORD / 2, handler: form.id };
  const meddler = new Worker(MEDDLER, { eval: true, workerData });
  await new Promise(resolve => meddler.once('online', resolve));
  while (Atomics.load(words, 1) === 0) await new Promise(resolve => setTimeout(resolve, 5));
  try {
    (run as (cpu: number) => void)(CPU);
  } finally {
    Atomics.store(words, 0, 1);
  }
  await new Promise(resolve => meddler.once('exit', resolve));
  assert.equal(view.getUint32(CPU + Vcpu.offsets.exitReason, true), Exit.fuel);
});
