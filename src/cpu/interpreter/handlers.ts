/** What both of the interpreter's modules have: the functions that they import, and how a form's semantics become a handler. */
import { invariant } from '../../base/errors.ts';
import { type Form, semanticSize } from '../isa/forms.ts';
import { RUNTIME_SIGNATURES } from '../runtime/signatures-all.ts';
import * as w from '../wasm/code.ts';
import { type Callee, Code } from '../wasm/code.ts';
import { ModuleBuilder } from '../wasm/module.ts';
import { type Functions, InterpreterEmitter, Outcome } from './emitter.ts';
import { SERVICES, type ServiceName } from './services.ts';

/** A handler that is called: (cpu, record) -> outcome. Regions of the translator are like it. */
export const HANDLER = { params: ['i32', 'i32'], result: 'i32' } as const;

/** @param isWanted which of all that there are */
function importFunctions(module: ModuleBuilder, isWanted: (name: string) => boolean): Map<string, Callee> {
  const callees = new Map<string, Callee>();
  for (const [name, { params, result }] of Object.entries(RUNTIME_SIGNATURES)) {
    if (isWanted(name))
      callees.set(name, module.importFunction('runtime', name, params, result ?? undefined));
  }
  for (const name of Object.keys(SERVICES) as ServiceName[]) {
    const { params, result } = SERVICES[name];
    if (isWanted(name)) callees.set(name, module.importFunction('services', name, params, result));
  }
  return callees;
}

/**
 * A module that imports no more than it calls. Imports come before the functions that call them, so it is written twice: the first time all are
 * there, to see which are called.
 */
export function moduleOf(write: (module: ModuleBuilder, functions: Functions) => void): Uint8Array {
  const called = new Set<string>();
  const round = (isWanted: (name: string) => boolean): ModuleBuilder => {
    const module = new ModuleBuilder();
    const callees = importFunctions(module, isWanted);
    write(module, {
      runtime(name) {
        const callee = callees.get(name);
        invariant(callee, `no runtime function ${name}`);
        called.add(name);
        return callee;
      },
    });
    return module;
  };
  round(() => true);
  return round(name => called.has(name)).build();
}

/** Append what one instruction does. */
export function emitForm(x: InterpreterEmitter, form: Form): void {
  let immediates = 0;
  const operands = form.definition.operands
    .filter(spec => spec.kind !== 'X')
    .map(spec => x.operand(spec, form, spec.kind === 'I' && immediates++ > 0));
  form.definition.semantics(x, ...operands);
}

function generateHandler(form: Form, functions: Functions): Code {
  const code = new Code(HANDLER.params);
  const shaped = { ...form, size: semanticSize(form) };
  const x = new InterpreterEmitter(code, shaped, code.parameter(0), code.parameter(1), functions);
  emitForm(x, shaped);
  code.return(w.i32(Outcome.next));
  code.unreachable();
  return code;
}

/** Add a handler for each of these forms. */
export function defineHandlers(
  module: ModuleBuilder,
  forms: readonly Form[],
  functions: Functions,
): readonly Callee[] {
  return forms.map(form => {
    const callee = module.declare(HANDLER.params, HANDLER.result);
    module.define(callee, generateHandler(form, functions));
    return callee;
  });
}
