import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FRAME_TABLE_BASE } from '../../machine/memory.ts';
import { CodeRecord, LINK_OFFSET, RECORD_BYTES } from '../decode/record.ts';
import { FIRST_CALLED, FIRST_RARE, FORMS, type Form } from '../isa/forms.ts';
import { Exit } from '../vcpu/exit.ts';
import { Vcpu } from '../vcpu/layout.ts';
import { lateModule } from '../wasm/late-module.ts';
import { Outcome } from './emitter.ts';
import { generateInterpreter } from './generate.ts';
import { Pseudo } from './pseudo.ts';
import { generateRareForms } from './rare-forms.ts';

const CPU = 65536;
const RECORD = FRAME_TABLE_BASE;
const V = Vcpu.offsets;

const [main, rare] = [generateInterpreter(new Uint8Array()), generateRareForms()].map(
  bytes => new WebAssembly.Module(new Uint8Array(bytes)),
) as [WebAssembly.Module, WebAssembly.Module];

/** BSWAP of a 16-bit register clears it: nobody writes that. */
const RARE = FORMS.find(
  ({ definition, size, id }) => definition.name === 'bswap' && size === 2 && id >= FIRST_RARE,
) as Form;
const slot = RARE.id - FIRST_CALLED;

/** A loop of that instruction on RAX and a record that leads back to it. */
function machine() {
  const memory = new WebAssembly.Memory({ initial: 32, maximum: 65536, shared: true });
  const view = new DataView(memory.buffer);
  view.setUint16(RECORD + CodeRecord.offsets.handler, RARE.id, true);
  view.setUint16(RECORD + CodeRecord.offsets.rm, V.gpr, true);
  view.setUint16(RECORD + RECORD_BYTES + CodeRecord.offsets.handler, Pseudo.proceed, true);
  view.setUint32(RECORD + RECORD_BYTES + LINK_OFFSET, RECORD, true);
  view.setBigUint64(CPU + V.gpr, 0x1111_2222_3333_4444n, true);
  const imports: WebAssembly.Imports = { env: { memory }, runtime: {}, services: {} };
  for (const { module: from, name, kind } of [main, rare].flatMap(WebAssembly.Module.imports)) {
    const functions = imports[from];
    if (kind === 'function' && functions) functions[name] = () => (name === 'lookup' ? RECORD : 0);
  }
  let nrLoads = 0;
  (imports.services as WebAssembly.ModuleImports).rareForms = () => {
    nrLoads += 1;
    new WebAssembly.Instance(rare, { ...imports, interpreter: interpreter.exports });
  };
  const interpreter = new WebAssembly.Instance(main, imports);
  const table = interpreter.exports.handlers as WebAssembly.Table;
  return {
    view,
    table,
    run: interpreter.exports.run as (cpu: number) => void,
    handle: () => (table.get(slot) as (cpu: number, record: number) => number)(CPU, RECORD),
    nrLoads: () => nrLoads,
    fuel: () => view.getInt32(CPU + V.fuel, true),
    rax: () => view.getBigUint64(CPU + V.gpr, true),
  };
}

test('the first rare form brings the handlers of all, and each instruction is counted once', () => {
  for (const fuel of [1, 2, 1000]) {
    const { view, run, nrLoads, rax, ...m } = machine();
    view.setInt32(CPU + V.fuel, fuel, true);
    run(CPU);
    assert.deepEqual([nrLoads(), m.fuel(), rax()], [1, 0, 0x1111_2222_3333_0000n]);
    assert.equal(view.getUint32(CPU + V.exitReason, true), Exit.fuel);
  }
});

test('without fuel for it nothing is loaded', () => {
  const { run, nrLoads } = machine();
  run(CPU);
  assert.equal(nrLoads(), 0);
});

test('a region that calls such a handler is told to have it executed again, and has not paid for it', () => {
  const { table, handle, nrLoads, fuel, rax } = machine();
  const before = table.get(slot);
  assert.equal(handle(), Outcome.repeat);
  assert.deepEqual([nrLoads(), fuel(), rax()], [1, 1, 0x1111_2222_3333_4444n]);
  assert.notEqual(table.get(slot), before);
  assert.equal(handle(), Outcome.next);
  assert.deepEqual([nrLoads(), fuel(), rax()], [1, 1, 0x1111_2222_3333_0000n]);
});

test('the table has the rare handlers at their numbers, the others where they were', () => {
  const { table, handle } = machine();
  const all = () => Array.from({ length: table.length }, (_, i) => table.get(i));
  const before = all();
  handle();
  const changed = all().flatMap((entry, i) => (entry === before[i] ? [] : [i + FIRST_CALLED]));
  assert.deepEqual(
    changed,
    FORMS.flatMap(({ id }) => (id >= FIRST_RARE ? [id] : [])),
  );
});

test('the module of another build is not taken', () => {
  assert.throws(() => lateModule('rare-forms', main), { code: 'E_STALE_BUILD' });
});
