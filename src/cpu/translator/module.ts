/** The WebAssembly module around a region: what it imports, and its place in the table of handlers. */

import { COMPUTE_AUX } from '../interpreter/flag-kinds.ts';
import { signatureOf } from '../runtime/signatures-all.ts';
import type { Callee } from '../wasm/code.ts';
import { ModuleBuilder } from '../wasm/module.ts';
import { generateRegion, type Surroundings } from './generate.ts';
import type { Region } from './region.ts';

/** Runtime functions that nearly every region calls; others are imported when they are wanted. */
const COMMON = ['readSlow', 'writeSlow', 'modifySlow', 'commit', 'deliver'];

/** @param slot where in the interpreter's table the region goes when the module is instantiated */
export function buildModule(region: Region, slot: number): Uint8Array {
  const imported: string[] = [...COMMON];
  // Imports come first, but which there are is known only when the code is written.
  for (;;) {
    const before = imported.length;
    const module = build(region, slot, imported);
    if (imported.length === before) return module.build();
  }
}

function build(region: Region, slot: number, imported: string[]): ModuleBuilder {
  const module = new ModuleBuilder();
  const callees = new Map<string, Callee>();
  for (const name of imported) {
    const { params, result } = signatureOf(name);
    callees.set(name, module.importFunction('runtime', name, params, result));
  }
  const surroundings: Surroundings = {
    runtime(name) {
      const known = callees.get(name);
      if (known) return known;
      imported.push(name);
      const { params, result } = signatureOf(name);
      const callee = { index: 0, params, result };
      callees.set(name, callee);
      return callee;
    },
    computeAux: module.importFunction(
      'interpreter',
      COMPUTE_AUX.name,
      COMPUTE_AUX.params,
      COMPUTE_AUX.result,
    ),
    handlerType: module.type(['i32', 'i32'], 'i32'),
  };
  const callee = module.declare(['i32', 'i32'], 'i32');
  module.define(callee, generateRegion(region, surroundings));
  module.importTable('interpreter', 'handlers', slot, [callee]);
  return module;
}
