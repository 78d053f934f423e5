/**
 * Generates the interpreter module from the instruction table.
 *
 * `run(cpu)` executes until its fuel is used up or something needs the caller (vcpu/exit.ts). It is one loop around a
 * `br_table` on the record's handler number: frequent instructions are cases of it, the others are functions reached
 * through a table, those of rare forms in a module of their own (rare-forms.ts). Faults, jumps and reloads of the code position each have one place in the loop.
 */
import { invariant } from '../../base/errors.ts';
import { MACHINE_HEADER, MachineHeader } from '../../machine/header.ts';
import { Mode } from '../decode/mode.ts';
import { CodeRecord, CROSSING_TABLE, LINK_OFFSET, RECORD_BYTES } from '../decode/record.ts';
import { Vector } from '../isa/emitter.ts';
import { FIRST_CALLED, FIRST_RARE, FORMS, type Form, formsDigest } from '../isa/forms.ts';
import { tlbEntry } from '../isa/tlb.ts';
import { FIRST_FORM } from '../isa/variant.ts';
import { Exit } from '../vcpu/exit.ts';
import { Seg, TlbEntry, Vcpu } from '../vcpu/layout.ts';
import * as w from '../wasm/code.ts';
import { type Callee, Code, type Label, type Value } from '../wasm/code.ts';
import { lateSection } from '../wasm/late-module.ts';
import type { ModuleBuilder } from '../wasm/module.ts';
import { type Functions, InterpreterEmitter, Outcome } from './emitter.ts';
import { COMPUTE_AUX, generateComputeAux, normaliseFlags } from './flag-kinds.ts';
import { defineHandlers, emitForm, HANDLER, moduleOf } from './handlers.ts';
import { countJump } from './heat.ts';
import { noteTarget } from './jump-targets.ts';
import { probe } from './probe.ts';
import { ABSENT_REGION, CHAINED, DIGEST_SECTION, Pseudo } from './pseudo.ts';
import { generateMissing } from './rare-forms.ts';

/** Any form will do for code that has no operands. */
const PLAIN = { size: 8, mode64: true, rep: 0, addressSize: 8, lock: false } as const;

/** @param rareForms the module that has the handlers of rare forms (rare-forms.ts) */
export function generateInterpreter(rareForms: Uint8Array): Uint8Array {
  invariant(Math.max(...Object.values(Pseudo)) < FIRST_FORM, 'pseudo handlers come before those of forms');
  return moduleOf((module, functions) => {
    defineFunctions(module, functions);
    module.export('hot', functions.runtime('hot'));
    module.customSection(DIGEST_SECTION, new TextEncoder().encode(String(formsDigest())));
    module.customSection(...lateSection('rare-forms', rareForms));
  });
}

function defineFunctions(module: ModuleBuilder, functions: Functions): void {
  const enter = module.declare(['i32'], 'i32');
  const run = module.declare(['i32']);
  module.define(enter, generateEnter(functions));
  module.define(run, generateLoop(functions, enter, module.type(HANDLER.params, HANDLER.result)));
  const called = FORMS.filter(({ id }) => id >= FIRST_CALLED);
  const usual = called.filter(({ id }) => id < FIRST_RARE);
  const handlers = defineHandlers(module, usual, functions);
  const missing = module.declare(HANDLER.params, HANDLER.result);
  module.define(missing, generateMissing(functions));
  const computeAux = module.declare(COMPUTE_AUX.params, COMPUTE_AUX.result);
  module.define(computeAux, generateComputeAux());
  module.table(
    called.map((_, slot) => handlers[slot] ?? missing),
    'handlers',
  );
  module.export('run', run);
  module.export(COMPUTE_AUX.name, computeAux);
  const absent = module.declare(HANDLER.params, HANDLER.result);
  module.define(absent, generateAbsent(computeAux));
  module.export(ABSENT_REGION, absent);
}

/** enter(cpu): record at the vCPU's rip, faults of the fetch delivered; 0 when the processor shut down. */
function generateEnter(functions: Functions): Code {
  const code = new Code(['i32']);
  const cpu = code.parameter(0);
  code.loop(again => {
    const record = code.call(functions.runtime('lookup'), cpu);
    code.if(record, () => code.return(record));
    const reason = code.call(functions.runtime('deliver'), cpu);
    code.brIf(again, w.eqz(reason));
    code.store(4, cpu, reason, Vcpu.offsets.exitReason);
    code.return(w.i32(0));
  });
  code.unreachable();
  return code;
}

/**
 * Stands in the table of handlers for a region that this thread does not have: (cpu, record) -> outcome, nothing done. The
 * copy of the instruction behind the record is next; another region that has come here has left rip in the block.
 */
function generateAbsent(computeAux: Callee): Code {
  const code = new Code(HANDLER.params);
  const [cpu, record] = [code.parameter(0), code.parameter(1)];
  const V = Vcpu.offsets;
  code.store(4, cpu, w.add(w.load('i32', 4, cpu, V.fuel), w.i32(1)), V.fuel);
  normaliseFlags(code, cpu, computeAux);
  const isChained = w.and(record, w.i32(CHAINED));
  code.return(w.select(isChained, w.i32(Outcome.jump), w.i32(Outcome.next)));
  code.unreachable();
  return code;
}
function generateLoop(functions: Functions, enter: Callee, handlerType: number): Code {
  const code = new Code(['i32']);
  const cpu = code.parameter(0);
  const record = code.local('i32');
  const fuel = code.local('i32');
  const target = code.local('i64');
  const origin = code.local('i32');
  const V = Vcpu.offsets;
  const offset = () => w.load('i32', 2, record, CodeRecord.offsets.offset);
  const csBase = () => w.load('i64', 8, cpu, V.segBase + Seg.cs * 8);
  const codePage = () => w.load('i64', 8, cpu, V.codePage);
  const ripOfRecord = () => w.sub(w.add(codePage(), w.extendU(offset())), csBase());

  code.set(fuel, w.load('i32', 4, cpu, V.fuel));
  code.set(record, code.call(enter, cpu));
  code.block(exit => {
    code.brIf(exit, w.eqz(record));
    code.loop(dispatch => {
      code.block(reload => {
        code.block(link => {
          code.block(jump => {
            code.block(fault => {
              code.set(fuel, w.sub(fuel, w.i32(1)));
              // One comparison for both: a kick is more than any fuel (vcpu/layout.ts).
              code.if(w.ltS(fuel, w.load('i32', 4, cpu, V.kick)), () => {
                const isEmpty = code.let(w.ltS(fuel, w.i32(0)));
                code.set(fuel, w.add(fuel, w.i32(1)));
                code.store(8, cpu, ripOfRecord(), V.rip);
                code.store(4, cpu, w.select(isEmpty, w.i32(Exit.fuel), w.i32(Exit.kick)), V.exitReason);
                code.br(exit);
              });
              const loop = { dispatch, fault, jump, link, reload, exit, target, fuel };
              // Read once: another thread may make the record stale at any moment.
              const handler = code.let(w.load('i32', 2, record, CodeRecord.offsets.handler));
              inlineHandlers(
                code,
                handler,
                form => {
                  const x = new InterpreterEmitter(code, form ?? PLAIN, cpu, record, functions, loop);
                  return x;
                },
                pseudo => emitPseudo(pseudo, code, loop, cpu, record, functions, ripOfRecord),
              );
              // Called handlers: they find the fuel in the block and may change it.
              code.store(4, cpu, fuel, V.fuel);
              const index = w.sub(handler, w.i32(FIRST_CALLED));
              const outcome = code.callIndirect(handlerType, 'i32', index, cpu, record);
              code.set(fuel, w.load('i32', 4, cpu, V.fuel));
              code.brIf(reload, w.eq(outcome, w.i32(Outcome.reload)));
              code.brIf(fault, w.eq(outcome, w.i32(Outcome.fault)));
              code.brIf(dispatch, w.eq(outcome, w.i32(Outcome.repeat)));
              code.brIf(exit, w.eq(outcome, w.i32(Outcome.exit)));
              code.if(w.eq(outcome, w.i32(Outcome.jump)), () => {
                code.set(target, w.load('i64', 8, cpu, V.rip));
                code.br(jump);
              });
              code.set(record, w.add(record, w.i32(RECORD_BYTES)));
              code.br(dispatch);
            });
            // fault: deliver with rip at the instruction
            const inStackSegment = w.eq(
              w.load('i32', 2, record, CodeRecord.offsets.segment),
              w.i32(V.segBase + Seg.ss * 8),
            );
            const notCanonical = w.eq(w.load('i32', 4, cpu, V.exHasError), w.i32(2));
            code.if(w.and(notCanonical, inStackSegment), () =>
              code.store(4, cpu, w.i32(Vector.SS), V.exVector),
            );
            code.store(8, cpu, ripOfRecord(), V.rip);
            code.store(4, cpu, fuel, V.fuel);
            const reason = code.call(functions.runtime('deliver'), cpu);
            code.if(reason, () => {
              code.store(4, cpu, reason, V.exitReason);
              // It has not run yet.
              code.set(fuel, w.add(fuel, w.eq(reason, w.i32(Exit.exclusive))));
              code.br(exit);
            });
            code.br(reload);
          });
          // jump: 64-bit code, target in `target`
          probe(code, cpu, target, found => {
            noteTarget(code, cpu, code.let(w.wrap(w.add(ripOfRecord(), csBase()))), target);
            code.set(record, found);
            countJump(code, cpu, record, functions);
            code.br(dispatch);
          });
          code.store(8, cpu, target, V.rip);
          code.br(reload);
        });
        // link: the same for a direct jump; within a page the jump's record learns its target
        code.set(origin, record);
        const page = code.let(codePage());
        const remember = () => {
          code.if(w.eq(page, codePage()), () => code.store(4, origin, record, LINK_OFFSET));
          countJump(code, cpu, record, functions);
          code.br(dispatch);
        };
        probe(code, cpu, target, found => {
          code.set(record, found);
          remember();
        });
        // Decoding may throw the code cache away, and the jump's record with it.
        const generation = () =>
          w.load('i32', 4, w.i32(MACHINE_HEADER), MachineHeader.offsets.codeGeneration);
        const before = code.let(generation());
        code.store(8, cpu, target, V.rip);
        code.set(record, code.call(enter, cpu));
        code.brIf(exit, w.eqz(record));
        code.brIf(dispatch, w.ne(before, generation()));
        remember();
      });
      // reload: look the code up at rip
      const size = w.and(w.load('i32', 4, cpu, V.mode), w.i32(Mode.sizeMask));
      code.if(w.eq(size, w.i32(Mode.code64)), () =>
        probe(code, cpu, w.load('i64', 8, cpu, V.rip), found => {
          code.set(record, found);
          // Control has come from afar: a system call, an exception, the return from one.
          countJump(code, cpu, record, functions);
          code.br(dispatch);
        }),
      );
      code.store(4, cpu, fuel, V.fuel);
      code.set(record, code.call(enter, cpu));
      code.brIf(exit, w.eqz(record));
      code.br(dispatch);
    });
  });
  code.store(4, cpu, fuel, V.fuel);
  return code;
}

/** The `br_table` and its cases. Falls out at the end for handlers that are called. */
function inlineHandlers(
  code: Code,
  handler: Value,
  emitter: (form?: Form) => InterpreterEmitter,
  pseudo: (number: number) => void,
): void {
  const cases: Label[] = [];
  const nest = (remaining: number, outer: Label): void => {
    if (remaining === 0) {
      code.brTable(handler, cases, outer);
      return;
    }
    const number = remaining - 1;
    code.block(label => {
      cases[number] = label;
      nest(number, outer);
    });
    // Every case branches away, so its locals are free again for the next one.
    const mark = code.nrLocalsTaken;
    if (number < FIRST_FORM) pseudo(number);
    else {
      const form = FORMS[number - FIRST_FORM] as Form;
      const x = emitter(form);
      emitForm(x, form);
      x.leaveNext();
    }
    code.releaseLocals(mark);
  };
  code.block(outer => {
    // Cases are nested so that case 0 is innermost: its code comes first.
    nest(FIRST_CALLED, outer);
  });
}

function emitPseudo(
  number: number,
  code: Code,
  loop: ConstructorParameters<typeof InterpreterEmitter>[5] & object,
  cpu: Value,
  record: w.Local,
  functions: Functions,
  ripOfRecord: () => Value,
): void {
  const V = Vcpu.offsets;
  const x = new InterpreterEmitter(code, PLAIN, cpu, record, functions, loop);
  const is64 = () => w.eq(w.and(w.load('i32', 4, cpu, V.mode), w.i32(Mode.sizeMask)), w.i32(Mode.code64));
  const uncount = () => code.set(loop.fuel, w.add(loop.fuel, w.i32(1)));
  switch (number) {
    case Pseudo.stale:
      uncount();
      code.store(8, cpu, ripOfRecord(), V.rip);
      code.br(loop.reload);
      return;
    case Pseudo.proceed: {
      uncount();
      const link = code.let(w.load('i32', 4, record, LINK_OFFSET));
      code.if(link, () => {
        code.set(record, link);
        code.br(loop.dispatch);
      });
      code.set(loop.target, ripOfRecord());
      code.brIf(loop.link, is64());
      code.store(8, cpu, loop.target, V.rip);
      code.br(loop.reload);
      return;
    }
    case Pseudo.address: {
      const fault = x.runtime('legacyAddress', x.offsetAddress(), x.immediate32());
      code.brIf(loop.fault, fault);
      uncount();
      x.leaveNext();
      return;
    }
    case Pseudo.limit: {
      uncount();
      code.brIf(loop.fault, x.runtime('checkCode', x.nextRip()));
      x.leaveNext();
      return;
    }
    case Pseudo.breakpoint: {
      uncount();
      code.store(8, cpu, ripOfRecord(), V.rip);
      code.store(4, cpu, loop.fuel, V.fuel);
      code.if(x.runtime('breakpoint'), () => {
        code.store(4, cpu, w.i32(Exit.breakpoint), V.exitReason);
        code.br(loop.exit);
      });
      x.leaveNext();
      return;
    }
    case Pseudo.crossing: {
      // A fault costs as little as one of an instruction that is not decoded yet: nobody shall see what is.
      uncount();
      const table = code.let(w.load('i32', 4, record, CROSSING_TABLE));
      const behind = code.let(w.add(w.load('i64', 8, cpu, V.codePage), w.i64(4096)));
      const entry = code.let(tlbEntry(w.load('i32', 4, cpu, V.tlbExec), behind));
      const isKnown = w.and(
        w.eq(w.load('i64', 8, entry, TlbEntry.offsets.tag), behind),
        w.eq(w.load('i32', 4, entry, TlbEntry.offsets.addend), table),
      );
      code.if(w.eqz(isKnown), () => {
        const outcome = code.let(x.runtime('checkCrossing', record));
        code.brIf(loop.fault, w.eq(outcome, w.i32(1)));
        code.if(outcome, () => {
          code.store(8, cpu, ripOfRecord(), V.rip);
          code.br(loop.reload);
        });
      });
      x.leaveNext();
      return;
    }
    case Pseudo.unavailable:
      x.raise(Vector.NM);
      return;
    case Pseudo.tooLong:
      x.raise(Vector.GP, w.i32(0));
      return;
    default:
      x.raise(Vector.UD);
  }
}
