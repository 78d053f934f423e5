/**
 * One program on two engines, slice by slice: after each slice the two machines must be the same in all that software can
 * see, and in what has been counted.
 */
import { disassemble } from '../../src/cpu/debug/disassembler.ts';
import { Exit } from '../../src/cpu/vcpu/exit.ts';
import { Vcpu } from '../../src/cpu/vcpu/layout.ts';
import { type Random, random } from '../oracle/random.ts';
import {
  createLockstepMachine,
  DATA,
  INTERRUPT,
  LAZY,
  type LockstepMachine,
  loadProgram,
  PAGE,
  type Program,
  STACK_TOP,
} from './machine.ts';
import { createProgram } from './program.ts';

const V = Vcpu.offsets;
const NAMES = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'].concat(
  Array.from({ length: 8 }, (_, i) => `r${i + 8}`),
);
const FUELS = [1, 1, 2, 3, 5, 7, 20, 100, 333, 1000, 3000, 3000];
/** Of the vCPU block: all that is the guest's, and the counts. */
const FIELDS: readonly [name: string, offset: number, sizeBytes: number][] = [
  ...NAMES.map((name, i) => [name, V.gpr + i * 8, 8] as [string, number, number]),
  ['rip', V.rip, 8],
  ['flagSys', V.flagSys, 4],
  ['cr2', V.cr2, 8],
  ['exVector', V.exVector, 4],
  ['exDelivering', V.exDelivering, 4],
  ['interruptShadow', V.interruptShadow, 4],
  ['exitReason', V.exitReason, 4],
  ['deliveries', V.deliveries, 4],
  ['retired', V.retired, 8],
  ['fsw', V.fsw, 2],
  ['ftw', V.ftw, 2],
  ['mxcsr', V.mxcsr, 4],
  ...Array.from({ length: 8 }, (_, i) => [`fpr${i}`, V.fpr + i * 16, 10] as [string, number, number]),
  ...Array.from({ length: 16 }, (_, i) => [`ymm${i}`, V.ymm + i * 32, 32] as [string, number, number]),
];

export interface LockstepOptions {
  readonly seed: number;
  readonly instructions: number;
  readonly changesCode: boolean;
  readonly hotJumps?: number;
  readonly codeCacheBytes?: number;
  /** See ProgramOptions. */
  readonly instruction?: (random: Random) => Uint8Array;
  /** Instead of a random program. */
  readonly program?: Program;
}
export interface LockstepResult {
  readonly difference: string | undefined;
  readonly retired: number;
  readonly regions: number;
  readonly dropped: number;
  readonly faults: number;
}

interface Run {
  readonly machine: LockstepMachine;
  readonly options: LockstepOptions;
  readonly entries: readonly number[];
}

function begin(options: LockstepOptions, translates: boolean): Run {
  const { hotJumps = 2, codeCacheBytes } = options;
  const machine = createLockstepMachine({
    translates,
    hotJumps,
    hotEntries: 3 * hotJumps,
    ...(codeCacheBytes && { codeCacheBytes }),
  });
  const { changesCode, instruction } = options;
  const program =
    options.program ??
    createProgram(random(options.seed), { changesCode, instruction, entryAddress: machine.entryAddress });
  loadProgram(machine, program);
  return { machine, options, entries: program.entries };
}

/** Send a machine to an entry, with what programs rely on. */
function send({ machine: { vcpu, engine, cpu } }: Run, entry: number, values: Random): void {
  for (let i = 0; i < 16; i++) vcpu.gpr.set(i, BigInt(values.oneIn(3) ? values.below(256) : values.u32()));
  vcpu.gpr.set(3, BigInt(DATA));
  vcpu.gpr.set(4, BigInt(STACK_TOP - 256));
  vcpu.gpr.set(12, BigInt(DATA + 2 * PAGE));
  vcpu.gpr.set(14, BigInt(LAZY));
  vcpu.gpr.set(15, BigInt(entry));
  vcpu.rip = BigInt(entry);
  vcpu.exDelivering = -1;
  vcpu.exVector = -1;
  vcpu.halted = 0;
  engine.runtime.setFlags(cpu, 0x202n, 0xffff_ffffn);
}

/** One slice, with what the world does before it. */
function slice(run: Run, fuel: number, event: number, values: Random): number {
  const { machine, entries } = run;
  const { engine, cpu } = machine;
  if (event === 1) send(run, values.pick(entries), values);
  if (event === 2 && engine.interruptible(cpu)) engine.deliverInterrupt(cpu, INTERRUPT);
  if (event === 3) engine.runtime.tlbFlushAll(cpu);
  return engine.run(cpu, fuel);
}

function hexOf(bytes: Uint8Array): string {
  return `0x${Array.from(bytes, byte => byte.toString(16).padStart(2, '0'))
    .reverse()
    .join('')}`;
}

/** The first differing fields, empty when there are none. */
function differences(a: LockstepMachine, b: LockstepMachine): string[] {
  const found: string[] = [];
  const bytes = ({ engine, cpu }: LockstepMachine, offset: number, sizeBytes: number) =>
    engine.memory.u8.subarray(cpu + offset, cpu + offset + sizeBytes);
  for (const [name, offset, sizeBytes] of FIELDS) {
    const [x, y] = [bytes(a, offset, sizeBytes), bytes(b, offset, sizeBytes)];
    if (Buffer.compare(x, y) !== 0) found.push(`${name}: ${hexOf(x)} interpreter, ${hexOf(y)} translator`);
  }
  const flags = [a, b].map(({ engine, cpu }) => engine.runtime.getFlags(cpu)) as [bigint, bigint];
  if (flags[0] !== flags[1]) found.push(`flags: 0x${flags[0].toString(16)}, 0x${flags[1].toString(16)}`);
  if (Buffer.compare(a.guest, b.guest) !== 0) {
    for (let at = 0, n = 0; at < a.guest.length && n < 8; at++) {
      if (a.guest[at] === b.guest[at]) continue;
      found.push(`memory ${at.toString(16)}: ${a.guest[at]?.toString(16)}, ${b.guest[at]?.toString(16)}`);
      n++;
    }
  }
  return found;
}

function instructionAt({ engine, cpu, vcpu }: LockstepMachine): string {
  const address = vcpu.rip;
  const bytes = new Uint8Array(16);
  for (let i = 0; i < 16; i++) {
    const at = engine.runtime.translate(cpu, address + BigInt(i), 0, 0) >>> 0;
    if (at !== 0) bytes[i] = engine.memory.u8[at] as number;
  }
  const { text, length } = disassemble(bytes, 0, address, engine.memory.view.getUint32(cpu + V.mode, true));
  const code = Array.from(bytes.subarray(0, length), byte => byte.toString(16).padStart(2, '0')).join(' ');
  return `${address.toString(16)}: ${code.padEnd(32)} ${text}`;
}

interface Step {
  readonly fuel: number;
  readonly event: number;
  readonly seed: number;
}

/** What the interpreter executes in the last of some slices, instruction by instruction. */
function trace(options: LockstepOptions, steps: readonly Step[], most: number): string[] {
  const run = begin(options, false);
  send(run, run.entries[0] as number, random(options.seed));
  const lines: string[] = [];
  steps.forEach((step, index) => {
    if (index < steps.length - 1) slice(run, step.fuel, step.event, random(step.seed));
    else {
      for (let n = 0; n < step.fuel; n++) {
        if (n > 0) lines.push(instructionAt(run.machine));
        slice(run, n === 0 ? 0 : 1, n === 0 ? step.event : 0, random(step.seed));
      }
      lines.push(instructionAt(run.machine));
    }
  });
  return lines.slice(-most);
}

/** Both engines through given slices: how they differ behind the last one. */
function replay(options: LockstepOptions, steps: readonly Step[]): string[] {
  const machines = [false, true].map(translates => {
    const run = begin(options, translates);
    send(run, run.entries[0] as number, random(options.seed));
    for (const step of steps) slice(run, step.fuel, step.event, random(step.seed));
    return run.machine;
  }) as [LockstepMachine, LockstepMachine];
  return differences(...machines);
}

/** The slices with the last one as short as it shows a difference; by halving, so perhaps not the very shortest. */
function shortened(options: LockstepOptions, steps: readonly Step[]): Step[] {
  const last = steps.at(-1) as Step;
  const upTo = (fuel: number): Step[] => [...steps.slice(0, -1), { ...last, fuel }];
  let [equal, different] = [0, last.fuel];
  while (different - equal > 1) {
    const middle = (equal + different) >> 1;
    if (replay(options, upTo(middle)).length > 0) different = middle;
    else equal = middle;
  }
  return upTo(different);
}

export function lockstep(options: LockstepOptions): LockstepResult {
  const choices = random(options.seed ^ 0x5eed);
  const runs = [begin(options, false), begin(options, true)] as const;
  const [plain, fast] = [runs[0].machine, runs[1].machine];
  for (const run of runs) send(run, run.entries[0] as number, random(options.seed));
  const steps: Step[] = [];
  let isLost = false;
  const result = (difference: string | undefined): LockstepResult => {
    const { regions = 0, dropped = 0 } = fast.engine.translator?.statistics ?? {};
    return {
      difference,
      retired: Number(plain.vcpu.retired),
      regions,
      dropped,
      faults: plain.vcpu.deliveries,
    };
  };
  while (plain.vcpu.retired < options.instructions) {
    const event = isLost || choices.oneIn(12) ? 1 : choices.pick([0, 0, 0, 0, 0, 0, 2, 3]);
    const step: Step = { fuel: choices.pick(FUELS), event, seed: choices.u32() };
    steps.push(step);
    const faults = plain.vcpu.deliveries;
    const reasons = runs.map(run => slice(run, step.fuel, step.event, random(step.seed)));
    const found = differences(plain, fast);
    if (reasons[0] !== reasons[1]) found.unshift(`exit: ${reasons[0]}, ${reasons[1]}`);
    if (found.length > 0) {
      const head = `seed ${options.seed}, slice ${steps.length - 1} of ${step.fuel} (event ${event})`;
      const where = `at ${instructionAt(plain)} and ${instructionAt(fast)}`;
      const short = shortened(options, steps);
      const shortest = `different already after ${short.at(-1)?.fuel} instructions of the slice:`;
      const first = replay(options, short).slice(0, 12);
      return result(
        [
          head,
          ...found.slice(0, 12),
          where,
          shortest,
          ...first,
          'executed:',
          ...trace(options, short, 30),
        ].join('\n  '),
      );
    }
    // Faults and nothing but faults: the program has lost its way.
    const isFaulting = (plain.vcpu.deliveries - faults) * 80 > step.fuel && step.fuel >= 100;
    isLost =
      isFaulting ||
      reasons[0] === Exit.halt ||
      reasons[0] === Exit.tripleFault ||
      reasons[0] === Exit.unsupported;
  }
  return result(undefined);
}
