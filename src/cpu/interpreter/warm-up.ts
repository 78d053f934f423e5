/**
 * Makes V8 optimise the interpreter before a guest needs it. The main loop is one function of 50 KB: V8 runs what its fast
 * compiler makes of it until the other one, on a thread of its own, is done, after a tenth of a second. That begins as soon as a
 * few hundred rounds have been run of a program of one instruction, in a memory that is then thrown away.
 */
import { invariant } from '../../base/errors.ts';
import { FRAME_TABLE_BASE } from '../../machine/memory.ts';
import { CodeRecord, LINK_OFFSET, RECORD_BYTES } from '../decode/record.ts';
import { FIRST_CALLED, FORMS } from '../isa/forms.ts';
import { Exit } from '../vcpu/exit.ts';
import { Vcpu } from '../vcpu/layout.ts';
import { Pseudo } from './pseudo.ts';

const WASM_PAGE = 65536;
/** The module asks for this much. */
const MEMORY = { initial: 32, maximum: 32, shared: true } as const;
const CPU = WASM_PAGE;
const RECORD = FRAME_TABLE_BASE;
/** V8 counts the bytes of code that a loop jumps back over, up to 13,000,000 of them; here each round is some 50,000. */
const ROUNDS = 2000;

/** Where address space is short the machine will say so, better than this could. */
function tryMemory(): WebAssembly.Memory | undefined {
  try {
    return new WebAssembly.Memory(MEMORY);
  } catch {
    return undefined;
  }
}

export function warmUpInterpreter(module: WebAssembly.Module): void {
  const memory = tryMemory();
  if (!memory) return;
  const view = new DataView(memory.buffer);
  const nop = FORMS.find(({ definition }) => definition.name === 'nop');
  invariant(nop && nop.id < FIRST_CALLED, 'NOP is in the main loop');
  view.setUint16(RECORD + CodeRecord.offsets.handler, nop.id, true);
  view.setUint16(RECORD + RECORD_BYTES + CodeRecord.offsets.handler, Pseudo.proceed, true);
  view.setUint32(RECORD + RECORD_BYTES + LINK_OFFSET, RECORD, true);
  view.setInt32(CPU + Vcpu.offsets.fuel, ROUNDS, true);
  const imports: WebAssembly.Imports = { env: { memory }, runtime: {}, services: {} };
  for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
    const isLookup = name === 'lookup';
    if (kind === 'function') imports[from]![name] = () => (isLookup ? RECORD : 0);
  }
  const { run } = new WebAssembly.Instance(module, imports).exports;
  (run as (cpu: number) => void)(CPU);
  invariant(
    view.getUint32(CPU + Vcpu.offsets.exitReason, true) === Exit.fuel,
    'the program ends when its fuel does',
  );
}
