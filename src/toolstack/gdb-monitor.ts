/** gdb's `monitor` commands: what gdb has no command of its own for. */
import { readRegister, registerByName } from '../cpu/debug/registers.ts';
import { Vcpu } from '../cpu/vcpu/layout.ts';
import type { SymbolTable } from '../image/elf/symbols.ts';
import type { DebugTarget, DebugVcpu } from './gdb-target.ts';
import { vcpuStatus } from './trace-status.ts';

const HELP = `help       these lines
dump       registers and progress of every vCPU
backtrace  calls on the stack of every vCPU, named by the guest kernel's own symbols
symbol X   address of a kernel symbol, or the symbol of an address
info NAME  one register of the current vCPU, system registers too
`;
// biome-ignore format: a table
const SHOWN = ['rip', 'eflags', 'rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'rsp', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15', 'cs', 'ss', 'fs_base', 'gs_base', 'k_gs_base', 'cr0', 'cr2', 'cr3', 'cr4', 'efer'];
const PER_LINE = 4;

/** Run one command. Returns the text for gdb's console. */
export function runMonitorCommand(
  target: DebugTarget,
  current: DebugVcpu,
  symbols: () => SymbolTable | undefined,
  line: string,
): string {
  const [command, argument] = line.trim().split(/\s+/);
  switch (command) {
    case 'help':
      return HELP;
    case 'dump':
      return target.vcpus.map(vcpu => dump(target, vcpu)).join('');
    case 'backtrace':
    case 'bt':
      return target.vcpus.map(vcpu => callText(target, vcpu, symbols())).join('');
    case 'symbol':
      return symbolText(symbols(), argument ?? '');
    case 'info': {
      const register = argument === undefined ? undefined : registerByName(argument);
      if (!register) return 'info wants the name of a register\n';
      return `${register.name} 0x${register.read(target.engine, current.block).toString(16)}\n`;
    }
    default:
      return `unknown command: ${command ?? ''}\n${HELP}`;
  }
}

function dump({ engine }: DebugTarget, vcpu: DebugVcpu): string {
  const block = Vcpu.at(engine.memory.view, vcpu.block);
  const state = vcpu.isOnline() ? (block.halted ? 'halted' : 'runnable') : 'offline';
  const values = SHOWN.map(
    name => `${name.padStart(9)} ${readRegister(engine, vcpu.block, name).toString(16).padStart(16, '0')}`,
  );
  const lines = [`vCPU ${vcpu.id}: ${state}, cpl ${block.cpl}, ${block.retired} instructions`];
  for (let i = 0; i < values.length; i += PER_LINE) lines.push(values.slice(i, i + PER_LINE).join(' '));
  return `${lines.join('\n')}\n`;
}

function callText({ engine }: DebugTarget, vcpu: DebugVcpu, symbols: SymbolTable | undefined): string {
  const lines = vcpuStatus(engine, vcpu, symbols).backtrace.map(
    ({ address, symbol, offset }) =>
      `  0x${address.toString(16)}${symbol ? ` ${symbol}+0x${offset?.toString(16)}` : ''}`,
  );
  return `${[`vCPU ${vcpu.id}:`, ...lines].join('\n')}\n`;
}

function symbolText(symbols: SymbolTable | undefined, wanted: string): string {
  if (!symbols) return 'the guest has no kernel symbols that are understood\n';
  if (/^0x[0-9a-f]{1,16}$/i.test(wanted)) {
    const found = symbols.symbolAt(BigInt(wanted));
    return found ? `${found.name}+0x${found.offset.toString(16)}\n` : 'no symbol there\n';
  }
  const address = symbols.addressOf(wanted);
  return address === undefined ? `no symbol ${wanted}\n` : `0x${address.toString(16)}\n`;
}
