/** What a machine's configuration means for its memory and for the threads that run it. */
import { PAGE_SIZE } from '../base/brand.ts';
import { createMemoryFor } from '../hypervisor/machine-host.ts';
import type { PageFile } from '../hypervisor/page-file.ts';
import { LOOKS_MAX, type TrailRoom } from '../hypervisor/trail.ts';
import { EXTRA_FRAMES } from './build-domain.ts';
import type { MachineConfig } from './machine.ts';

export type MachineShape = Pick<
  MachineConfig,
  'memoryBytes' | 'vcpus' | 'pcpus' | 'platform' | 'gdbPort' | 'trace' | 'saved' | 'seat'
>;

/**
 * Do several threads run the vCPUs? Not where every step is to be seen or to be the same again: a debugger, a trace, virtual time.
 */
export const isParallel = (config: MachineShape): boolean =>
  config.pcpus > 1 && config.vcpus > 1 && !isWatched(config) && pagesFileOf(config) !== 'memory';

export const isWatched = ({ platform, gdbPort, trace }: MachineShape): boolean =>
  platform.isDeterministic || gdbPort !== undefined || trace !== undefined;

/** What threads fill the memory of a restored domain from; an image in this thread's memory is of no use to others. */
export const pagesFileOf = ({ saved }: MachineShape): PageFile | 'memory' | undefined =>
  saved && ('fd' in saved.pages ? saved.pages : 'memory');

/** Does this thread execute the vCPUs? */
export const runsHere = (config: MachineShape): boolean => !isParallel(config) && config.seat === undefined;

/** What its memory holds. */
export const sizeOf = ({ memoryBytes, vcpus }: MachineShape) => ({
  guestBytes: memoryBytes + EXTRA_FRAMES * PAGE_SIZE,
  vcpus,
});

/** Memory for a machine that can follow a trail, or leave one. */
export const roomForTrail = (config: MachineShape): TrailRoom | undefined =>
  runsHere(config) && !isWatched(config) ? createMemoryFor(sizeOf(config), LOOKS_MAX) : undefined;
