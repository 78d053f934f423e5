/** The WebAssembly module around regions: what they import, and their places in the table of handlers. */

import { COMPUTE_AUX } from '../interpreter/flag-kinds.ts';
import { SERVICES } from '../interpreter/services.ts';
import { signatureOf } from '../runtime/signatures-all.ts';
import type { Callee } from '../wasm/code.ts';
import { ModuleBuilder } from '../wasm/module.ts';
import { generateRegion, type Surroundings } from './generate.ts';
import type { Region } from './region.ts';

/**
 * @param slots where in the interpreter's table the regions go when the module is instantiated
 */
export function buildModule(regions: readonly Region[], slots: readonly number[]): Uint8Array {
  const module = new ModuleBuilder();
  const callees = new Map<string, Callee>();
  const surroundings: Surroundings = {
    runtime(name) {
      let callee = callees.get(name);
      if (!callee) {
        const { params, result } = signatureOf(name);
        callee = module.importFunction('runtime', name, params, result);
        callees.set(name, callee);
      }
      return callee;
    },
    computeAux: module.importFunction(
      'interpreter',
      COMPUTE_AUX.name,
      COMPUTE_AUX.params,
      COMPUTE_AUX.result,
    ),
    hot: module.importFunction('interpreter', 'hot', SERVICES.hot.params, SERVICES.hot.result),
    handlerType: module.type(['i32', 'i32'], 'i32'),
  };
  // Imports come before functions: which there are is known when the code is written.
  const codes = regions.map(region => generateRegion(region, surroundings));
  const functions = codes.map(code => {
    const callee = module.declare(['i32', 'i32'], 'i32');
    module.define(callee, code);
    return callee;
  });
  module.importTable(
    'interpreter',
    'handlers',
    functions.map((callee, i) => ({ callee, at: slots[i] as number })),
  );
  return module.build();
}
