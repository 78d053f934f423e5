/** A vCPU's registers as people want to see them after a crash. */
import type { CpuEngine } from '../cpu/engine.ts';
import type { Vcpu } from '../hypervisor/hypervisor.ts';
import { Pause } from '../hypervisor/state.ts';
import type { VcpuStatus } from './machine.ts';

const GENERAL = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'] as const;

export function describeVcpu(engine: CpuEngine, vcpu: Vcpu): VcpuStatus {
  const { block } = vcpu;
  const general = Array.from({ length: 16 }, (_, i): [string, bigint] => [
    GENERAL[i] ?? `r${i}`,
    block.gpr.get(i),
  ]);
  const isOffline = (vcpu.state.pauseFlags & Pause.down) !== 0;
  return {
    id: vcpu.id,
    state: isOffline ? 'offline' : block.halted ? 'halted' : 'running',
    registers: [
      ['rip', block.rip],
      ['rflags', engine.runtime.getFlags(vcpu.state.block)],
      ['cs', BigInt(block.segment.get(1).selector)],
      ...general,
      ['cr0', block.cr0],
      ['cr2', block.cr2],
      ['cr3', block.cr3],
      ['cr4', block.cr4],
      ['efer', block.efer],
    ],
    backtrace: [],
  };
}
