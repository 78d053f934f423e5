import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as w from './code.ts';
import { Code } from './code.ts';
import { ModuleBuilder } from './module.ts';
import { IF } from './opcodes.ts';

test('a branch hint names the place of its branch in the function body', () => {
  const code = new Code(['i32']);
  const kept = code.local('i64');
  code.set(kept, w.i64(5));
  code.if(code.parameter(0), () => code.return(w.i32(1)), undefined, false);
  code.if(w.eqz(code.parameter(0)), () => code.return(w.i32(2)));
  code.return(w.i32(3));
  code.unreachable();
  const builder = new ModuleBuilder();
  builder.define(builder.declare(['i32'], 'i32'), code);
  const module = new WebAssembly.Module(builder.build() as BufferSource);

  const [section] = WebAssembly.Module.customSections(module, 'metadata.code.branch_hint');
  const [functions, index, hints, offset, size, isLikely, ...rest] = new Uint8Array(section as ArrayBuffer);
  assert.deepEqual([functions, index, hints, size, isLikely, rest.length], [1, 0, 1, 1, 0, 0]);
  const body = code.finish().view();
  assert.equal(body[offset as number], IF);
});
