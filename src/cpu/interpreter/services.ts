/**
 * What the CPU engine asks of the machine around it: identification, time, chance, ports. The hypervisor provides
 * them; results that do not fit a number go to `Vcpu.temp` or the registers.
 */
import type { Type } from '../wasm/code.ts';

interface Service {
  readonly params: readonly Type[];
  readonly result: Type | undefined;
}
export const SERVICES = {
  /** CPUID: leaf in eax, subleaf in ecx; answers into eax, ebx, ecx, edx. */
  cpuid: { params: ['i32'], result: undefined },
  /** Time-stamp counter to temp[0]. */
  readTsc: { params: ['i32'], result: undefined },
  /** 64 random bits to temp[0]. */
  random: { params: ['i32'], result: undefined },
  /** Port read: vCPU, port, size. */
  portIn: { params: ['i32', 'i32', 'i32'], result: 'i32' },
  /** Port write: vCPU, port, size, value. */
  portOut: { params: ['i32', 'i32', 'i32', 'i32'], result: undefined },
  /** Many jumps have led to this record: vCPU, record. Answered by the engine itself. */
  hot: { params: ['i32', 'i32'], result: undefined },
  /** The handlers of rare forms are needed. Answered by the engine itself. */
  rareForms: { params: [], result: undefined },
  /** Does the debugger want to stop before the instruction at `Vcpu.rip`? Answered by the engine itself. */
  breakpoint: { params: ['i32'], result: 'i32' },
} as const satisfies Record<string, Service>;

export type ServiceName = keyof typeof SERVICES;
export interface Services {
  cpuid(cpu: number): void;
  readTsc(cpu: number): void;
  random(cpu: number): void;
  portIn(cpu: number, port: number, size: number): number;
  portOut(cpu: number, port: number, size: number, value: number): void;
}
