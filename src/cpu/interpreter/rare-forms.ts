/**
 * Generates the interpreter's second module: handlers of forms that boots and usual programs have no use for, five of six.
 * Reading their machine code would be most of what a short command pays for the engine, so a thread has them from
 * when it meets the first of them.
 *
 * Until then their places in the table of handlers are taken by one function, which asks for them and leaves the instruction to be
 * begun again.
 */
import { FIRST_CALLED, FIRST_RARE, FORMS, formsDigest } from '../isa/forms.ts';
import { Vcpu } from '../vcpu/layout.ts';
import * as w from '../wasm/code.ts';
import { Code } from '../wasm/code.ts';
import { type Functions, Outcome } from './emitter.ts';
import { defineHandlers, HANDLER, moduleOf } from './handlers.ts';
import { DIGEST_SECTION } from './pseudo.ts';

export function generateRareForms(): Uint8Array {
  const forms = FORMS.filter(({ id }) => id >= FIRST_RARE);
  return moduleOf((module, functions) => {
    const handlers = defineHandlers(module, forms, functions);
    module.importTable('interpreter', 'handlers');
    module.elements(FIRST_RARE - FIRST_CALLED, handlers);
    module.customSection(DIGEST_SECTION, new TextEncoder().encode(String(formsDigest())));
  });
}

/** Stands in the table for all handlers of that module: (cpu, record) -> outcome, nothing done. */
export function generateMissing(functions: Functions): Code {
  const code = new Code(HANDLER.params);
  const cpu = code.parameter(0);
  const { fuel } = Vcpu.offsets;
  code.call(functions.runtime('rareForms'));
  code.store(4, cpu, w.add(w.load('i32', 4, cpu, fuel), w.i32(1)), fuel);
  code.return(w.i32(Outcome.repeat));
  code.unreachable();
  return code;
}
