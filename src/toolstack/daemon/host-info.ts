/** What the host is, and what its guests have of it. */
import {
  hostResources,
  processMemoryBytes,
  processTimeNs,
  runtimeVersion,
} from '../../platform/node/host-info.ts';
import type { Guests } from './guests.ts';

export interface HostInfo {
  readonly release: string;
  readonly machine: string;
  /** Processors of the host. */
  readonly nrCpus: number;
  readonly memoryBytes: number;
  readonly freeMemoryBytes: number;
  /** Of the host process. */
  readonly processMemoryBytes: number;
  readonly processTimeNs: number;
  readonly nrGuests: number;
  readonly nrRunning: number;
  /** What all running guests may have together. */
  readonly guestMemoryBytes: number;
  /** What those whose memory goes by need have together. */
  readonly memoryBudgetBytes: number;
}

export function hostInfo(guests: Guests): HostInfo {
  const { node, platform, architecture } = runtimeVersion();
  const all = guests.list();
  const running = all.filter(({ isAlive }) => isAlive);
  return {
    release: `Node ${node} on ${platform}`,
    machine: architecture,
    ...hostResources(),
    processMemoryBytes: processMemoryBytes(),
    processTimeNs: processTimeNs(),
    nrGuests: all.length,
    nrRunning: running.length,
    memoryBudgetBytes: guests.balance.budgetBytes,
    guestMemoryBytes: running.reduce((sum, { record }) => sum + record.memoryBytes, 0),
  };
}
