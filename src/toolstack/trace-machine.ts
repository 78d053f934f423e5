/** The traces that a machine's configuration asks for. */
import type { CpuEngine } from '../cpu/engine.ts';
import type { Notices } from '../hypervisor/hypervisor.ts';
import type { TraceRequest } from './machine.ts';
import { hypercallTrace } from './trace-hypercalls.ts';
import { traceInstructions } from './trace-instructions.ts';

/** Notices that the machine host is made with. */
export const traceNotices = (trace: TraceRequest | undefined): Notices =>
  trace?.kind === 'hypercalls' ? hypercallTrace(line => trace.write(line)) : {};

/** What can be traced only when the engine is there. */
export function traceEngine(engine: CpuEngine, trace: TraceRequest | undefined): void {
  if (trace?.kind === 'instructions') traceInstructions(engine, line => trace.write(line));
}
