/** What page sharing does for the guests of a host process, and what clients can ask of it. */
import { PAGE_SIZE } from '../../base/brand.ts';
import { DomusError } from '../../base/errors.ts';
import type { SharingFacts } from '../../hypervisor/sharing/sharing-facts.ts';
import type { Host } from '../host.ts';
import type { SharerStatus } from '../sharer.ts';
import type { Guest } from './guests.ts';

export interface SharingReport extends SharerStatus {
  readonly pageBytes: number;
  /** Those that run; without `pages` where a guest takes no part. */
  readonly guests: readonly {
    readonly id: number;
    readonly name: string;
    readonly pages?: SharingFacts;
  }[];
}

export function sharingReport(host: Host, guests: readonly Guest[]): SharingReport {
  const running = guests.filter(({ isAlive }) => isAlive);
  return {
    ...host.sharing,
    pageBytes: PAGE_SIZE,
    guests: running.map(({ record: { id, name }, vm }) => {
      const pages = vm?.sharing;
      return { id, name, ...(pages && { pages }) };
    }),
  };
}

/** `{cpuPercent}`. @throws DomusError E_API_REQUEST */
export function parseSharingChange(value: unknown): { cpuPercent: number } {
  const { cpuPercent } = (value ?? {}) as { cpuPercent?: unknown };
  if (typeof cpuPercent === 'number') return { cpuPercent };
  throw new DomusError('E_API_REQUEST', 'the request is not understood: cpuPercent is no number');
}
