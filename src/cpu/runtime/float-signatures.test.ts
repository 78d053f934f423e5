/** The signature table lists what the module exports, no more and no less. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { buildFloatModule, temporaryDirectory } from '../../../test/float/harness.ts';
import type { Signature } from './signatures.ts';
import { floatExports } from './signatures-float.ts';

it('the table of floating-point exports matches the module', () => {
  const { exports } = buildFloatModule(temporaryDirectory());
  const functions = Object.keys(exports).filter(name => typeof exports[name] === 'function');
  assert.deepEqual(functions.sort(), Object.keys(floatExports).sort());
  for (const [name, { params, result }] of Object.entries<Signature>(floatExports)) {
    assert.equal(exports[name]!.length, params.length, name);
    // JavaScript cannot exchange vectors; that the types are right shows when the interpreter imports the function.
    if (params.includes('v128')) continue;
    // Zeroes are valid operands for all; i64 parameters want a bigint, and a call tells the kind of its result.
    const value = exports[name]!(...params.map(type => (type === 'i64' ? 0n : 0x3_0000)));
    assert.equal(typeof value, result === null ? 'undefined' : result === 'i64' ? 'bigint' : 'number', name);
  }
});
