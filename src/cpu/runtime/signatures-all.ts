/** Signatures of all functions that the runtime module exports. */
import { invariant } from '../../base/errors.ts';
import type { Type } from '../wasm/code.ts';
import { runtimeExports, type Signature } from './signatures.ts';
import { floatExports } from './signatures-float.ts';

export const RUNTIME_SIGNATURES: Readonly<Record<string, Signature>> = { ...runtimeExports, ...floatExports };

/** Parameters and result of a runtime function, as a caller declares them. */
export function signatureOf(name: string): { params: readonly Type[]; result: Type | undefined } {
  const found = RUNTIME_SIGNATURES[name];
  invariant(found, `no runtime function ${name}`);
  return { params: found.params, result: found.result ?? undefined };
}
