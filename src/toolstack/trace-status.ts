/** What is shown of a vCPU from outside: registers and a backtrace, with names from the guest kernel's own symbols. */
import { backtrace, type Symbolizer } from '../cpu/debug/backtrace.ts';
import { readKallsyms } from '../cpu/debug/kallsyms.ts';
import { readRegister } from '../cpu/debug/registers.ts';
import type { CpuEngine } from '../cpu/engine.ts';
import { Vcpu } from '../cpu/vcpu/layout.ts';
import { type SymbolTable, symbolTable } from '../image/elf/symbols.ts';
import type { DebugVcpu } from './gdb-target.ts';
import type { VcpuStatus } from './machine.ts';

// biome-ignore format: a list
const SHOWN = ['rip', 'eflags', 'cs', 'rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15', 'fs_base', 'gs_base', 'cr0', 'cr2', 'cr3', 'cr4', 'efer'];

export function vcpuStatus(engine: CpuEngine, vcpu: DebugVcpu, symbols?: Symbolizer): VcpuStatus {
  const isHalted = Vcpu.at(engine.memory.view, vcpu.block).halted !== 0;
  const isOnline = vcpu.isOnline();
  return {
    id: vcpu.id,
    state: !isOnline ? 'offline' : isHalted ? 'halted' : 'running',
    registers: SHOWN.map(name => [
      name === 'eflags' ? 'rflags' : name,
      readRegister(engine, vcpu.block, name),
    ]),
    backtrace: isOnline ? backtrace(engine, vcpu.block, symbols) : [],
  };
}

/** The symbols of the kernel that runs, undefined when it has none that are understood. Takes a tenth of a second. */
export function kernelSymbols(engine: CpuEngine, vcpus: readonly DebugVcpu[]): SymbolTable | undefined {
  for (const vcpu of vcpus) {
    if (!vcpu.isOnline()) continue;
    const symbols = readKallsyms(engine, vcpu.block);
    if (symbols.length > 0) return symbolTable(symbols);
  }
  return undefined;
}

/** As `kernelSymbols`, read once it is there: a kernel that has not set up paging yet is asked again next time. */
export function cachedKernelSymbols(
  engine: CpuEngine,
  vcpus: readonly DebugVcpu[],
): () => SymbolTable | undefined {
  let known: SymbolTable | undefined;
  return () => {
    known ??= kernelSymbols(engine, vcpus);
    return known;
  };
}
