/** The WebAssembly module around regions: what they import, and their names. It depends on the regions alone. */

import { COMPUTE_AUX } from '../interpreter/flag-kinds.ts';
import { SERVICES } from '../interpreter/services.ts';
import { signatureOf } from '../runtime/signatures-all.ts';
import type { Callee } from '../wasm/code.ts';
import { ModuleBuilder } from '../wasm/module.ts';
import { generateRegion } from './generate.ts';
import type { Region } from './region.ts';

/** The module's surroundings. */
export interface Surroundings {
  runtime(name: string): Callee;
  /** Function type of handlers and regions. */
  readonly handlerType: number;
  readonly computeAux: Callee;
  /** The service that makes regions of hot places. */
  readonly hot: Callee;
}

/** A region's export is named by its position. */
export function buildModule(regions: readonly Region[]): Uint8Array {
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
  codes.forEach((code, position) => {
    const callee = module.declare(['i32', 'i32'], 'i32');
    module.define(callee, code);
    module.export(String(position), callee);
  });
  module.importTable('interpreter', 'handlers');
  return module.build();
}
