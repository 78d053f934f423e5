/**
 * Instruction trace: a line for each instruction with what it changed.
 *
 *     0 1024 ffffffff81000010 48 89 e5  mov rbp, rsp  rbp=ffffffff82a03e98
 *
 * vCPU, instructions retired before it, linear address, bytes, text, then the registers that differ afterwards.
 * The engine executes one instruction at a time while it is on, so the guest's timing differs; a repeated string
 * instruction may take several lines.
 */

import { disassemble } from '../cpu/debug/disassembler.ts';
import { readGuest } from '../cpu/debug/memory.ts';
import { REGISTERS, type Register } from '../cpu/debug/registers.ts';
import { Mode } from '../cpu/decode/mode.ts';
import type { CpuEngine } from '../cpu/engine.ts';
import { Seg, Vcpu } from '../cpu/vcpu/layout.ts';

const V = Vcpu.offsets;
const INSTRUCTION_BYTES_MAX = 15;
/** x87 and segment selectors are left out: they are seldom what one looks for, and reading them is slow. */
const isWatched = ({ name, bits }: Register): boolean =>
  name !== 'rip' && name !== 'orig_rax' && (bits === 64 || bits === 128 || name === 'eflags');
const WATCHED = REGISTERS.filter(isWatched);

/** Write a line for every instruction that `engine` executes. The returned function ends the trace. */
export function traceInstructions(engine: CpuEngine, write: (line: string) => void): () => void {
  const { view } = engine.memory;
  let head = '';
  let before: bigint[] = [];
  const values = (cpu: number) => WATCHED.map(register => register.read(engine, cpu));
  engine.observer = {
    before(cpu) {
      const base = view.getBigUint64(cpu + V.segBase + Seg.cs * 8, true);
      const address = BigInt.asUintN(64, view.getBigUint64(cpu + V.rip, true) + base);
      const bytes = readGuest(engine, cpu, address, INSTRUCTION_BYTES_MAX);
      const mode = view.getUint32(cpu + V.mode, true);
      const { length, text } =
        bytes.length === 0
          ? { length: 0, text: '(not mapped)' }
          : disassemble(bytes, 0, address, mode & MODES);
      const shown = Array.from(bytes.subarray(0, length), byte => byte.toString(16).padStart(2, '0'));
      const id = view.getUint32(cpu + V.id, true);
      const retired = view.getBigUint64(cpu + V.retired, true);
      head = `${id} ${retired} ${address.toString(16)} ${shown.join(' ')}  ${text}`;
      before = values(cpu);
    },
    after(cpu, executed) {
      if (executed === 0) return;
      const changes = values(cpu).flatMap((value, i) =>
        value === before[i] ? [] : [`${WATCHED[i]!.name}=${value.toString(16)}`],
      );
      write(changes.length === 0 ? head : `${head}  ${changes.join(' ')}`);
    },
  };
  return () => {
    engine.observer = undefined;
  };
}

const MODES = Mode.sizeMask | Mode.real;
