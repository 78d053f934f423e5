/** The signature table lists what the module exports, no more and no less. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { buildFloatModule, temporaryDirectory } from '../../../test/float/harness.ts';
import { FLOAT_SIGNATURES, type Signature } from './signatures-float.ts';

it('the table of floating-point exports matches the module', () => {
  const { exports } = buildFloatModule(temporaryDirectory());
  const functions = Object.keys(exports).filter(name => typeof exports[name] === 'function');
  assert.deepEqual(functions.sort(), Object.keys(FLOAT_SIGNATURES).sort());
  for (const [name, signature] of Object.entries<Signature>(FLOAT_SIGNATURES))
    assert.equal(exports[name]!.length, signature.params.length, name);
});
