/** gdb's `monitor` commands: what gdb has no command of its own for. */
import { readRegister, registerByName } from '../cpu/debug/registers.ts';
import { Vcpu } from '../cpu/vcpu/layout.ts';
import type { DebugTarget, DebugVcpu } from './gdb-target.ts';

const HELP = `help       these lines
dump       registers and progress of every vCPU
info NAME  one register of the current vCPU, system registers too
`;
// biome-ignore format: a table
const SHOWN = ['rip', 'eflags', 'rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'rsp', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15', 'cs', 'ss', 'fs_base', 'gs_base', 'k_gs_base', 'cr0', 'cr2', 'cr3', 'cr4', 'efer'];
const PER_LINE = 4;

/** Run one command. Returns the text for gdb's console. */
export function runMonitorCommand(target: DebugTarget, current: DebugVcpu, line: string): string {
  const [command, argument] = line.trim().split(/\s+/);
  switch (command) {
    case 'help':
      return HELP;
    case 'dump':
      return target.vcpus.map(vcpu => dump(target, vcpu)).join('');
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
