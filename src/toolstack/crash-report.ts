/** What is told about a guest that failed: why, where its vCPUs were, and what its console said last. */
import { DomusError } from '../base/errors.ts';
import type { MachineStatus, StackFrame } from './machine.ts';

export interface CrashReport {
  readonly reason: string;
  readonly status?: MachineStatus;
  /** The last lines of the guest's console, oldest first. */
  readonly consoleLines: readonly string[];
  /** What a MachineFailure has to show. */
  readonly details?: readonly string[];
}

/** The machine itself gives up, for a reason that needs more than a line. */
export class MachineFailure extends DomusError {
  readonly details: readonly string[];

  constructor(code: string, message: string, remedy: string, details: readonly string[]) {
    super(code, message, remedy);
    this.details = details;
  }
}

/** A guest did not do what was asked of it. Carries what can be known about it. */
export class GuestFailure extends DomusError {
  readonly report: CrashReport;

  constructor(code: string, message: string, remedy: string, report: CrashReport, cause?: unknown) {
    super(code, message, remedy, { cause });
    this.report = report;
  }
}

const hex = (value: bigint) => BigInt.asUintN(64, value).toString(16).padStart(16, '0');

function frameText(frame: StackFrame): string {
  if (frame.symbol === undefined) return `0x${hex(frame.address)}`;
  return `0x${hex(frame.address)} ${frame.symbol}+0x${(frame.offset ?? 0).toString(16)}`;
}

/** The report as indented lines for people. */
export function formatCrashReport(report: CrashReport): string[] {
  const lines = (report.details ?? []).map(line => `  ${line}`);
  for (const vcpu of report.status?.vcpus ?? []) {
    if (vcpu.state === 'offline') continue;
    lines.push(`  vCPU ${vcpu.id}, ${vcpu.state}:`);
    for (let i = 0; i < vcpu.registers.length; i += 3) {
      const row = vcpu.registers.slice(i, i + 3);
      lines.push(`    ${row.map(([name, value]) => `${name.padStart(6)} ${hex(value)}`).join('  ')}`);
    }
    if (vcpu.backtrace.length > 0) {
      lines.push(
        '    call trace, innermost first:',
        ...vcpu.backtrace.map(frame => `      ${frameText(frame)}`),
      );
    }
  }
  if (report.status) lines.push(`  instructions executed: ${report.status.instructions}`);
  if (report.consoleLines.length > 0) {
    lines.push('  last lines of the console:', ...report.consoleLines.map(line => `    ${line}`));
  } else {
    lines.push('  the guest has written nothing to its console');
  }
  return lines;
}
