/**
 * System instructions (SDM vol. 1, 5.20) and those that leave the code segment. What they do to the processor's
 * state is the runtime's business; here is what they take and when they may be used.
 */
import { Exit } from '../vcpu/exit.ts';
import { Seg, Vcpu } from '../vcpu/layout.ts';
import type { Value } from '../wasm/code.ts';
import * as w from '../wasm/code.ts';
import { type Definition, define, type Options, type Semantics } from './definition.ts';
import { type Emitter, type Operand, truncate, Vector } from './emitter.ts';
import * as flags from './flags.ts';
import { RAX, RCX, RDX } from './general-registers.ts';

/** A runtime function that returns nonzero when an exception is pending. */
const attempt = (x: Emitter, name: string, ...args: Value[]): void => {
  x.synchronise();
  x.faultIf(x.runtime(name, ...args));
};
const privileged =
  (semantics: Semantics): Semantics =>
  (x, ...operands) => {
    x.requirePrivilege();
    semantics(x, ...operands);
  };

// ---- segments ----

const selectorOf = (x: Emitter, segment: Value): Value =>
  w.load('i32', 2, w.add(x.cpu, w.shl(segment, w.i32(4))), Vcpu.offsets.segment);
const storeSegment: Semantics = (x, destination, segment) => {
  const target = destination as Operand;
  const number = x.let((segment as Operand).number());
  x.raiseIf(w.ltU(w.i32(Seg.gs), number), Vector.UD);
  const selector = selectorOf(x, number);
  if (target.isMemory) x.storeMemory(target.address(), 2, selector);
  else target.write(target.size === 8 ? w.extendU(selector) : selector);
};
const loadSegment: Semantics = (x, segment, source) => {
  const number = x.let((segment as Operand).number());
  // CS cannot be loaded, and there are six segments.
  x.raiseIf(w.or(w.eq(number, w.i32(Seg.cs)), w.ltU(w.i32(Seg.gs), number)), Vector.UD);
  attempt(x, 'loadSegment', number, (source as Operand).read());
  x.if(w.eq(number, w.i32(Seg.ss)), () => x.leaveInterruptWindow(true));
  x.leaveReload(true);
};
const pushSegment =
  (segment: number): Semantics =>
  x => {
    const selector = selectorOf(x, w.i32(segment));
    x.push(x.size, x.size === 8 ? w.extendU(selector) : selector);
  };
const popSegment =
  (segment: number): Semantics =>
  x => {
    const selector = x.peekStack(x.size);
    attempt(x, 'loadSegment', w.i32(segment), w.and(w.wrap(selector), w.i32(0xffff)));
    x.addStack(w.i32(x.size));
    if (segment === Seg.ss) x.leaveInterruptWindow(true);
    x.leaveReload(true);
  };
/** LES, LDS, LSS, LFS, LGS: offset, then selector, from memory. */
const loadFarPointer =
  (segment: number): Semantics =>
  (x, destination, source) => {
    const { size } = destination as Operand;
    const address = x.let((source as Operand).address());
    const offset = x.loadMemory(address, size);
    const selector = x.loadMemory(w.add(address, w.i64(size)), 2);
    attempt(x, 'loadSegment', w.i32(segment), selector);
    (destination as Operand).write(offset);
    x.leaveReload(true);
  };

// ---- far transfers and interrupts ----

const far =
  (name: string): Semantics =>
  (x, pointer) => {
    const address = x.let((pointer as Operand).address());
    const offset = x.loadMemory(address, x.size);
    const selector = x.loadMemory(w.add(address, w.i64(x.size)), 2);
    farTransfer(x, name, selector, offset);
  };
const farImmediate =
  (name: string): Semantics =>
  (x, pointer) => {
    const value = x.let((pointer as Operand).address());
    const bits = w.i64(x.size * 8);
    const offset = w.and(value, x.size === 4 ? w.i64(0xffffffff) : w.i64(0xffff));
    farTransfer(x, name, w.and(w.wrap(w.shrU(value, bits)), w.i32(0xffff)), offset);
  };
function farTransfer(x: Emitter, name: string, selector: Value, offset: Value): void {
  x.synchroniseNext();
  x.faultIf(x.runtime(name, selector, w.extendU(offset), w.i32(x.size)));
  x.leaveReload();
}
const farReturn: Semantics = (x, extra) => {
  x.synchroniseNext();
  x.faultIf(x.runtime('farReturn', w.i32(x.size), extra ? (extra as Operand).read() : w.i32(0)));
  x.leaveReload();
};
const interruptReturn: Semantics = x => {
  x.fence();
  attempt(x, 'iret', w.i32(x.size));
  x.leaveInterruptWindow();
  x.leaveReload();
};
/** Software interrupts deliver with the return address after the instruction. Kinds are the runtime's. */
const softwareInterrupt =
  (vector: number, kind: number): Semantics =>
  (x, number) => {
    x.softwareInterrupt(number ? (number as Operand).read() : w.i32(vector), kind);
  };
const interruptOnOverflow: Semantics = x =>
  x.if(w.and(x.flagState().aux, w.i32(flags.OF)), () => x.softwareInterrupt(w.i32(Vector.OF), 2));
const checkBounds: Semantics = (x, index, bounds) => {
  const { size } = index as Operand;
  const address = x.let((bounds as Operand).address());
  const signed = (v: Value) => (size === 2 ? w.extend16S(v) : v);
  const value = x.let(signed((index as Operand).read()));
  const lower = signed(x.loadMemory(address, size));
  const upper = signed(x.loadMemory(w.add(address, w.i64(size)), size));
  x.raiseIf(w.or(w.ltS(value, lower), w.gtS(value, upper)), Vector.BR);
};

/** SYSCALL and its relatives: the runtime needs `rip` after the instruction. */
const systemCall =
  (name: string, ...extra: ((x: Emitter) => Value)[]): Semantics =>
  x => {
    x.synchroniseNext();
    x.faultIf(x.runtime(name, ...extra.map(value => value(x))));
    x.leaveInterruptWindow();
    x.leaveReload();
  };
const operandSize = (x: Emitter): Value => w.i32(x.size);

// ---- interrupt flag, halt, calls to the hypervisor ----

/** CLI and STI: #GP(0) unless CPL <= IOPL, in whatever mode. In real mode CPL is 0, in virtual-8086 mode 3. */
const requireIopl = (x: Emitter): void =>
  x.raiseIf(
    w.gtU(x.field('cpl'), w.and(w.shrU(x.field('flagSys'), w.i32(12)), w.i32(3))),
    Vector.GP,
    w.i32(0),
  );
const clearInterrupts: Semantics = x => {
  requireIopl(x);
  x.setField('flagSys', w.and(x.field('flagSys'), w.i32(~flags.IF)));
};
const setInterrupts: Semantics = x => {
  requireIopl(x);
  const before = x.let(x.field('flagSys'));
  x.setField('flagSys', w.or(before, w.i32(flags.IF)));
  x.if(w.eqz(w.and(before, w.i32(flags.IF))), () => x.leaveInterruptWindow(true));
};
/** STAC and CLAC: which pages a supervisor may use depends on AC. */
const setAlignmentCheck =
  (on: 0 | 1): Semantics =>
  x => {
    x.raiseIf(x.field('cpl'), Vector.UD);
    x.runtime('setAlignmentCheck', w.i32(on));
  };
const swapGsBase: Semantics = x => {
  x.requirePrivilege();
  const [inUse, other] = [x.let(x.baseOf(Seg.gs)), x.let(x.field('kernelGsBase'))];
  x.code.store(8, x.cpu, other, Vcpu.offsets.segBase + Seg.gs * 8);
  x.setField('kernelGsBase', inUse);
};
const halt: Semantics = privileged(x => x.leaveExit(Exit.halt));
const hypercall: Semantics = x => x.leaveExit(Exit.hypercall);
const pause: Semantics = x => x.leaveExit(Exit.pause);
const nothing: Semantics = () => {};
/** LFENCE and SFENCE have nothing to do: loads and stores are in order already. Only a load may overtake a store. */
const memoryFence: Semantics = x => x.fence();
const undefinedInstruction: Semantics = x => x.raise(Vector.UD);
const breakpoint: Semantics = softwareInterrupt(Vector.BP, 2);

// ---- control, debug and model-specific registers ----

const readControl: Semantics = (x, destination, register) => {
  x.requirePrivilege();
  const number = (register as Operand).number();
  x.raiseIf(w.eqz(x.runtime('isControlRegister', number)), Vector.UD);
  const value = x.runtime('readControl', number);
  (destination as Operand).write((destination as Operand).size === 8 ? value : w.wrap(value));
};
const writeControl: Semantics = (x, register, source) => {
  x.requirePrivilege();
  const number = x.let((register as Operand).number());
  x.raiseIf(w.eqz(x.runtime('isControlRegister', number)), Vector.UD);
  const value = x.let(w.extendU((source as Operand).read()));
  x.synchroniseNext();
  x.fence();
  x.faultIf(x.runtime('writeControl', number, value));
  x.leaveInterruptWindow();
  x.leaveReload();
};
const readDebug: Semantics = (x, destination, register) => {
  x.requirePrivilege();
  attempt(x, 'readDr', (register as Operand).number());
  const value = x.field('temp');
  (destination as Operand).write((destination as Operand).size === 8 ? value : w.wrap(value));
};
const writeDebug: Semantics = (x, register, source) => {
  x.requirePrivilege();
  attempt(x, 'writeDr', (register as Operand).number(), w.extendU((source as Operand).read()));
};
const writeMsr: Semantics = x => {
  x.requirePrivilege();
  x.synchronise();
  x.fence();
  x.faultIf(x.runtime('wrmsr'));
  x.leaveInterruptWindow();
  x.leaveReload(true);
};
const tablePointer =
  (name: 'gdt' | 'idt'): Semantics =>
  (x, destination) => {
    const address = x.let((destination as Operand).address());
    x.storeMemory(address, 2, x.field(`${name}Limit`));
    const base = x.field(`${name}Base`);
    const width = x.mode64 ? 8 : 4;
    x.storeMemory(w.add(address, w.i64(2)), width, x.mode64 ? base : w.wrap(base));
  };
const loadTablePointer =
  (name: 'lgdt' | 'lidt'): Semantics =>
  (x, source) => {
    x.requirePrivilege();
    const address = x.let((source as Operand).address());
    const limit = x.loadMemory(address, 2);
    const base = x.loadMemory(w.add(address, w.i64(2)), x.mode64 ? 8 : 4);
    const mask = x.mode64 ? base : x.size === 2 ? w.and(w.extendU(base), w.i64(0xffffff)) : w.extendU(base);
    attempt(x, name, mask, limit);
  };
/** SLDT, STR, SMSW: a system register's low part; 32 and 64-bit registers get it zero-extended. */
const storeSystem =
  (value: (x: Emitter) => Value): Semantics =>
  (x, destination) => {
    const target = destination as Operand;
    const wide = w.extendU(value(x));
    if (target.isMemory) x.storeMemory(target.address(), 2, truncate(2, w.wrap(wide)));
    else target.write(truncate(target.size, target.size === 8 ? wide : w.wrap(wide)));
  };
const loadSystem =
  (name: 'lldt' | 'ltr' | 'lmsw'): Semantics =>
  (x, source) => {
    x.requirePrivilege();
    attempt(x, name, (source as Operand).read());
    x.leaveReload(true);
  };
/** LAR, LSL: ZF says whether the selector was good; the value is in temp[0] then. */
const examine =
  (name: 'lar' | 'lsl'): Semantics =>
  (x, destination, source) => {
    const target = destination as Operand;
    const selector = (source as Operand).read();
    attempt(x, name, w.and(w.wrap(selector), w.i32(0xffff)));
    x.if(flags.zeroFlag(x), () => {
      const value = x.field('temp');
      target.write(target.size === 8 ? value : truncate(target.size, w.wrap(value)));
    });
  };
const verify =
  (name: 'verr' | 'verw'): Semantics =>
  (x, source) =>
    attempt(x, name, (source as Operand).read());
const adjustRpl: Semantics = (x, destination, source) => {
  const rpl = w.and((source as Operand).read(), w.i32(3));
  const old = (destination as Operand).read();
  const raised = x.let(w.ltU(w.and(old, w.i32(3)), rpl));
  // Memory is written only when there is something to change.
  x.if(raised, () => (destination as Operand).write(w.or(w.and(old, w.i32(0xfffc)), rpl)));
  const others = w.and(w.wrap(flags.readFlags(x)), w.i32(flags.ARITHMETIC & ~flags.ZF));
  flags.loadArithmeticFlags(x, w.or(others, w.shl(raised, w.i32(6))));
};

const invalidatePage: Semantics = privileged((x, source) => {
  x.fence();
  attempt(x, 'invlpg', (source as Operand).address());
  x.leaveReload(true);
});
const invalidatePcid: Semantics = privileged((x, type, descriptor) => {
  const kind = w.extendU((type as Operand).read());
  x.fence();
  attempt(x, 'invpcid', kind, (descriptor as Operand).address());
  x.leaveReload(true);
});

// ---- processor identification, time, ports ----

const identify: Semantics = x => {
  x.fence();
  x.synchronise();
  x.runtime('cpuid');
};
const pairFromTemp = (x: Emitter): void => {
  const value = x.let(x.field('temp'));
  x.register(RAX, 4).write(w.wrap(value));
  x.register(RDX, 4).write(w.wrap(w.shrU(value, w.i64(32))));
};
const readTimeStamp =
  (withProcessor: boolean): Semantics =>
  x => {
    x.faultIf(x.runtime('checkTsc'));
    x.synchronise();
    x.runtime('readTsc');
    pairFromTemp(x);
    if (withProcessor) x.register(RCX, 4).write(w.wrap(x.field('tscAux')));
  };
const readPerformance: Semantics = x => x.raise(Vector.GP, w.i32(0));
const random: Semantics = (x, destination) => {
  const target = destination as Operand;
  x.synchronise();
  x.runtime('random');
  const value = x.let(x.field('temp'));
  target.write(target.size === 8 ? value : truncate(target.size, w.wrap(value)));
  flags.setFlags(x, 4, w.i32(1), w.i32(flags.CF));
};
const readExtended: Semantics = x => {
  attempt(x, 'xgetbv');
  pairFromTemp(x);
};
const input =
  (size?: number): Semantics =>
  (x, destination, port) => {
    const bytes = size ?? (x.size === 2 ? 2 : 4);
    const number = x.let(w.wrap((port as Operand).read()));
    x.synchronise();
    x.faultIf(x.runtime('checkPort', number, w.i32(bytes)));
    const value = truncate(bytes, x.runtime('portIn', number, w.i32(bytes)));
    x.register(RAX, bytes).write(value);
    void destination;
  };
const output =
  (size?: number): Semantics =>
  (x, port) => {
    const bytes = size ?? (x.size === 2 ? 2 : 4);
    const number = x.let(w.wrap((port as Operand).read()));
    x.synchronise();
    x.faultIf(x.runtime('checkPort', number, w.i32(bytes)));
    x.runtime('portOut', number, w.i32(bytes), x.register(RAX, bytes).read());
  };
const baseRegister =
  (segment: number, write: boolean): Semantics =>
  (x, operand) => {
    const register = operand as Operand;
    x.faultIf(x.runtime('checkFsgsbase'));
    if (!write) {
      const base = x.baseOf(segment);
      register.write(register.size === 8 ? base : w.wrap(base));
      return;
    }
    const value = x.let(w.extendU(register.read()));
    if (register.size === 8) {
      const canonical = w.eq(w.shrS(w.shl(value, w.i64(16)), w.i64(16)), value);
      x.raiseIf(w.eqz(canonical), Vector.GP, w.i32(0));
    }
    x.code.store(8, x.cpu, value, Vcpu.offsets.segBase + segment * 8);
  };

/** FXSAVE and FXRSTOR; the XSAVE family also takes a mask of components in EDX:EAX. */
const fxState =
  (name: 'fxsave' | 'fxrstor'): Semantics =>
  (x, area) =>
    attempt(x, name, (area as Operand).address(), w.i32(x.size === 8 ? 1 : 0));
const xState =
  (name: 'xsave' | 'xsaveopt' | 'xsavec' | 'xrstor'): Semantics =>
  (x, area) => {
    const high = w.shl(w.extendU(x.register(RDX, 4).read()), w.i64(32));
    const mask = w.or(high, w.extendU(x.register(RAX, 4).read()));
    attempt(x, name, (area as Operand).address(), mask, w.i32(x.size === 8 ? 1 : 0));
  };

const SYSTEM = { ends: true } as const;
/** Control and debug registers move whole: 64 bits in 64-bit mode, whatever the prefixes. */
const WHOLE = { size: 'f64', modal: true } as const;
const PROTECTED = { mode: 'protected' } as const;
const SREG: [string, number, string | undefined, string | undefined][] = [
  ['es', Seg.es, '06', '07'],
  ['cs', Seg.cs, '0E', undefined],
  ['ss', Seg.ss, '16', '17'],
  ['ds', Seg.ds, '1E', '1F'],
];
const legacyStack: Options = { mode: 'no64', modal: true, size: 'd64' };

export const system: Definition[] = [
  define('mov', '8C /r', 'Ev Sw', storeSegment),
  define('mov', '8E /r', 'Sw Ew', loadSegment, SYSTEM),
  ...SREG.flatMap(([name, segment, pushOpcode, popOpcode]) => [
    ...(pushOpcode ? [define(`push ${name}`, pushOpcode, '', pushSegment(segment), legacyStack)] : []),
    ...(popOpcode
      ? [define(`pop ${name}`, popOpcode, '', popSegment(segment), { ...legacyStack, ...SYSTEM })]
      : []),
  ]),
  ...(
    [
      ['fs', Seg.fs, 'A0', 'A1'],
      ['gs', Seg.gs, 'A8', 'A9'],
    ] as const
  ).flatMap(([name, segment, pushOpcode, popOpcode]) => [
    define(`push ${name}`, `0F ${pushOpcode}`, '', pushSegment(segment), { size: 'd64', modal: true }),
    define(`pop ${name}`, `0F ${popOpcode}`, '', popSegment(segment), {
      size: 'd64',
      modal: true,
      ...SYSTEM,
    }),
  ]),
  define('les', 'C4 /r', 'Gz Mp', loadFarPointer(Seg.es), { mode: 'no64', ...SYSTEM }),
  define('lds', 'C5 /r', 'Gz Mp', loadFarPointer(Seg.ds), { mode: 'no64', ...SYSTEM }),
  define('lss', '0F B2 /r', 'Gv Mp', loadFarPointer(Seg.ss), SYSTEM),
  define('lfs', '0F B4 /r', 'Gv Mp', loadFarPointer(Seg.fs), SYSTEM),
  define('lgs', '0F B5 /r', 'Gv Mp', loadFarPointer(Seg.gs), SYSTEM),
  define('jmp far', 'FF /5', 'Mp', far('farJump'), { sized: true, ...SYSTEM }),
  define('call far', 'FF /3', 'Mp', far('farCall'), { sized: true, ...SYSTEM }),
  define('jmp far', 'EA', 'A', farImmediate('farJump'), { sized: true, mode: 'no64', ...SYSTEM }),
  define('call far', '9A', 'A', farImmediate('farCall'), { sized: true, mode: 'no64', ...SYSTEM }),
  define('retf', 'CB', '', farReturn, { sized: true, ...SYSTEM }),
  define('retf', 'CA', 'Iw', farReturn, { sized: true, ...SYSTEM }),
  define('iret', 'CF', '', interruptReturn, { sized: true, ...SYSTEM }),
  define('int3', 'CC', '', breakpoint, SYSTEM),
  define('int', 'CD', 'Ib', softwareInterrupt(0, 1), SYSTEM),
  define('into', 'CE', '', interruptOnOverflow, { mode: 'no64', ...SYSTEM }),
  define('int1', 'F1', '', softwareInterrupt(Vector.DB, 3), SYSTEM),
  define('bound', '62 /r', 'Gz Ma', checkBounds, { mode: 'no64' }),
  define('ud2', '0F 0B', '', undefinedInstruction, SYSTEM),
  define('ud1', '0F B9 /r', '', undefinedInstruction, SYSTEM),
  define('ud0', '0F FF /r', '', undefinedInstruction, SYSTEM),
  define('syscall', '0F 05', '', systemCall('syscall'), SYSTEM),
  define('sysret', '0F 07', '', systemCall('sysret', operandSize), { sized: true, ...SYSTEM }),
  define('sysenter', '0F 34', '', systemCall('sysenter'), SYSTEM),
  define('sysexit', '0F 35', '', systemCall('sysexit', operandSize), { sized: true, ...SYSTEM }),
  define('cli', 'FA', '', clearInterrupts),
  define('sti', 'FB', '', setInterrupts),
  define('hlt', 'F4', '', halt, SYSTEM),
  define('vmcall', 'NP 0F 01 C1', '', hypercall, SYSTEM),
  define('vmmcall', '0F 01 D9', '', hypercall, SYSTEM),
  define('clac', 'NP 0F 01 CA', '', setAlignmentCheck(0)),
  define('stac', 'NP 0F 01 CB', '', setAlignmentCheck(1)),
  define('swapgs', '0F 01 F8', '', swapGsBase, { mode: 'only64' }),
  define('rdtscp', '0F 01 F9', '', readTimeStamp(true)),
  define('xgetbv', 'NP 0F 01 D0', '', readExtended),
  define(
    'xsetbv',
    'NP 0F 01 D1',
    '',
    x => {
      x.synchroniseNext();
      x.faultIf(x.runtime('xsetbv'));
      x.leaveReload();
    },
    SYSTEM,
  ),
  define('sgdt', '0F 01 /0', 'M', tablePointer('gdt'), { modal: true }),
  define('sidt', '0F 01 /1', 'M', tablePointer('idt'), { modal: true }),
  define('lgdt', '0F 01 /2', 'M', loadTablePointer('lgdt'), { modal: true, sized: true }),
  define('lidt', '0F 01 /3', 'M', loadTablePointer('lidt'), { modal: true, sized: true }),
  define(
    'smsw',
    '0F 01 /4',
    'Ev',
    storeSystem(x => x.field('cr0')),
  ),
  define('lmsw', '0F 01 /6', 'Ew', loadSystem('lmsw'), SYSTEM),
  define('invlpg', '0F 01 /7', 'M', invalidatePage, SYSTEM),
  define(
    'sldt',
    '0F 00 /0',
    'Ev',
    storeSystem(x => selectorOf(x, w.i32(Seg.ldtr))),
    PROTECTED,
  ),
  define(
    'str',
    '0F 00 /1',
    'Ev',
    storeSystem(x => selectorOf(x, w.i32(Seg.tr))),
    PROTECTED,
  ),
  define('lldt', '0F 00 /2', 'Ew', loadSystem('lldt'), PROTECTED),
  define('ltr', '0F 00 /3', 'Ew', loadSystem('ltr'), PROTECTED),
  define('verr', '0F 00 /4', 'Ew', verify('verr'), PROTECTED),
  define('verw', '0F 00 /5', 'Ew', verify('verw'), PROTECTED),
  define('lar', '0F 02 /r', 'Gv Ew', examine('lar'), PROTECTED),
  define('lsl', '0F 03 /r', 'Gv Ew', examine('lsl'), PROTECTED),
  define('arpl', '63 /r', 'Ew Gw', adjustRpl, { mode: 'protectedNo64' }),
  define(
    'clts',
    '0F 06',
    '',
    privileged(x => {
      x.synchroniseNext();
      x.faultIf(x.runtime('clts'));
      x.leaveReload();
    }),
    SYSTEM,
  ),
  define('invd', '0F 08', '', privileged(nothing)),
  define('wbinvd', '0F 09', '', privileged(nothing)),
  define('mov', '0F 20 /r', 'Ry Cy', readControl, WHOLE),
  define('mov', '0F 22 /r', 'Cy Ry', writeControl, { ...WHOLE, ...SYSTEM }),
  define('mov', '0F 21 /r', 'Ry Dy', readDebug, WHOLE),
  define('mov', '0F 23 /r', 'Dy Ry', writeDebug, { ...WHOLE, ...SYSTEM }),
  define('wrmsr', '0F 30', '', writeMsr, SYSTEM),
  define(
    'rdmsr',
    '0F 32',
    '',
    privileged(x => attempt(x, 'rdmsr')),
  ),
  define('rdpmc', '0F 33', '', readPerformance),
  define('rdtsc', '0F 31', '', readTimeStamp(false)),
  define('cpuid', '0F A2', '', identify),
  define('rdrand', 'NFx 0F C7 /6', 'Rv', random, { writes: 'oszapc' }),
  define('rdseed', 'NFx 0F C7 /7', 'Rv', random, { writes: 'oszapc' }),
  define('invpcid', '66 0F 38 82 /r', 'Gq M', invalidatePcid, SYSTEM),
  define('rdfsbase', 'F3 0F AE /0', 'Ry', baseRegister(Seg.fs, false), { mode: 'only64' }),
  define('rdgsbase', 'F3 0F AE /1', 'Ry', baseRegister(Seg.gs, false), { mode: 'only64' }),
  define('wrfsbase', 'F3 0F AE /2', 'Ry', baseRegister(Seg.fs, true), { mode: 'only64' }),
  define('wrgsbase', 'F3 0F AE /3', 'Ry', baseRegister(Seg.gs, true), { mode: 'only64' }),
  define('in', 'E4', 'AL Ib', input(1)),
  define('in', 'E5', 'eAX Ib', input()),
  define('in', 'EC', 'AL DX', input(1)),
  define('in', 'ED', 'eAX DX', input()),
  define('out', 'E6', 'Ib AL', output(1)),
  define('out', 'E7', 'Ib eAX', output()),
  define('out', 'EE', 'DX AL', output(1)),
  define('out', 'EF', 'DX eAX', output()),
  define('pause', 'F3 90', '', pause),
  define('nop', '90', '', nothing),
  define('nop', '0F 1F /r', 'Ev', nothing, { noAccess: true }),
  ...['18', '19', '1A', '1B', '1C', '1D', '1E'].map(opcode =>
    define('nop', `0F ${opcode} /r`, 'Ev', nothing, { noAccess: true }),
  ),
  define('prefetchw', '0F 0D /r', 'Ev', nothing, { noAccess: true }),
  define('lfence', 'NP 0F AE /5', 'Rd', nothing),
  define('mfence', 'NP 0F AE /6', 'Rd', memoryFence),
  define('sfence', 'NP 0F AE /7', 'Rd', nothing),
  define('clflush', 'NP 0F AE /7', 'Mb', (x, line) => void x.loadMemory((line as Operand).address(), 1)),
  define('clflushopt', '66 0F AE /7', 'Mb', (x, line) => void x.loadMemory((line as Operand).address(), 1)),
  define('fxsave', 'NP 0F AE /0', 'M', fxState('fxsave'), { sized: true }),
  define('fxrstor', 'NP 0F AE /1', 'M', fxState('fxrstor'), { sized: true }),
  define('xsave', 'NP 0F AE /4', 'M', xState('xsave'), { sized: true }),
  define('xrstor', 'NP 0F AE /5', 'M', xState('xrstor'), { sized: true }),
  define('xsaveopt', 'NP 0F AE /6', 'M', xState('xsaveopt'), { sized: true }),
  define('xsavec', 'NP 0F C7 /4', 'M', xState('xsavec'), { sized: true }),
];
