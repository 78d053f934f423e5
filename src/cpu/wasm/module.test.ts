import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as w from './code.ts';
import { Code } from './code.ts';
import { ModuleBuilder } from './module.ts';
import { IF, LOCAL_TEE } from './opcodes.ts';

function hintedFunction(): Code {
  const code = new Code(['i32']);
  const kept = code.local('i64');
  code.set(kept, w.i64(5));
  code.if(code.parameter(0), () => code.return(w.i32(1)), undefined, false);
  code.if(w.eqz(code.parameter(0)), () => code.return(w.i32(2)));
  code.return(w.i32(3));
  code.unreachable();
  return code;
}

test('a branch hint names the place of its branch in the function body', () => {
  const builder = new ModuleBuilder();
  builder.define(builder.declare(['i32'], 'i32'), hintedFunction());
  const module = new WebAssembly.Module(builder.build() as BufferSource);

  const [section] = WebAssembly.Module.customSections(module, 'metadata.code.branch_hint');
  const [functions, index, hints, offset, size, isLikely, ...rest] = new Uint8Array(section as ArrayBuffer);
  assert.deepEqual([functions, index, hints, size, isLikely, rest.length], [1, 0, 1, 1, 0, 0]);
  const body = hintedFunction().finish().view();
  assert.equal(body[offset as number], IF);
});

test('a local that is read right after it was set is set and kept on the stack', () => {
  const twice = (between: (code: Code) => void): Uint8Array => {
    const code = new Code(['i32']);
    const kept = code.local('i32');
    code.set(kept, w.add(code.parameter(0), w.i32(5)));
    between(code);
    code.return(w.mul(kept, kept));
    code.unreachable();
    const builder = new ModuleBuilder();
    const callee = builder.declare(['i32'], 'i32');
    builder.define(callee, code);
    builder.export('twice', callee);
    return builder.build();
  };
  const run = (bytes: Uint8Array) => {
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 65536, shared: true });
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes as BufferSource), {
      env: { memory },
    });
    return (exports.twice as (n: number) => number)(2);
  };
  const direct = twice(() => {});
  const apart = twice(code => code.block(() => {}));
  assert.deepEqual([run(direct), run(apart)], [49, 49]);
  assert.deepEqual([direct.includes(LOCAL_TEE), apart.includes(LOCAL_TEE)], [true, false]);
});
