/**
 * Vector instructions with an immediate that is known when code is generated, as it is to a translator, against the same
 * ones with an immediate that is not: shuffles, shifts, blends, elements inserted and extracted.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as w from '../wasm/code.ts';
import { Code, type Value } from '../wasm/code.ts';
import { ModuleBuilder } from '../wasm/module.ts';
import type { Definition } from './definition.ts';
import { type Emitter, type Operand, typeOf } from './emitter.ts';
import { sizeOf } from './operand-size.ts';
import { TABLE } from './table.ts';

const OPERAND_BYTES = 32;
const REST = 'VHWUYREGM';
const IMMEDIATES = Array.from({ length: 256 }, (_, i) => i).filter(i => i < 36 || i % 7 === 3);
/** Entries of vectors whose one immediate is their last operand, but for comparisons of strings, which are the runtime's. */
const entries = TABLE.filter(
  ({ name, operands, options }) =>
    !/pcmp[ei]str/.test(name) &&
    (options.unit === 'sse' || options.unit === 'avx') &&
    operands.at(-1)?.kind === 'I' &&
    operands.slice(0, -1).every(operand => REST.includes(operand.kind)),
);

/** An operand that lies at an address, in a register or not. */
function operandAt(code: Code, address: Value, size: number): Operand {
  const parts = () =>
    Array.from({ length: Math.ceil(size / 16) }, (_, i) => code.let(w.loadV128(address, 16 * i)));
  const writeParts = (values: readonly Value[]) => {
    const kept = values.map(value => code.let(value));
    kept.forEach((value, i) => {
      code.store(16, address, value, 16 * i);
    });
  };
  return {
    size,
    isMemory: false,
    read: () => code.let(w.load(typeOf(size), size, address)),
    write: (value: Value) => code.store(size, address, value),
    readVector: () => parts()[0] as Value,
    readParts: parts,
    writeVector: (value: Value) => writeParts([value]),
    writeParts,
    location: () => address,
  } as unknown as Operand;
}

/** fn(base, immediate): the instruction on operands that lie one after the other from `base` on. */
function compile(definition: Definition, size: number, immediate?: number): Code {
  const code = new Code(['i32', 'i32']);
  const let_ = (value: Value) => code.let(value);
  const calls = () => {
    throw new Error('calls the runtime');
  };
  // A field of the vCPU block, or what MXCSR says, is only looked at around a call.
  const field = calls;
  const x = {
    code,
    cpu: code.parameter(0),
    field,
    size,
    mode64: true,
    let: let_,
    local: (type: w.Type) => code.local(type),
    set: (local: w.Local, value: Value) => code.set(local, value),
    if: (condition: Value, then: () => void) => code.if(condition, then),
    lanes: calls,
    precisionState: calls,
    runtime: calls,
  };
  const operands = definition.operands.map((spec, i) =>
    spec.kind === 'I'
      ? ({ size: 1, read: () => (immediate === undefined ? code.parameter(1) : w.i32(immediate)) } as Operand)
      : operandAt(code, w.add(code.parameter(0), w.i32(i * OPERAND_BYTES)), sizeOf(spec.size, size)),
  );
  definition.semantics(x as unknown as Emitter, ...operands);
  return code;
}

const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
const bytes = new Uint8Array(memory.buffer);

test('a known immediate gives what one from a register gives', t => {
  let compared = 0;
  for (const definition of entries) {
    for (const size of definition.operands.some(operand => operand.size === 'y') ? [4, 8] : [4]) {
      const module = new ModuleBuilder(1);
      try {
        for (const immediate of [undefined, ...IMMEDIATES]) {
          const code = compile(definition, size, immediate);
          const callee = module.declare(['i32', 'i32']);
          module.define(callee, code);
          module.export(String(immediate), callee);
        }
      } catch (error) {
        if ((error as Error).message === 'calls the runtime') continue;
        throw error;
      }
      const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module.build() as BufferSource), {
        env: { memory },
      });
      const run = (name: string, immediate: number): string => {
        for (let i = 0; i < 5 * OPERAND_BYTES; i++) bytes[i] = (i * 37 + 11 * (immediate + 1)) ^ (i << 3);
        (exports[name] as (base: number, immediate: number) => void)(0, immediate);
        return Buffer.from(bytes.subarray(0, 5 * OPERAND_BYTES)).toString('hex');
      };
      for (const immediate of IMMEDIATES) {
        assert.equal(
          run(String(immediate), immediate),
          run('undefined', immediate),
          `${definition.name} ${definition.encoding} ${immediate}`,
        );
      }
      compared++;
    }
  }
  t.diagnostic(`${compared} forms`);
  assert.ok(compared > 70, `only ${compared}`);
});
