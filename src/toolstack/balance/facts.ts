/**
 * What is known of a guest's need of memory, from whoever can tell: the agent, what the guest itself writes into xenstore, or, of a
 * guest that says nothing, the hypervisor's own pages.
 */
import { PAGE_SIZE } from '../../base/brand.ts';
import type { SharingFacts } from '../../hypervisor/sharing/sharing-facts.ts';
import type { MemoryReport } from '../../image/guest-agent/memory-report.ts';

/** What tells that memory is short: what holds nothing, and events since the guest's boot. */
export interface Strain {
  readonly freeBytes: number;
  /** Pages that were dropped and wanted again soon, from files or from swap. */
  readonly refaults: number;
  readonly kills: number;
  /** Time in which some program waited for memory; 0 where that is not measured. */
  readonly waitedUs: number;
}

export interface MemoryFacts {
  /** In use, and all that use is counted of: without what the kernel has kept for itself at the boot. */
  readonly usedBytes: number;
  readonly totalBytes: number;
  /** No more than `totalBytes` less this can be taken away; `usedBytes` where that is known well. */
  readonly heldBytes: number;
  readonly strain?: Strain;
  readonly source: FactsSource;
}
export type FactsSource = 'agent' | 'xenstore' | 'pages';

const KIB = 1024;

function reported(totalKiB: number, availableKiB: number, source: FactsSource): MemoryFacts {
  const usedBytes = KIB * Math.max(0, totalKiB - availableKiB);
  return { usedBytes, heldBytes: usedBytes, totalBytes: KIB * totalKiB, source };
}

export function agentFacts(report: MemoryReport): MemoryFacts | undefined {
  const { totalKiB, freeKiB, availableKiB, refaults, swapIns, kills, waitedUs } = report;
  // It has no /proc.
  if (totalKiB === 0) return undefined;
  const strain = { freeBytes: KIB * freeKiB, refaults: refaults + swapIns, kills, waitedUs };
  return { ...reported(totalKiB, availableKiB, 'agent'), strain };
}

/**
 * From nodes of the guest's own directory: `memory/meminfo` is the text of /proc/meminfo (as xenballoond writes it), `data/meminfo_total`
 * and `data/meminfo_free` are numbers of KiB (as the guest agents of XenServer and XCP-ng do).
 * @param read gives a node below that directory
 */
export function xenstoreFacts(read: (node: string) => string | undefined): MemoryFacts | undefined {
  const text = read('memory/meminfo') ?? '';
  const line = (name: string) => new RegExp(`^${name}:\\s{0,32}(\\d{1,12}) kB`, 'm').exec(text)?.[1];
  const node = (name: string) => /^\s{0,8}(\d{1,12})\s{0,8}$/.exec(read(name) ?? '')?.[1];
  const total = Number(line('MemTotal') ?? node('data/meminfo_total') ?? 0);
  const available = line('MemAvailable') ?? node('data/meminfo_free');
  return total > 0 && available !== undefined ? reported(total, Number(available), 'xenstore') : undefined;
}

/**
 * Of a guest that says nothing. It needs what it has looked at of late. What it has not may be memory that nothing in it uses, or what it
 * will want in an hour, which nobody can tell from outside; so only pages that it has never looked at are
 * taken from it. Undefined where nobody marks pages as idle, as then all would seem to be in use.
 */
export function pageFacts(pages: SharingFacts | undefined): MemoryFacts | undefined {
  if (!pages || pages.idle + pages.shared + pages.zero === 0) return undefined;
  const { own, idle, shared, zero, untouched } = pages;
  return {
    usedBytes: PAGE_SIZE * (own - idle),
    heldBytes: PAGE_SIZE * (own + shared + zero),
    totalBytes: PAGE_SIZE * (own + shared + zero + untouched),
    source: 'pages',
  };
}
